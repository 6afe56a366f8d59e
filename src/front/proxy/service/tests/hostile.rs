//! What attackers send through the proxy: an application sees one request for each that was understood, and no more.

use super::application::App;
use super::*;

/// Sends `text` over TLS, and returns all that comes back.
async fn https(running: &Running, text: &str) -> String {
    let mut stream = running.tls(&[b"http/1.1"]).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A second request that must never reach the application as one of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn what_two_readers_could_take_for_two_things_is_refused() {
    let app = App::plain().await;
    let running = app.proxied();
    for (name, request) in [
        (
            "two lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "list of lengths",
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 3\r\n\r\n{SMUGGLED}"),
        ),
        (
            "signed length",
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n{SMUGGLED}"),
        ),
        (
            "negative length",
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{SMUGGLED}"),
        ),
        (
            "unknown coding",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "chunked not last",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "coding of HTTP/1.0",
            format!(
                "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "folded header",
            format!("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n Content-Length: 3\r\n\r\n{SMUGGLED}"),
        ),
        (
            "space before colon",
            format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n{SMUGGLED}"),
        ),
        (
            "header without colon",
            format!("GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n{SMUGGLED}"),
        ),
        (
            "NUL in a header",
            format!("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n{SMUGGLED}"),
        ),
        (
            "bare carriage return",
            format!("GET / HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 3\r\n\r\n{SMUGGLED}"),
        ),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n{SMUGGLED}"),
        ),
        ("no host", format!("GET / HTTP/1.1\r\n\r\n{SMUGGLED}")),
        (
            "bad host",
            format!("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n{SMUGGLED}"),
        ),
        (
            "space in the target",
            format!("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n{SMUGGLED}"),
        ),
        (
            "target without a slash",
            format!("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n{SMUGGLED}"),
        ),
        (
            "huge chunk",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{SMUGGLED}"
            ),
        ),
        (
            "chunk that is no number",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "line feed in an extension",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "chunk longer than said",
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
    ] {
        let answer = https(&running, &request).await;
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 431 ");
        assert!(refused, "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
    }
    assert!(app.seen().is_empty(), "{:?}", app.seen());
    for method in ["TRACE", "CONNECT"] {
        let answer = https(
            &running,
            &format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 405 ") || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_understood_is_framed_anew_and_counted_once() {
    let app = App::plain().await;
    let running = app.proxied();
    for (name, request, body) in [
        // The coding counts (RFC 9112 section 6.3), the length does not travel, and the connection ends.
        ("length and coding", format!("POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"), ""),
        ("coding and length", format!("POST /once HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 60\r\n\r\n0\r\n\r\n{SMUGGLED}"), ""),
        ("chunk extension", "POST /once HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nX: y\r\n\r\n".to_owned(), "abc"),
        ("same length twice", "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".to_owned(), "abc"),
        ("bare line feeds", "POST /once HTTP/1.1\nHost: x\nContent-Length: 3\nConnection: close\n\nabc".to_owned(), "abc"),
        ("GET with a body", "GET /once HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(), "abc"),
        ("length taken away", "POST /once HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close, content-length, host\r\n\r\nabc".to_owned(), "abc"),
        ("upgrade to HTTP/2", "GET /once HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\r\n".to_owned(), ""),
    ] {
        let before = app.seen().len();
        let answer = https(&running, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        let seen = app.seen();
        assert_eq!(seen.len(), before + 1, "{name}");
        let last = seen.last().unwrap();
        assert_eq!(last.target(), "/once", "{name}");
        assert_eq!(last.body, body.as_bytes(), "{name}");
        assert_eq!(last.header("host"), "x", "{name}");
        assert_eq!(last.header("upgrade"), "", "{name}");
        assert_eq!(last.header("http2-settings"), "", "{name}");
    }
    running.stop().await;
}

#[tokio::test]
async fn headers_of_http_2_cannot_break_out_of_those_of_http_1() {
    let app = App::plain().await;
    let running = app.proxied();
    // A literal header without indexing whose value ends the line.
    let literal = |name: &[u8], value: &[u8]| {
        let mut field = vec![0, u8::try_from(name.len()).unwrap()];
        field.extend(name);
        field.push(u8::try_from(value.len()).unwrap());
        field.extend(value);
        field
    };
    for field in [
        literal(b"a", b"b\r\nx-real-ip: 127.0.0.1"),
        literal(b"a", b"b\r\n\r\nGET /smuggled HTTP/1.1"),
        literal(b"a: b\r\nc", b"d"),
        literal(b"a b", b"c"),
        literal(b"transfer-encoding", b"chunked"),
        literal(b"connection", b"upgrade"),
        literal(b":path", b"/smuggled"),
    ] {
        let mut stream = running.tls(&[b"h2"]).await;
        let mut block = vec![0x83, 0x84, 0x87, 0x41, 0x01, b'x'];
        block.extend(&field);
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        sent.extend(frame(1, 0x05, 1, &block));
        sent.extend(frame(7, 0, 0, &[0; 8]));
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert_eq!(app.seen().len(), 0, "{:?}", String::from_utf8_lossy(&field));
    }
    running.stop().await;
}

#[tokio::test]
async fn slow_clients_are_closed_and_disturb_nobody() {
    let app = App::plain().await;
    let running = app.proxied_with(|settings| {
        settings.limits.header_read = Duration::from_secs(2);
        settings.limits.body_idle = Duration::from_secs(2);
    });
    let mut slow = JoinSet::new();
    for text in [
        "",
        "GET / HTT",
        "GET / HTTP/1.1\r\nHost: x\r\nA: ",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na",
    ]
    .repeat(50)
    {
        let mut stream = running.tls(&[b"http/1.1"]).await;
        slow.spawn(async move {
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
                .await
                .expect("closed");
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let fine = https(
        &running,
        "GET /fine HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(fine.ends_with("/fine"), "{fine}");
    while let Some(answer) = slow.join_next().await {
        let answer = answer.unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
    }
    assert_eq!(app.seen().len(), 1);
    running.stop().await;
}
