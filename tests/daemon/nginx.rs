//! Our proxy beside Debian's nginx with the settings of OpenVidu's proxy (`openvidu-deployment` section 6.3): the same
//! requests, the same application behind both. Whatever differs is explained in [`DIFFERENCES`].

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hanok::config::settings::Certificate;
use hanok::config::values::{AppUpstream, Host};
use hanok::front::proxy::Listener;
use hanok::testing::client::PATIENCE;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::doors::{DOMAIN, Issued, issued};
use crate::house::{House, eventually, free_port};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ours,
    Nginx,
}
use Side::{Nginx, Ours};

/// What one of the two says and the other one does not: in which request (empty: any), by whom, the beginning of the
/// line, and why that is right.
const DIFFERENCES: &[(&str, Side, &str, &str)] = &[
    (
        "",
        Nginx,
        "> server: nginx",
        "nobody needs to know what answers",
    ),
    (
        "",
        Nginx,
        "> strict-transport-security: ",
        "only with a certificate that browsers accept; this one is none",
    ),
    (
        "",
        Nginx,
        "< connection: upgrade",
        "said where an upgrade is asked for; else connections could not be kept",
    ),
    (
        "",
        Nginx,
        "< x-forwarded-proto: https (2)",
        "once is enough: some frameworks take two for a list",
    ),
    (
        "",
        Ours,
        "< x-forwarded-host: call.example.com",
        "the name with its port, which Host does not have",
    ),
    (
        "port",
        Ours,
        "< x-forwarded-host: CALL.example.com:4443",
        "likewise",
    ),
    (
        "foreign host",
        Ours,
        "< x-forwarded-host: other.example",
        "likewise",
    ),
    (
        "absolute target",
        Ours,
        "< x-forwarded-host: other.example",
        "likewise",
    ),
    (
        "forged",
        Nginx,
        "< x-forwarded-for: 1.1.1.1, 127.0.0.1",
        "who is not trusted does not say who he is",
    ),
    ("forged", Ours, "< x-forwarded-for: 127.0.0.1", "likewise"),
    (
        "forged",
        Nginx,
        "< x-forwarded-host: evil.example",
        "likewise",
    ),
    ("forged", Nginx, "< forwarded: for=1.1.1.1", "likewise"),
    (
        "chunked",
        Nginx,
        "< content-length: 3",
        "nginx has the whole body before it sends any of it",
    ),
    (
        "chunked",
        Ours,
        "< transfer-encoding: chunked",
        "we pass it on as it comes",
    ),
    ("hop by hop", Nginx, "< x-hop: 1", "RFC 9110 section 7.6.1"),
    (
        "hop by hop",
        Nginx,
        "< proxy-connection: x",
        "the same, for a header of the same kind",
    ),
    (
        "cookies",
        Nginx,
        "< cookie: ",
        "joined, as HTTP/2 demands of who passes them on",
    ),
    ("cookies", Ours, "< cookie: a=1; b=2", "likewise"),
    (
        "long line",
        Nginx,
        "status 400",
        "nginx has 8 KiB for a line, we have 32 KiB for the head",
    ),
    ("long line", Ours, "", "likewise"),
    ("long target", Nginx, "status 414", "likewise"),
    ("long target", Ours, "", "likewise"),
    ("long head", Nginx, "status 400", "RFC 6585 section 5"),
    ("long head", Ours, "status 431", "likewise"),
    (
        "length and coding",
        Nginx,
        "status 400",
        "RFC 9112 section 6.3 allows the coding to count; the application gets it framed anew, and the connection ends",
    ),
    ("length and coding", Ours, "", "likewise"),
    (
        "one length twice",
        Nginx,
        "status 400",
        "RFC 9112 section 6.3 allows to take them for one",
    ),
    ("one length twice", Ours, "", "likewise"),
    (
        "way out",
        Nginx,
        "status 400",
        "for the application to judge, which gets the target as it was sent",
    ),
    ("way out", Ours, "", "likewise"),
    ("no encoding", Nginx, "status 400", "likewise"),
    ("no encoding", Ours, "", "likewise"),
];

const HOST: &str = "Host: call.example.com\r\n";
const CLOSE: &str = "Connection: close\r\n\r\n";

