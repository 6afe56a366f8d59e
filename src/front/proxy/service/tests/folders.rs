//! Static folders: routes and custom layouts.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::front::proxy::routes::Target;

struct Site {
    folder: tempfile::TempDir,
    running: Running,
}

impl Site {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("site");
        fs::create_dir_all(root.join("docs/deep")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        fs::write(root.join("index.html"), "front").unwrap();
        fs::write(root.join("docs/index.html"), "docs").unwrap();
        fs::write(root.join("docs/deep/a b.txt"), "0123456789").unwrap();
        fs::write(root.join("large.bin"), vec![7; 300_000]).unwrap();
        fs::write(root.join(".env"), "SECRET").unwrap();
        fs::write(folder.path().join("secret"), "SECRET").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("index.html", root.join("in")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
        let running = Running::start_by(|settings| {
            settings.routing.routes = vec![("/site".to_owned(), Target::Folder(root.clone()))];
            settings.routing.layouts = root;
        });
        Self { folder, running }
    }

    async fn ask(&self, method: &str, path: &str, lines: &str) -> String {
        let mut stream = self.running.tls(&[b"http/1.1"]).await;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        self.ask("GET", path, "").await
    }
}

fn line<'a>(answer: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    answer
        .lines()
        .find_map(|line| line.strip_prefix(start.as_str()))
        .unwrap_or("")
}

#[tokio::test]
async fn files_indexes_and_pages_of_the_application_are_served() {
    let site = Site::open();
    for (path, body, kind) in [
        ("/site/", "front", "text/html; charset=utf-8"),
        ("/site/index.html", "front", "text/html; charset=utf-8"),
        ("/site/docs/", "docs", "text/html; charset=utf-8"),
        (
            "/site/docs/deep/a%20b.txt?x=y",
            "0123456789",
            "text/plain; charset=utf-8",
        ),
        // Pages that only the script in index.html knows.
        ("/site/users/7", "front", "text/html; charset=utf-8"),
    ] {
        let answer = site.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{body}")),
            "{path}: {answer}"
        );
        assert_eq!(line(&answer, "content-type"), kind, "{path}");
        assert!(!answer.contains("x-frame-options"), "{answer}");
    }
    for folder in ["/site", "/site/docs"] {
        let moved = site.get(folder).await;
        assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
        assert_eq!(line(&moved, "location"), format!("{folder}/"));
    }
    let large = site.get("/site/large.bin").await;
    assert!(large.len() > 300_000);
    assert_eq!(line(&large, "content-length"), "300000");
    let missing = site.get("/site/missing.js").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    let page = site
        .ask("GET", "/site/john.doe", "Accept: text/html\r\n")
        .await;
    assert!(page.ends_with("front"), "{page}");
    let post = site.ask("POST", "/site/", "Content-Length: 0\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    let head = site.ask("HEAD", "/site/large.bin", "").await;
    assert_eq!(line(&head, "content-length"), "300000");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    site.running.stop().await;
}

#[tokio::test]
async fn layouts_are_public_and_have_no_pages_but_their_files() {
    let site = Site::open();
    assert!(site.get("/openvidu/layouts/docs/").await.ends_with("docs"));
    assert!(
        site.get("/openvidu/layouts/docs/?secret=x")
            .await
            .ends_with("docs")
    );
    for missing in [
        "/openvidu/layouts/users/7",
        "/openvidu/layouts/empty/",
        "/openvidu/layouts/.env",
    ] {
        let answer = site.get(missing).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{missing}: {answer}");
    }
    site.running.stop().await;
}

#[tokio::test]
async fn nothing_outside_the_folder_and_nothing_hidden_is_served() {
    let site = Site::open();
    for path in [
        "/site/../secret",
        "/site/%2e%2e/secret",
        "/site/..%2fsecret",
        "/site/%252e%252e/secret",
        "/site/docs/../../secret",
        "/site/..\\secret",
        "/site/%5c..%5csecret",
        "/site/.env",
        "/site/%2eenv",
        "/site/out",
        "/site/in",
        "/site/etc/passwd",
        "/site/etc/",
        "/site/pipe",
        "/site/a%00b",
        "/site/index.html/x.txt",
        "/site//etc/passwd",
        &format!("/site/{}.txt", "a".repeat(4000)),
    ] {
        let accept = "Accept: */*\r\n";
        let answer = site.ask("GET", path, accept).await;
        assert!(
            !answer.contains("SECRET") && !answer.contains("root:"),
            "{path}: {answer}"
        );
        // The front page is all that the fallback gives.
        let fine = answer.starts_with("HTTP/1.1 404 ") || answer.ends_with("\r\n\r\nfront");
        assert!(fine, "{path}: {answer}");
    }
    drop(site.folder);
    site.running.stop().await;
}

#[tokio::test]
async fn who_has_a_file_gets_no_copy_and_a_part_is_a_part() {
    let site = Site::open();
    let path = "/site/docs/deep/a%20b.txt";
    let first = site.get(path).await;
    let (etag, date) = (
        line(&first, "etag").to_owned(),
        line(&first, "last-modified").to_owned(),
    );
    for known in [
        format!("If-None-Match: {etag}\r\n"),
        format!("If-Modified-Since: {date}\r\n"),
    ] {
        let answer = site.ask("GET", path, &known).await;
        assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(line(&answer, "etag"), etag);
    }
    let part = site.ask("GET", path, "Range: bytes=2-4\r\n").await;
    assert!(
        part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\n234"),
        "{part}"
    );
    assert_eq!(line(&part, "content-range"), "bytes 2-4/10");
    assert_eq!(line(&part, "content-length"), "3");
    let beyond = site.ask("GET", path, "Range: bytes=10-\r\n").await;
    assert!(beyond.starts_with("HTTP/1.1 416 "), "{beyond}");
    assert_eq!(line(&beyond, "content-range"), "bytes */10");
    fs::write(site.folder.path().join("site/docs/deep/a b.txt"), "changed").unwrap();
    let lines = format!("Range: bytes=2-4\r\nIf-Range: {etag}\r\n");
    let changed = site.ask("GET", path, &lines).await;
    assert!(
        changed.starts_with("HTTP/1.1 200 ") && changed.ends_with("changed"),
        "{changed}"
    );
    site.running.stop().await;
}
