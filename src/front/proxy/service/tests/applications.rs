//! Applications behind the proxy.

use tokio::time::{Instant, sleep};

use super::application::{Act, App, ok};
use super::*;
use crate::front::proxy::routes::Target;

/// One request over TLS, with whatever lines; the whole answer.
async fn https(running: &Running, request: &str) -> String {
    let mut stream = running.tls(&[b"http/1.1"]).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: Call.Example:4443\r\n{lines}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn an_application_gets_every_path_but_ours_and_is_told_who_asks() {
    let app = App::plain().await;
    let running = app.proxied();
    for path in [
        "/",
        "/api/v1/users?a=b%20c",
        "/upload",
        "/group-call",
        "/openvidu/other",
        "/a/../b",
    ] {
        let answer = https(&running, &get(path, "X-Forwarded-For: 1.1.1.1\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(answer.ends_with(path), "{path}: {answer}");
        for ours in ["x-frame-options", "strict-transport-security", "server:"] {
            assert!(!answer.contains(ours), "{answer}");
        }
    }
    for (path, expected) in [
        ("/openvidu/api/x", "rest 127.0.0.1 0"),
        ("/openvidu", "signalling"),
        ("/dashboard", "page"),
    ] {
        let answer = https(&running, &get(path, "")).await;
        assert!(answer.ends_with(expected), "{answer}");
    }
    let seen = app.seen();
    assert_eq!(seen.len(), 6);
    for request in seen {
        assert_eq!(request.header("host"), "call.example");
        assert_eq!(request.header("x-real-ip"), "127.0.0.1");
        assert_eq!(request.header("x-forwarded-for"), "127.0.0.1");
        assert_eq!(request.header("x-forwarded-proto"), "https");
        assert_eq!(request.header("x-forwarded-host"), "Call.Example:4443");
        assert_eq!(request.header("connection"), "");
    }
    assert_eq!(app.connections(), 1, "connections are kept");
    running.stop().await;
}

#[tokio::test]
async fn http_2_clients_reach_an_application_of_http_1() {
    let app = App::plain().await;
    let running = app.proxied();
    let stream = running.tls(&[b"h2"]).await;
    let (mut sender, connection) =
        client::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let chunks = [&b"one"[..], b"two"]
        .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece))));
    let request = Request::post("https://call.example:4443/a?b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(StreamBody::new(futures_util::stream::iter(chunks)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "/a?b"
    );
    let seen = &app.seen()[0];
    assert_eq!(seen.body, b"onetwo");
    assert_eq!(seen.header("cookie"), "a=1; b=2");
    assert_eq!(seen.header("host"), "call.example");
    assert_eq!(seen.header("x-forwarded-host"), "call.example:4443");
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn an_application_that_is_down_is_a_502_page_at_once_and_ours_go_on() {
    let app = App::plain().await;
    let running = app.proxied();
    drop(app);
    let start = Instant::now();
    let answer = https(&running, &get("/", "")).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("<h1>502 Bad Gateway</h1>"), "{answer}");
    assert!(answer.contains("x-frame-options: DENY"), "{answer}");
    let ours = https(&running, &get("/openvidu/api/x", "")).await;
    assert!(ours.ends_with("rest 127.0.0.1 0"), "{ours}");
    running.stop().await;
}

