//! The listeners beside HTTPS: the redirect, and the one for neighbours on the same machine.

use hanok::front::proxy::Listener;

use crate::house::{House, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_redirected_to_https() {
    let house = House::with(|config| config.web.http_port = Some(0)).await;
    let (status, head, _) = http(house.address(Listener::Http), "GET", "/a?b=c", None).await;
    assert_eq!(status, 301, "{head}");
    let port = house.config.public.https_port;
    let location = format!("location: https://127.0.0.1:{port}/a?b=c\r\n");
    assert!(head.to_lowercase().contains(&location), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_listener_serves_its_paths_and_no_others() {
    let house = House::open().await;
    for (path, expected) in [
        ("/openvidu/api/sessions", 200),
        ("/openvidu/api/config", 200),
        ("/openvidu", 426),
        ("/", 404),
        ("/index.html", 404),
        ("/openvidux", 404),
        ("//openvidu/api/sessions", 404),
        ("/.well-known/acme-challenge/x", 404),
    ] {
        let (status, head, _) = http(house.plain(), "GET", path, None).await;
        assert_eq!(status, expected, "{path}: {head}");
    }
}