/// Names and requests.
fn requests() -> Vec<(&'static str, String)> {
    let get = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{HOST}{lines}{CLOSE}");
    let post =
        |lines: &str, body: &str| format!("POST /upload HTTP/1.1\r\n{HOST}{lines}{CLOSE}{body}");
    let bare = |host: &str| format!("GET / HTTP/1.1\r\n{host}{CLOSE}");
    vec![
        (
            "plain",
            get("/a?b=%20c", "User-Agent: x\r\nAccept-Encoding: gzip\r\n"),
        ),
        ("head", format!("HEAD /a HTTP/1.1\r\n{HOST}{CLOSE}")),
        (
            "forged",
            get(
                "/",
                "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\nForwarded: for=1.1.1.1\r\n",
            ),
        ),
        ("body", post("Content-Length: 3\r\n", "abc")),
        (
            "chunked",
            post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ),
        (
            "body of GET",
            format!("GET / HTTP/1.1\r\n{HOST}Content-Length: 3\r\n{CLOSE}abc"),
        ),
        (
            "hop by hop",
            format!(
                "GET / HTTP/1.1\r\n{HOST}X-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: x\r\nConnection: close, X-Hop\r\n\r\n"
            ),
        ),
        ("underscore", get("/", "X_Real_IP: 1.1.1.1\r\n")),
        ("cookies", get("/", "Cookie: a=1\r\nCookie: b=2\r\n")),
        (
            "upgrade",
            format!(
                "GET /ws HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
            ),
        ),
        ("port", bare("Host: CALL.example.com:4443\r\n")),
        ("foreign host", bare("Host: other.example\r\n")),
        ("absolute target", get("http://other.example/x", "")),
        ("no host", bare("")),
        ("two hosts", bare("Host: a\r\nHost: a\r\n")),
        ("bad host", bare("Host: a/b\r\n")),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("redirect", get("/redirect", "")),
        ("error", get("/missing", "")),
        ("down", get("/down", "")),
        ("too large", post("Content-Length: 209715201\r\n", "")),
        (
            "long line",
            get("/", &format!("A: {}\r\n", "a".repeat(9000))),
        ),
        ("long target", get(&format!("/{}", "a".repeat(9000)), "")),
        (
            "long head",
            get("/", &format!("A: {}\r\n", "a".repeat(7000)).repeat(6)),
        ),
        (
            "length and coding",
            post(
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "3\r\nabc\r\n0\r\n\r\n",
            ),
        ),
        (
            "two lengths",
            post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
        ),
        (
            "one length twice",
            post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        ),
        ("folded", get("/", "A: b\r\n c\r\n")),
        (
            "bare line feeds",
            "GET / HTTP/1.1\nHost: call.example.com\nConnection: close\n\n".to_owned(),
        ),
        ("space before colon", get("/", "A : b\r\n")),
        ("TRACE", format!("TRACE / HTTP/1.1\r\n{HOST}{CLOSE}")),
        ("asterisk", format!("OPTIONS * HTTP/1.1\r\n{HOST}{CLOSE}")),
        ("dots", get("/a/../b", "")),
        ("slashes", get("//a///b", "")),
        ("way out", get("/../b", "")),
        ("no encoding", get("/%zz", "")),
    ]
}