#[tokio::test]
async fn a_silent_application_is_a_504() {
    let app = App::scripted(|_| Act::Silence).await;
    let running = app.proxied_with(|settings| {
        settings.limits.upstream_read = Duration::from_millis(100);
    });
    let answer = https(&running, &get("/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(app.seen().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn requests_that_wait_for_an_application_are_counted_and_take_nothing_from_others() {
    let app = App::scripted(|seen| match seen.target() {
        "/slow" => Act::Silence,
        other => Act::Answer(ok(other)),
    })
    .await;
    let running = app.proxied_with(|settings| settings.limits.requests_per_upstream = 2);
    let mut waiting = [
        running.tls(&[b"http/1.1"]).await,
        running.tls(&[b"http/1.1"]).await,
    ];
    for stream in &mut waiting {
        stream.write_all(get("/slow", "").as_bytes()).await.unwrap();
    }
    while app.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    // No place is left, so nobody waits.
    let refused = https(&running, &get("/fast", "")).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let ours = https(&running, &get("/openvidu/api/x", "")).await;
    assert!(ours.ends_with("rest 127.0.0.1 0"), "{ours}");
    drop(waiting);
    let freed = async { while !https(&running, &get("/fast", "")).await.ends_with("/fast") {} };
    timeout(PATIENCE, freed).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_http_and_what_breaks_off_is_a_502_or_a_broken_answer() {
    for (said, expected) in [
        ("SSH-2.0-OpenSSH\r\n", "HTTP/1.1 502 "),
        ("", "HTTP/1.1 502 "),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1 502 ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "HTTP/1.1 502 ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "HTTP/1.1 200 ",
        ),
    ] {
        let app = App::scripted(move |_| Act::Last(said.to_owned())).await;
        let running = app.proxied();
        let answer = https(&running, &get("/", "")).await;
        assert!(answer.starts_with(expected), "{said:?}: {answer}");
        assert_eq!(app.seen().len(), 1, "{said:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request() {
    // Says that it goes on, and closes.
    let app = App::scripted(|seen| Act::Last(ok(seen.target()))).await;
    let running = app.proxied();
    for n in 0..5 {
        let answer = https(&running, &get(&format!("/{n}"), "")).await;
        assert!(answer.ends_with(&format!("/{n}")), "{answer}");
    }
    assert_eq!(app.seen().len(), 5);
    running.stop().await;
}

#[tokio::test]
async fn redirects_errors_and_headers_of_the_application_are_its_own() {
    let app = App::scripted(|seen| {
        Act::Answer(match seen.target() {
            "/login" => "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:8080/x\r\nContent-Length: 0\r\nServer: Apache\r\nX-Powered-By: Express\r\n\r\n".to_owned(),
            "/gone" => "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_owned(),
            _ => "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
        })
    })
    .await;
    let running = app.proxied();
    let login = https(&running, &get("/login", "")).await;
    assert!(
        login.contains("location: http://127.0.0.1:8080/x\r\n"),
        "{login}"
    );
    assert!(login.contains("x-powered-by: Express\r\n"), "{login}");
    assert!(!login.to_lowercase().contains("server:"), "{login}");
    let gone = https(&running, &get("/gone", "")).await;
    assert!(
        gone.starts_with("HTTP/1.1 404 ") && gone.ends_with("gone"),
        "{gone}"
    );
    let other = https(&running, &get("/", "")).await;
    assert_eq!(other.matches("set-cookie: ").count(), 2, "{other}");
    assert!(
        other.contains("strict-transport-security: max-age=1\r\n"),
        "{other}"
    );
    // HEAD keeps the length that GET would have.
    let head = https(
        &running,
        "HEAD /gone HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        head.contains("content-length: 4\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_body_is_streamed_both_ways_while_it_comes() {
    // Answers the first piece before the second one is sent.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let running = Running::start_by(|settings| {
        settings.routing.application = Application::Upstream(origin.parse().unwrap());
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        let mut piece = [0; 1000];
        while !text.ends_with("first") {
            let len = stream.read(&mut piece).await.unwrap();
            text.push_str(std::str::from_utf8(&piece[..len]).unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nfirst ")
            .await
            .unwrap();
        let mut second = [0; 6];
        stream.read_exact(&mut second).await.unwrap();
        stream.write_all(&second).await.unwrap();
    });
    let mut client = running.tls(&[b"http/1.1"]).await;
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nfirst")
        .await
        .unwrap();
    let mut read = String::new();
    while !read.ends_with("first ") {
        let mut piece = [0; 1000];
        let len = timeout(PATIENCE, client.read(&mut piece))
            .await
            .unwrap()
            .unwrap();
        assert!(len > 0, "{read}");
        read.push_str(std::str::from_utf8(&piece[..len]).unwrap());
    }
    client.write_all(b"second").await.unwrap();
    let mut second = [0; 6];
    timeout(PATIENCE, client.read_exact(&mut second))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&second, b"second");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_or_pauses_is_the_clients_fault() {
    let app = App::plain().await;
    let running = app.proxied_with(|settings| {
        settings.limits.body_bytes = 1000;
    });
    let hasty = app.proxied_with(|settings| {
        settings.limits.body_idle = Duration::from_millis(100);
    });
    let head = "POST /upload HTTP/1.1\r\nHost: x\r\n";
    let announced = https(&running, &format!("{head}Content-Length: 1001\r\n\r\n")).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(3)
    );
    let counted = https(&running, &chunked).await;
    assert!(counted.starts_with("HTTP/1.1 413 "), "{counted}");
    let paused = https(&hasty, &format!("{head}Content-Length: 10\r\n\r\nabc")).await;
    assert!(paused.starts_with("HTTP/1.1 408 "), "{paused}");
    assert_eq!(app.seen().len(), 0, "none of them was a whole request");
    let allowed = https(
        &running,
        &format!("{head}Content-Length: 3\r\nConnection: close\r\n\r\nabc"),
    )
    .await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    hasty.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn any_protocol_can_be_changed_to_and_an_idle_tunnel_lives() {
    let app = App::scripted(|seen| {
        let protocol = seen.header("upgrade");
        Act::Echo(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nX-Own: 1\r\n\r\n"
        ))
    })
    .await;
    let running = app.proxied_with(|settings| {
        // Every time-out of requests passes while the tunnel is idle.
        settings.limits.upstream_read = Duration::from_secs(2);
        settings.limits.body_idle = Duration::from_secs(2);
        settings.limits.write_stall = Duration::from_secs(2);
    });
    for protocol in ["websocket", "my-protocol/1"] {
        let mut stream = running.tls(&[b"http/1.1"]).await;
        let ask = format!(
            "GET /group-call HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("upgrade: {protocol}\r\n")), "{head}");
        assert!(head.contains("x-own: 1\r\n"), "{head}");
        sleep(Duration::from_secs(3)).await;
        for text in ["hello", "again"] {
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut echo = [0; 5];
            timeout(PATIENCE, stream.read_exact(&mut echo))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(echo, text.as_bytes());
        }
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
    }
    assert_eq!(app.seen()[0].header("connection"), "upgrade");
    running.stop().await;
}

/// With the limits that are shipped: OpenVidu's proxy ended such a WebSocket after a minute.
#[tokio::test]
#[ignore = "takes 75 seconds: scripts/test --long front"]
async fn an_idle_websocket_outlives_every_limit() {
    let app = App::scripted(|_| {
        Act::Echo(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                .to_owned(),
        )
    })
    .await;
    let running = app.proxied_with(|_| {});
    let mut stream = running.tls(&[b"http/1.1"]).await;
    let ask = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    sleep(Duration::from_secs(75)).await;
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    let echoed = timeout(PATIENCE, stream.read_exact(&mut echo)).await;
    echoed.unwrap().unwrap();
    assert_eq!(&echo, b"hello");
    running.stop().await;
}

#[tokio::test]
async fn tunnels_end_when_the_proxy_stops() {
    let app = App::scripted(|_| {
        Act::Echo("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_owned())
    })
    .await;
    let running = app.proxied();
    let mut stream = running.tls(&[b"http/1.1"]).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    running.stop().await;
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn an_application_that_refuses_an_upgrade_answers_itself() {
    let app = App::plain().await;
    let running = app.proxied();
    let ask = "GET /info HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut stream = running.tls(&[b"http/1.1"]).await;
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut start = [0; 13];
    timeout(PATIENCE, stream.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 ");
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn until_an_application_has_answered_there_is_the_call_page_and_never_again_afterwards() {
    let state = tempfile::tempdir().unwrap();
    let seen = state.path().join("application-seen");
    let app = App::plain().await;
    let (address, origin) = (app.address, app.origin());
    drop(app);
    // The application's tasks end with it, and its port is free for the next one.
    let auto = || {
        Running::start_by(|settings| {
            settings.routing.application = Application::Auto {
                origin: origin.clone(),
                seen: seen.clone(),
            };
        })
    };
    let running = auto();
    assert!(https(&running, &get("/", "")).await.ends_with("page"));
    assert!(!seen.exists());
    let listener = TcpListener::bind(address).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2000];
            if stream.read(&mut head).await.unwrap() > 0 {
                stream
                    .write_all(ok("application").as_bytes())
                    .await
                    .unwrap();
                return;
            }
        }
    });
    assert!(
        https(&running, &get("/", ""))
            .await
            .ends_with("application")
    );
    tasks.join_next().await.unwrap().unwrap();
    assert!(
        https(&running, &get("/", ""))
            .await
            .starts_with("HTTP/1.1 502 ")
    );
    running.stop().await;
    assert!(seen.exists());
    let running = auto();
    assert!(
        https(&running, &get("/", ""))
            .await
            .starts_with("HTTP/1.1 502 ")
    );
    running.stop().await;
}

#[tokio::test]
async fn routes_go_by_the_longest_prefix_and_none_takes_a_path_of_ours() {
    let (all, api) = (
        App::plain().await,
        App::scripted(|_| Act::Answer(ok("api"))).await,
    );
    let running = all.proxied_with(|settings| {
        settings.routing.routes = vec![
            ("/api".to_owned(), Target::Upstream(api.origin())),
            ("/openvidu".to_owned(), Target::Upstream(api.origin())),
        ];
    });
    for (path, expected) in [
        ("/api", "api"),
        ("/api/v1", "api"),
        ("/apis", "/apis"),
        ("/openvidu/api/x", "rest 127.0.0.1 0"),
        ("/openvidu/else", "api"),
        ("/", "/"),
    ] {
        let answer = https(&running, &get(path, "")).await;
        assert!(
            answer.ends_with(&format!("\r\n\r\n{expected}")),
            "{path}: {answer}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn another_routing_counts_for_the_next_request_and_leaves_tunnels_alone() {
    let app = App::scripted(|seen| match seen.header("upgrade").as_str() {
        "" => Act::Answer(ok("first")),
        _ => Act::Echo("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_owned()),
    })
    .await;
    let other = App::scripted(|_| Act::Answer(ok("second"))).await;
    let running = app.proxied();
    assert!(https(&running, &get("/", "")).await.ends_with("first"));
    let mut tunnel = running.tls(&[b"http/1.1"]).await;
    tunnel
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, tunnel.read_u8()).await.unwrap().unwrap());
    }
    RoutingHandle::new(running.shared.table.clone(), &running.shared.limits).set(Routing {
        application: Application::Upstream(other.origin()),
        ..no_application()
    });
    assert!(https(&running, &get("/", "")).await.ends_with("second"));
    tunnel.write_all(b"alive").await.unwrap();
    let mut echo = [0; 5];
    let read = timeout(PATIENCE, tunnel.read_exact(&mut echo)).await;
    read.unwrap().unwrap();
    assert_eq!(&echo, b"alive");
    drop(tunnel);
    running.stop().await;
}

#[tokio::test]
async fn an_upstream_with_tls_on_this_machine_may_have_any_certificate() {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(CertificateStore::new(certificate(state.path())));
    let config = tls::http(store, &TlsPolicy::default()).unwrap();
    let mut config = config;
    config.alpn_protocols.clear();
    let app = App::tls(TlsAcceptor::from(Arc::new(config))).await;
    let running = app.proxied();
    let answer = https(&running, &get("/x", "")).await;
    assert!(answer.ends_with("\r\n\r\n/x"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn own_error_pages_stand_in_for_ours_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("404.html"), "lost").unwrap();
    std::fs::write(folder.path().join("50x.html"), "down").unwrap();
    let app = App::scripted(|_| {
        Act::Answer("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\napp".to_owned())
    })
    .await;
    let running =
        app.proxied_with(|settings| settings.routing.error_pages = Some(folder.path().to_owned()));
    assert!(
        https(&running, &get("/", ""))
            .await
            .ends_with("\r\n\r\napp")
    );
    assert!(
        https(&running, &get("/.well-known/acme-challenge/x", ""))
            .await
            .ends_with("\r\n\r\nlost")
    );
    drop(app);
    let down = https(&running, &get("/", "")).await;
    assert!(
        down.starts_with("HTTP/1.1 502 ") && down.ends_with("\r\n\r\ndown"),
        "{down}"
    );
    running.stop().await;
    let running = Running::start_by(|settings| {
        settings.routing.error_pages = Some(folder.path().to_owned());
    });
    assert!(
        https(&running, &get("/missing", ""))
            .await
            .ends_with("\r\n\r\nlost")
    );
    running.stop().await;
}

#[tokio::test]
async fn www_is_redirected_and_deprecated_paths_are_ours_where_that_is_asked_for() {
    let app = App::plain().await;
    let www = "GET /a?b HTTP/1.1\r\nHost: www.call.example\r\nConnection: close\r\n\r\n";
    let old = get("/api/sessions", "");
    let running = app.proxied();
    assert!(https(&running, www).await.starts_with("HTTP/1.1 200 "));
    assert!(https(&running, &old).await.ends_with("/api/sessions"));
    running.stop().await;
    let running = app.proxied_with(|settings| {
        settings.routing.redirect_www = true;
        settings.routing.deprecated_api = true;
    });
    let moved = https(&running, www).await;
    assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
    assert!(
        moved.contains("location: https://call.example:443/a?b\r\n"),
        "{moved}"
    );
    assert!(https(&running, &old).await.ends_with("rest 127.0.0.1 0"));
    running.stop().await;
}

#[tokio::test]
async fn only_the_tls_versions_and_suites_that_were_chosen_are_spoken() {
    use crate::units::TlsSuite;
    let running = Running::start_by(|settings| {
        settings.tls = TlsPolicy {
            tls12: true,
            tls13: false,
            suites: vec![TlsSuite::EcdheEcdsaChaCha20],
        };
    });
    let stream = running.tls(&[b"http/1.1"]).await;
    let session = stream.get_ref().1;
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(
        suite,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    );
    drop(stream);
    running.stop().await;
}
