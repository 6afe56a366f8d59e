//! What the log says, and what it never says: everything secret of a run with calls, REST, TURN and certificates is looked
//! for in it.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hanok::testing::client::{Client, LOOPBACK, publish_params};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::house::{free_port, http_from, join, new_session, new_token, rest};
use crate::pebble::{Behaviour, Own, Pebble};
use crate::process::Process;
use crate::turn::{Relayed, minted};

/// The secret of `--dev`, which all helpers know.
const SECRET: &str = "MY_SECRET";

const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Everything that must not be told, with what it is.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: impl Into<String>) {
        let secret = secret.into();
        // Short ones are found by chance.
        assert!(secret.len() >= 8, "{what}: {secret}");
        self.0.push((what, secret));
    }

    /// The text of a token's URL that admits.
    fn add_token(&mut self, token: &str) {
        let (_, value) = token.split_once("token=").unwrap();
        let value = value.split('&').next().unwrap();
        self.add("a token", value);
        self.add("a token", value.strip_prefix("tok_").unwrap());
    }

    /// What ICE is authenticated by, of either side.
    fn add_description(&mut self, description: &str) {
        let lines = description.lines();
        for password in lines.filter_map(|line| line.strip_prefix("a=ice-pwd:")) {
            self.add("an ICE password", password);
        }
    }

    /// Keys in the files of a folder: PEM, and JSON of the account.
    fn add_keys(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                self.add_keys(&path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut is_key = false;
            for line in text.lines() {
                if line.starts_with("-----") {
                    is_key = line.contains("PRIVATE KEY") && line.contains("BEGIN");
                } else if is_key && line.len() >= 40 {
                    self.add("a private key", line);
                }
            }
            if let Ok(json) = serde_json::from_str::<Value>(&text) {
                self.add_json(&json);
            }
            if path.file_name().is_some_and(|name| name == "turn-secret") {
                self.add("the TURN secret", text.trim());
            }
        }
    }

    fn add_json(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    match value.as_str() {
                        Some(text) if name == "private" => {
                            self.add("a key of the account", text);
                        }
                        _ => self.add_json(value),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.add_json(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn kinds(&self) -> BTreeSet<&'static str> {
        self.0.iter().map(|(what, _)| *what).collect()
    }

    /// What the log tells of them.
    fn told(&self, log: &[String]) -> Vec<String> {
        let mut told = Vec::new();
        for (what, secret) in &self.0 {
            for line in log.iter().filter(|line| line.contains(secret.as_str())) {
                told.push(format!("{what}: {line}"));
            }
        }
        told
    }
}

/// Joins as [`Client::join`] does, and keeps what must not be told.
async fn join_with(process: &Process, session: &str, secrets: &mut Secrets) -> Client {
    let token = new_token(process.plain, session, "MODERATOR").await;
    secrets.add_token(&token);
    let mut client = Client::open(process.plain).await.unwrap();
    let joined = client.join(&token).await.unwrap();
    secrets.add(
        "a TURN password",
        joined["turnCredential"].as_str().unwrap(),
    );
    secrets.add("what brings a participant back", &*client.rpc_session);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_of_a_whole_run_is_in_its_log() {
    let mut secrets = Secrets::default();
    let own = Own::new();
    let mut behaviour = Behaviour::default();
    let bound = ("kid-1".to_owned(), HMAC.to_owned());
    behaviour.bindings.extend([bound]);
    let _pebble = Pebble::start(&own, &behaviour).await;
    let state = tempfile::tempdir().unwrap();
    let turn_tls = free_port();
    let lines = [
        "HANOK_LOG=trace".to_owned(),
        "DOMAIN_OR_PUBLIC_IP=call.example.test".to_owned(),
        format!("HTTP_PORT={}", behaviour.http_port),
        format!("HTTPS_PORT={}", behaviour.tls_port),
        "CERTIFICATE_TYPE=letsencrypt".to_owned(),
        "LETSENCRYPT_EMAIL=me@example.org".to_owned(),
        format!("HANOK_ACME_DIRECTORY={}", own.directory()),
        format!("HANOK_ACME_CA_FILE={}", own.path("ca.pem").display()),
        "HANOK_ACME_PORTS_FORWARDED=true".to_owned(),
        "HANOK_ACME_EAB_KEY_ID=kid-1".to_owned(),
        format!("HANOK_ACME_EAB_HMAC_KEY={HMAC}"),
        format!("HANOK_STATE_DIR={}", state.path().display()),
        format!("HANOK_TURN_TLS_LISTEN=127.0.0.1:{turn_tls}"),
        "COTURN_SHARED_SECRET_KEY=north-of-the-wall".to_owned(),
        "HANOK_TURN_USERS=recorder:static-password".to_owned(),
        "HANOK_PUBLIC_ADDRESS_SERVERS=".to_owned(),
        format!("HANOK_ADMIN_LISTEN=127.0.0.1:{}", free_port()),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut process = Process::start_with(&lines).await;
    process.says("is served, valid until").await;
    secrets.add("the secret", SECRET);
    let basic = BASE64_STANDARD.encode(format!("OPENVIDUAPP:{SECRET}"));
    secrets.add("the secret", basic);
    secrets.add("the binding of the account", HMAC);
    secrets.add("the TURN secret", "north-of-the-wall");
    secrets.add("a TURN password", "static-password");
    secrets.add_keys(state.path());

    // A call, with what is said in it.
    let session = new_session(process.plain).await;
    let mut publisher = join_with(&process, &session, &mut secrets).await;
    let mut subscriber = join_with(&process, &session, &mut secrets).await;
    let negotiation = publisher.negotiate().await.unwrap();
    let offer = negotiation.publisher_offer();
    secrets.add_description(&offer);
    let published = publisher
        .request("publishVideo", publish_params(&offer))
        .await
        .unwrap();
    secrets.add_description(published["sdpAnswer"].as_str().unwrap());
    let remote = hanok::testing::client::remote(&published, "sdpAnswer").unwrap();
    let sending = negotiation.connect(&remote, true, None).unwrap();
    sending.connected().await.unwrap();
    let stream = published["id"].as_str().unwrap();
    let receiving = subscriber.subscribe(stream).await.unwrap();
    let flows = |report: &hanok::testing::client::Report| report.video.received > 20;
    receiving.until("media arrives", flows).await.unwrap();
    let signal = json!({"to": [], "type": "signal:chat", "data": "between-us-alone"}).to_string();
    publisher
        .request("sendMessage", json!({"message": signal}))
        .await
        .unwrap();
    secrets.add("what participants say", "between-us-alone");
    let again = publisher.reconnect(process.plain).await;
    drop(again);

    // Those who guess.
    let guesses = ["wrong-secret-guess", "another-wrong-guess"];
    for guess in guesses {
        secrets.add("a guess", guess);
        let basic = BASE64_STANDARD.encode(format!("OPENVIDUAPP:{guess}"));
        let header = format!("Authorization: Basic {basic}\r\n");
        secrets.add("a guess", basic);
        let path = format!("/openvidu/api/sessions?secret={guess}&token={guess}");
        http_from(process.plain, &path, &header).await;
        let mut client = Client::open(process.plain).await.unwrap();
        let token = format!("wss://127.0.0.1?sessionId={session}&token={guess}");
        client.join(&token).await.unwrap_err();
        let params = json!({"token": token, "session": session, "platform": "x", "metadata": "{}",
            "secret": guess, "recorder": true, "dashboard": false});
        client.request("joinRoom", params).await.unwrap_err();
        let params = json!({"sessionId": guess});
        let _ = client.request("connect", params).await;
        let _ = client.request(guess, json!({"password": guess})).await;
    }

    // TURN: credentials that are good, wrong, and static.
    let (username, password) = minted("north-of-the-wall", "somebody");
    for (name, password, expected) in [
        (username.as_str(), password.as_str(), 0),
        (username.as_str(), "wrong-turn-password", 401),
        ("recorder", "static-password", 0),
        ("nobody", "password-of-nobody", 401),
    ] {
        secrets.add("a TURN password", password);
        let mut client = Relayed::between(LOOPBACK, process.turn, name, password).await;
        assert_eq!(client.allocate().await, expected, "{name}");
    }

    // REST in all its ways, and a reload that changes secrets.
    let path = format!("/openvidu/api/sessions/{session}");
    for (method, path, body) in [
        ("GET", "/openvidu/api/sessions".to_owned(), None),
        ("GET", path.clone(), None),
        ("GET", "/openvidu/api/config".to_owned(), None),
        (
            "POST",
            format!("{path}/connection"),
            Some(json!({"role": 7, "data": "mistake-of-somebody"})),
        ),
        (
            "POST",
            "/openvidu/api/signal".to_owned(),
            Some(json!({"session": session, "data": "told-by-the-server"})),
        ),
    ] {
        rest(process.plain, method, &path, body).await;
    }
    secrets.add("what the application says", "told-by-the-server");
    let mut changed = lines.clone();
    changed.push("COTURN_SHARED_SECRET_KEY=south-of-the-wall");
    changed.push("HANOK_TURN_USERS=recorder:changed-password");
    process.reload_with(&changed);
    process.says("configuration reloaded: ").await;
    secrets.add("the TURN secret", "south-of-the-wall");
    secrets.add("a TURN password", "changed-password");
    let mut broken = changed.clone();
    broken.push("OPENVIDU_SECRET=");
    broken.push("HANOK_TURN_USERS=broken-password");
    broken.push("HANOK_ACME_EAB_HMAC_KEY=broken+hmac/key");
    process.reload_with(&broken);
    process.says("not reloaded").await;
    secrets.add("a TURN password", "broken-password");
    secrets.add("the binding of the account", "broken+hmac/key");

    let late = join(process.plain, &session).await;
    late.leave().await.unwrap();
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
    let log = process.whole_log().await;

    // What is looked for, and where.
    let kinds = secrets.kinds();
    for kind in [
        "a private key",
        "a key of the account",
        "a token",
        "an ICE password",
        "what brings a participant back",
    ] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
    let said: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for member in ["time", "level", "target", "message"] {
        assert!(said.iter().all(|line| line[member].is_string()), "{member}");
    }
    for text in [
        "joined",
        "published",
        "connected",
        "request refused",
        "a TURN allocation begins",
        "ordering a certificate",
        "configuration reloaded",
        "stopped",
    ] {
        let found = said
            .iter()
            .any(|line| line["message"].as_str().unwrap().starts_with(text));
        assert!(found, "{text:?} is in none of {} lines", log.len());
    }
    let of = |target: &str| said.iter().filter(|line| line["target"] == target).count();
    assert!(of("access") > 10, "{}", of("access"));
    let in_session = |line: &&Value| line["spans"]["session"]["id"] == session.as_str();
    let connected = said
        .iter()
        .filter(in_session)
        .filter(|line| line["message"] == "connected");
    assert!(
        connected.count() >= 2,
        "a worker says whose transport it is"
    );
    assert!(said.iter().any(|line| line["level"] == "DEBUG"));

    let told = secrets.told(&log);
    assert!(
        told.is_empty(),
        "{} of {} secrets are told:\n{}",
        told.len(),
        secrets.0.len(),
        told.join("\n")
    );
    println!(
        "{} secrets looked for in {} lines: none",
        secrets.0.len(),
        log.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_for_people_and_openvidus_own_switch_makes_it_talk() {
    let lines = ["HANOK_LOG_FORMAT=text", "OV_CE_DEBUG_LEVEL=DEBUG"];
    let mut process = Process::start_with(&lines).await;
    let session = new_session(process.plain).await;
    let client = join(process.plain, &session).await;
    client.leave().await.unwrap();
    process.says("destroyed").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
    let log = process.whole_log().await;
    assert!(log.iter().all(|line| !line.starts_with('{')), "{log:#?}");
    assert!(log.iter().any(|line| line.contains(" INFO ")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("DEBUG ")), "{log:#?}");
    assert!(
        log.iter().all(|line| !line.contains('\u{1b}')),
        "no colours"
    );
    let of_session = log.iter().filter(|line| line.contains(&session));
    assert!(of_session.count() >= 3, "created, joined, left: {log:#?}");
}