/// nginx in the foreground; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with these servers.
fn nginx(folder: &Path, servers: &str) -> Server {
    let at = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/errors;
         events {{}}
         http {{
           access_log off; server_tokens off; client_max_body_size 200m; proxy_headers_hash_bucket_size 128;
           client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
           uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
           {servers}
         }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let mut command = Command::new(found.expect("nginx is installed by scripts/test"));
    command
        .arg("-c")
        .arg(file)
        .arg("-e")
        .arg(folder.join("errors"));
    Server(command.stderr(Stdio::null()).spawn().unwrap())
}

/// OpenVidu's proxy in front of an application.
fn openvidus(folder: &Path, port: u16, redirecting: u16, application: SocketAddr) -> Server {
    let at = folder.display();
    let servers = format!(
        "server {{
             listen 127.0.0.1:{port} ssl; server_name {DOMAIN};
             ssl_certificate {at}/cert; ssl_certificate_key {at}/key;
             add_header Strict-Transport-Security max-age=63072000 always;
             proxy_set_header Host $host;
             proxy_set_header X-Real-IP $remote_addr;
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
             proxy_set_header X-Forwarded-Proto $scheme;
             proxy_set_header X-Forwarded-Proto https;
             proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade;
             proxy_set_header Connection upgrade;
             proxy_redirect off;
             location / {{ proxy_pass http://{application}; }}
             location /down {{ proxy_pass http://127.0.0.1:9; }}
           }}
           server {{
             listen 127.0.0.1:{redirecting};
             location / {{ return 301 https://{DOMAIN}:443$request_uri; }}
           }}"
    );
    nginx(folder, &servers)
}

/// Answers every request with what it has seen of it.
async fn mirror(listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tasks.spawn(reflect(stream));
    }
}

async fn reflect(mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        }
    };
    let lower = head.to_lowercase();
    if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length: usize = rest.lines().next().unwrap().parse().unwrap();
        while bytes.len() < length {
            stream.read_buf(&mut bytes).await.ok()?;
        }
    } else if lower.contains("transfer-encoding: chunked") {
        while !bytes.ends_with(b"0\r\n\r\n") {
            stream.read_buf(&mut bytes).await.ok()?;
        }
        // One chunk is all that is sent here.
        bytes = bytes[3..bytes.len() - 7].to_vec();
    }
    let seen = format!("{head}{}", String::from_utf8(bytes).unwrap());
    let (status, lines) = match head.split(' ').nth(1).unwrap() {
        "/ws" => ("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned()),
        "/redirect" => (
            "302 Found",
            "Location: http://127.0.0.1:8080/x\r\nServer: Apache\r\nX-Powered-By: Express\r\nSet-Cookie: a=1\r\n\
             Set-Cookie: b=2\r\nContent-Length: 0\r\n"
                .to_owned(),
        ),
        "/missing" => ("404 Not Found", "Content-Length: 0\r\n".to_owned()),
        _ => ("200 OK", format!("Content-Length: {}\r\nConnection: close\r\n", seen.len())),
    };
    let body = if head.starts_with("HEAD ") || lines.contains("Length: 0") {
        ""
    } else {
        &seen
    };
    let answer = format!("HTTP/1.1 {status}\r\n{lines}\r\n{body}");
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

/// Sends `request`, over TLS if `tls` is given, and returns whatever comes back.
async fn ask(address: SocketAddr, tls: Option<&TlsConnector>, request: &str) -> String {
    ask_from(Ipv4Addr::LOCALHOST, address, tls, request).await
}

/// The same from an address of the loopback network.
async fn ask_from(
    source: Ipv4Addr,
    address: SocketAddr,
    tls: Option<&TlsConnector>,
    request: &str,
) -> String {
    let asking = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut bytes = Vec::new();
        // A reset after an answer is an end as well.
        match tls {
            None => {
                let mut stream = stream;
                stream.write_all(request.as_bytes()).await.unwrap();
                let _ = stream.read_to_end(&mut bytes).await;
            }
            Some(tls) => {
                let name = ServerName::try_from(DOMAIN).unwrap();
                let mut stream = tls.connect(name, stream).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let _ = stream.read_to_end(&mut bytes).await;
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("no end of the answer to {request}"))
}

/// What counts of an answer: its status, its headers (`>`) and what the application saw (`<`), in lower-case names and
/// without order. The texts of error pages are each server's own.
fn outcome(answer: &str) -> BTreeSet<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or("none");
    let mut outcome = BTreeSet::from([format!("status {status}")]);
    let by_proxy = !["200", "101", "302", "404", "301"].contains(&status);
    let passed_over = [
        "date: ",
        "content-length: ",
        "content-type: ",
        "connection: close",
    ];
    let ours_alone = [
        "x-frame-options: ",
        "x-xss-protection: ",
        "x-content-type-options: ",
        "cache-control: ",
    ];
    for line in lines.map(lower_name) {
        let skipped = passed_over
            .iter()
            .chain(ours_alone.iter().filter(|_| by_proxy));
        if !skipped.into_iter().any(|start| line.starts_with(start)) {
            add(&mut outcome, format!("> {line}"));
        }
    }
    if !by_proxy {
        for line in body.lines().filter(|line| !line.is_empty()) {
            add(&mut outcome, format!("< {}", lower_name(line)));
        }
    }
    outcome
}

/// A line that comes again is marked by how often it has come.
fn add(outcome: &mut BTreeSet<String>, line: String) {
    let again = (2..).map(|count| format!("{line} ({count})"));
    let mut names = std::iter::once(line.clone()).chain(again);
    let free = names.find(|line| !outcome.contains(line));
    outcome.extend(free);
}

fn lower_name(line: &str) -> String {
    match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    }
}

fn connector(issued: &Issued) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(issued.authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_differs_from_nginx_is_meant() {
    let issued = issued();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
    fs::write(&certificate, issued.certificate.pem()).unwrap();
    fs::write(&key, issued.key.serialize_pem()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let application = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(mirror(listener));
    let (port, redirecting) = (free_port(), free_port());
    let _nginx = openvidus(folder.path(), port, redirecting, application);
    let house = House::with(|config| {
        config.public.host = Host::Name(DOMAIN.to_owned());
        config.public.https_port = 443;
        config.web.http_port = Some(0);
        // The client stands for one from outside, whom nginx does not believe either.
        config.web.trusted_proxies = Vec::new();
        config.web.app_upstream = AppUpstream::Url(format!("http://{application}"));
        config.web.routes = hanok::config::validate::routes("/down=http://127.0.0.1:9").unwrap();
        config.web.certificate = Certificate::Own { certificate, key };
    })
    .await;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("nginx listens", async || {
        TcpStream::connect(at(port)).await.is_ok()
    })
    .await;

    let connector = connector(&issued);
    let (mut unexplained, mut used) = (Vec::new(), BTreeSet::new());
    let mut compare = |name: &str, ours: &str, nginx: &str| {
        let (ours, nginx) = (outcome(ours), outcome(nginx));
        let only = |side, lines: Vec<&String>| {
            lines
                .into_iter()
                .map(|line| (side, line.clone()))
                .collect::<Vec<_>>()
        };
        let mut differences = only(Ours, ours.difference(&nginx).collect());
        differences.extend(only(Nginx, nginx.difference(&ours).collect()));
        for (side, line) in differences {
            let explanation = DIFFERENCES.iter().position(|(request, by, start, _)| {
                (request.is_empty() || *request == name) && *by == side && line.starts_with(start)
            });
            match explanation {
                Some(index) => drop(used.insert(index)),
                None => unexplained.push(format!("{name}: {side:?} alone: {line}")),
            }
        }
    };
    for (name, request) in requests() {
        let ours = ask(house.address(Listener::Https), Some(&connector), &request).await;
        let theirs = ask(at(port), Some(&connector), &request).await;
        compare(name, &ours, &theirs);
    }
    for target in ["/", "/a%20b?c=d&e", "//evil.example/x"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n{CLOSE}");
        let ours = ask(house.address(Listener::Http), None, &request).await;
        let theirs = ask(at(redirecting), None, &request).await;
        assert!(ours.starts_with("HTTP/1.1 301 "), "{ours}");
        // The page beside a redirect is nginx's own.
        let head = theirs.split("\r\n\r\n").next().unwrap();
        compare("redirect to HTTPS", &ours, head);
    }
    assert!(unexplained.is_empty(), "\n{}", unexplained.join("\n"));
    for (index, difference) in DIFFERENCES.iter().enumerate() {
        assert!(
            used.contains(&index),
            "an explanation without a difference: {difference:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_lists_go_by_who_came_to_it_whatever_he_says_of_himself() {
    const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
    let house = House::with(|config| {
        config.web.rest_access = Some(vec!["127.0.0.5/32".parse().unwrap()]);
        config.web.dashboard_access = Some(vec!["127.0.0.5/32".parse().unwrap()]);
    })
    .await;
    let plain = house.plain();
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    // As those have it who keep their own: both headers, upgrades for signalling alone.
    let servers = format!(
        "server {{
           listen 127.0.0.1:{port};
           proxy_set_header Host $host;
           proxy_set_header X-Real-IP $remote_addr;
           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
           proxy_http_version 1.1;
           location /openvidu {{
             proxy_pass http://{plain};
             proxy_set_header Host $host;
             proxy_set_header X-Real-IP $remote_addr;
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
             proxy_set_header Upgrade $http_upgrade;
             proxy_set_header Connection upgrade;
           }}
           location /dashboard {{ proxy_pass http://{plain}; }}
         }}"
    );
    let _nginx = nginx(folder.path(), &servers);
    let front = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("nginx listens", async || {
        TcpStream::connect(front).await.is_ok()
    })
    .await;
    let api = "/openvidu/api/sessions";
    let forged = "X-Forwarded-For: 127.0.0.5\r\nX-Real-IP: 127.0.0.5\r\n";
    for (source, path, lines, expected) in [
        (LISTED, api, "", "401"),
        // There is no page yet, but nobody is turned away.
        (LISTED, "/dashboard/", "", "404"),
        (OTHER, api, "", "403"),
        (OTHER, "/dashboard/", "", "403"),
        (OTHER, api, forged, "403"),
        (OTHER, "/dashboard/", forged, "403"),
        // Participants are on no list.
        (OTHER, "/openvidu", "", "426"),
        (OTHER, "/openvidu/accept-certificate", "", "200"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{lines}{CLOSE}");
        let answer = ask_from(source, front, None, &request).await;
        let status = answer.split(' ').nth(1);
        assert_eq!(status, Some(expected), "{source} {path} {lines}: {answer}");
    }
}
