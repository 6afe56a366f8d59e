//! From an OpenVidu 2.32 folder to hanok and back: dry run, migration, a call with the old secret, the old folder as it
//! was.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use hanok::testing::client::{Client, LOOPBACK, PATIENCE};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::Call;
use crate::house::{MEDIA_PORTS, free_port, rest_by};
use crate::process::hanok;
use crate::turn::{Relayed, minted};

const DOMAIN: &str = "call.example";
const SECRET: &str = "Old_openvidu-secret1";
const TURN_SECRET: &str = "OldCoturnSecret0123456789abcdefghij";
const HOOK: &str = "hook-credential-77";

/// An OpenVidu 2.32 CE installation that somebody uses, and what a migration makes of it.
struct Move {
    folder: TempDir,
    https: u16,
    turn: u16,
    plain: u16,
    application: TcpListener,
    certificate: String,
}

impl Move {
    fn new() -> Self {
        let own = Self {
            folder: tempfile::tempdir().unwrap(),
            https: free_port(),
            turn: free_port(),
            plain: free_port(),
            application: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            certificate: String::new(),
        };
        own.with_folder()
    }

    fn with_folder(mut self) -> Self {
        self.write(".env", &self.env());
        self.write("docker-compose.yml", COMPOSE);
        self.write("docker-compose.override.yml", OVERRIDE);
        self.write("openvidu", "#!/bin/bash\ndocker compose \"$@\"\n");
        let script = self.old("openvidu");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
        self.write(
            "coturn/shared-secret-key",
            &format!("# COTURN_SHARED_SECRET_KEY is generated randomly\r\nCOTURN_SHARED_SECRET_KEY={TURN_SECRET}\r\n"),
        );
        self.write(
            "certificates/live/certificates.conf",
            &format!("{DOMAIN}\tletsencrypt\n"),
        );
        let mut params = CertificateParams::new(vec![DOMAIN.to_owned()]).unwrap();
        params.not_after = date_time_ymd(2100, 1, 1);
        let key = KeyPair::generate().unwrap();
        self.certificate = params.self_signed(&key).unwrap().pem();
        for (name, text) in [
            ("fullchain", &self.certificate),
            ("privkey", &key.serialize_pem()),
        ] {
            let archived = format!("certificates/archive/{DOMAIN}/{name}1.pem");
            self.write(&archived, text);
            let live = self.old(&format!("certificates/live/{DOMAIN}/{name}.pem"));
            fs::create_dir_all(live.parent().unwrap()).unwrap();
            symlink(format!("../../archive/{DOMAIN}/{name}1.pem"), live).unwrap();
        }
        let application = self.application.local_addr().unwrap();
        self.write(
            "custom-nginx-locations/api.conf",
            &format!(
                "location /my-api/ {{\n    proxy_pass http://{application};\n    proxy_set_header Host $host;\n    proxy_read_timeout 600s;\n}}\n\
                 location /admin/ {{\n    allow 10.0.0.0/8;\n    deny all;\n    proxy_pass http://{application};\n}}\n"
            ),
        );
        self.write(
            "custom-nginx-vhosts/shop.conf",
            "server {\n    server_name shop.example;\n}\n",
        );
        self.write("recordings/ses_A/ses_A.mp4", "film");
        self.write("custom-layout/mine/index.html", "<html>");
        self.write("cdr/CDR-1.log", "[]\n");
        self
    }

    /// As its owner has edited it: comments, Windows line ends in one place, a comment behind a value.
    fn env(&self) -> String {
        let old = self.old("");
        let old = old.display();
        let (https, turn) = (self.https, self.turn);
        format!(
            "# OpenVidu configuration\n# ----------------------\n\nDOMAIN_OR_PUBLIC_IP={DOMAIN}\r\n\n# our secret\nOPENVIDU_SECRET={SECRET} # as in the vault\n\
             CERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=me@call.example\n# HTTP_PORT=80\nHTTP_PORT={}\nHTTPS_PORT={https}\nCOTURN_PORT={turn}\n\
             COTURN_MIN_PORT={}\nCOTURN_MAX_PORT={}\n\
             OPENVIDU_RECORDING=false\nOPENVIDU_RECORDING_PATH={old}recordings\nOPENVIDU_RECORDING_CUSTOM_LAYOUT={old}custom-layout\n\
             OPENVIDU_CDR=true\nOPENVIDU_CDR_PATH={old}cdr\nOPENVIDU_WEBHOOK=true\nOPENVIDU_WEBHOOK_ENDPOINT=http://127.0.0.1:7777/hook\n\
             OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Bearer {HOOK}\"]\n\
             OPENVIDU_WEBHOOK_EVENTS=[sessionCreated,sessionDestroyed]\nHANOK_ACME_DIRECTORY=http://127.0.0.1:9/dir\n# the end\n",
            free_port(),
            MEDIA_PORTS.1 + 1,
            MEDIA_PORTS.1 + 500,
        )
    }

    fn old(&self, name: &str) -> PathBuf {
        self.folder.path().join("openvidu").join(name)
    }

    fn new_file(&self) -> PathBuf {
        self.folder.path().join("etc/hanok/.env")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.old(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = hanok(arguments);
        command
            .env("HANOK_STATE_DIR", self.folder.path().join("state"))
            .env("HANOK_PLAIN_LISTEN", format!("127.0.0.1:{}", self.plain))
            .env(
                "HANOK_CONTROL_SOCKET",
                self.folder.path().join("control.sock"),
            )
            .env("HANOK_ADMIN_LISTEN", "")
            .env("HANOK_BIND", "127.0.0.1")
            .env("HANOK_WORKERS", "2")
            .env("HANOK_PUBLIC_ADDRESS_SERVERS", "");
        command
    }

    /// `hanok migrate`: exit status and output.
    fn migrate(&self, more: &[&str]) -> (i32, String) {
        let (from, to) = (self.old(""), self.folder.path().join("etc/hanok"));
        let mut arguments = vec![
            "migrate",
            "--from",
            from.to_str().unwrap(),
            "--to",
            to.to_str().unwrap(),
        ];
        arguments.extend(more);
        let output = self.command(&arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for secret in [SECRET, TURN_SECRET, HOOK] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        (output.status.code().unwrap(), text)
    }
}

const COMPOSE: &str = "\
# ------------------------------------------------------------------------------
#
#    DO NOT MODIFY THIS FILE !!!
#
#    Openvidu Version: 2.32.1
#
#    Installation Mode: On Premises
#
# ------------------------------------------------------------------------------

version: '3.1'

services:

    openvidu-server:
        image: openvidu/openvidu-server:2.32.1
        restart: on-failure
        network_mode: host
        entrypoint: ['/usr/local/bin/entrypoint.sh']
        volumes:
            - ./coturn:/run/secrets/coturn
            - ${OPENVIDU_RECORDING_PATH}:${OPENVIDU_RECORDING_PATH}
        env_file:
            - .env
        environment:
            - SERVER_SSL_ENABLED=false
            - SERVER_PORT=5443
            - KMS_URIS=[\"ws://localhost:8888/kurento\"]
            - COTURN_IP=${COTURN_IP:-auto-ipv4}
            - COTURN_PORT=${COTURN_PORT:-3478}
        logging:
            options:
                max-size: \"${DOCKER_LOGS_MAX_SIZE:-100M}\"

    kms:
        image: ${KMS_IMAGE:-kurento/kurento-media-server:7.3.0}
        restart: always
        network_mode: host
        environment:
            - KMS_MIN_PORT=23000
            - KMS_MAX_PORT=23999

    coturn:
        image: openvidu/openvidu-coturn:2.32.1
        restart: on-failure
        ports:
            - \"${COTURN_PORT:-3478}:${COTURN_PORT:-3478}/tcp\"
        command:
            - --log-file=stdout
            - --realm=openvidu
            - --static-auth-secret=$${COTURN_SHARED_SECRET_KEY}
            - --user-quota=12

    nginx:
        image: openvidu/openvidu-proxy:2.32.1
        restart: always
        network_mode: host
        volumes:
            - ./certificates:/etc/letsencrypt
            - ./custom-nginx-locations:/custom-nginx-locations
        environment:
            - PROXY_HTTP_PORT=${HTTP_PORT:-}
            - PROXY_HTTPS_PORT=${HTTPS_PORT:-}
            - PUBLIC_IP=${PROXY_PUBLIC_IP:-auto-ipv4}
";

const OVERRIDE: &str = "\
version: '3.1'

services:
    app:
        image: me/our-app:7
        network_mode: host
        environment:
            - SERVER_PORT=5442
            - OPENVIDU_URL=http://localhost:5443
            - OPENVIDU_SECRET=${OPENVIDU_SECRET}
    db:
        image: mysql:8
        ports:
            - 127.0.0.1:3306:3306
";

/// Everything below a folder: kind, mode, owner, time of change, content.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if found.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let facts = (
                found.mode(),
                found.uid(),
                found.mtime(),
                found.mtime_nsec(),
                content,
            );
            all.insert(path, facts);
        }
    }
    all
}

/// A process that is ready; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    async fn start(mut command: Command, ready: &str) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let running = Self(child);
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let ready = ready.to_owned();
        let waiting = tokio::task::spawn_blocking(move || {
            let mut said = Vec::new();
            while let Ok(line) = log.recv_timeout(PATIENCE) {
                let found = line.contains(&ready);
                said.push(line);
                if found {
                    return;
                }
            }
            panic!("{ready:?} is not in {said:#?}");
        });
        waiting.await.unwrap();
        running
    }

    async fn stop(mut self) -> i32 {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let waiting = tokio::task::spawn_blocking(move || self.0.wait().unwrap());
        waiting.await.unwrap().code().unwrap()
    }
}

/// Answers one request.
fn answer_once(application: TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = application.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_openvidu_moves_over_serves_a_call_with_the_old_secrets_and_is_left_as_it_was()
{
    let own = Move::new();
    let before = everything(&own.old(""));

    let (status, told) = own.migrate(&["--dry-run"]);
    assert_eq!(status, 0, "{told}");
    for part in [
        "OpenVidu CE 2.32.1",
        "this is a dry run",
        "COTURN_SHARED_SECRET_KEY, HANOK_MEDIA_MIN_PORT, HANOK_MEDIA_MAX_PORT, HANOK_APP_UPSTREAM, HANOK_PROXY_ROUTES",
        ".env:7: OPENVIDU_SECRET: what stands around the value is left out",
        "the application `app` stays in its container",
        "`db` goes on publishing port 3306",
        "api.conf:1: became the route /my-api/=http://127.0.0.1:",
        "api.conf:6: `location /admin/` is not carried over because of `allow 10.0.0.0/8` in line 7",
        "shop.conf:1: a virtual host of shop.example",
        "coturn's --user-quota is not carried over: here it is HANOK_TURN_USER_QUOTA",
        "OPENVIDU_WEBHOOK has no effect yet",
        "stays where it is, with 1 entries",
        "rm --stop --force coturn kms nginx openvidu-server",
        "hanok serve --env-file",
        "systemctl disable --now hanok",
        "/openvidu && ./openvidu start",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert!(!own.new_file().exists() && !own.folder.path().join("state").exists());
    assert!(!own.folder.path().join("etc").exists());

    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 0, "{told}");
    let written = fs::read_to_string(own.new_file()).unwrap();
    assert_eq!(
        fs::metadata(own.new_file()).unwrap().mode() & 0o137,
        0,
        "nobody else reads it"
    );
    for part in [
        "# OpenVidu configuration\n# ----------------------\n\nDOMAIN_OR_PUBLIC_IP=call.example\n",
        "# our secret\n# as in the vault\nOPENVIDU_SECRET=Old_openvidu-secret1\n",
        "# HTTP_PORT=80\n",
        "\n# the end\n\n# ---- Added by",
        "COTURN_SHARED_SECRET_KEY=OldCoturnSecret0123456789abcdefghij\n",
        "HANOK_MEDIA_MIN_PORT=23000\n",
        "HANOK_APP_UPSTREAM=http://127.0.0.1:5442\n",
    ] {
        assert!(written.contains(part), "{part:?} is not in {written}");
    }
    assert!(!written.contains("/admin/"));

    serves_a_call(&own).await;

    let times = fs::metadata(own.new_file()).unwrap().modified().unwrap();
    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("Is there already"), "{told}");
    assert_eq!(
        fs::metadata(own.new_file()).unwrap().modified().unwrap(),
        times
    );
    let after = everything(&own.old(""));
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    assert!(after == before, "the old folder is as it was");
}

/// With the configuration that was written: the certificate, a route, REST, a call, TURN.
async fn serves_a_call(own: &Move) {
    let file = own.new_file();
    let file = file.to_str().unwrap();
    let serve = own.command(&["serve", "--env-file", file]);
    let ready = format!("ready: https://{DOMAIN}:{}", own.https);
    let process = Running::start(serve, &ready).await;

    let application = answer_once(own.application.try_clone().unwrap());
    let trusted = own.folder.path().join("trusted.pem");
    fs::write(&trusted, &own.certificate).unwrap();
    let url = format!("https://{DOMAIN}:{}/my-api/users", own.https);
    let curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "15",
            "--cacert",
            trusted.to_str().unwrap(),
        ])
        .args([
            "--resolve",
            &format!("{DOMAIN}:{}:127.0.0.1", own.https),
            &url,
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&curl.stderr);
    assert_eq!(
        String::from_utf8_lossy(&curl.stdout),
        "hello",
        "the old certificate is served, and the route: {told}"
    );
    assert!(
        application
            .join()
            .unwrap()
            .starts_with("GET /my-api/users HTTP/1.1\r\n")
    );

    let server: SocketAddr = (Ipv4Addr::LOCALHOST, own.plain).into();
    let (status, _) = rest_by(
        "MY_SECRET",
        server,
        "POST",
        "/openvidu/api/sessions",
        Some(json!({})),
    )
    .await;
    assert_eq!(status, 401);
    let (status, session) = rest_by(
        SECRET,
        server,
        "POST",
        "/openvidu/api/sessions",
        Some(json!({})),
    )
    .await;
    assert_eq!(status, 200);
    let session = session["id"].as_str().unwrap().to_owned();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let (status, connection) = rest_by(
            SECRET,
            server,
            "POST",
            &path,
            Some(json!({"role": "PUBLISHER"})),
        )
        .await;
        assert_eq!(status, 200, "{connection}");
        let mut client = Client::open(server).await.unwrap();
        let joined = client
            .join(connection["token"].as_str().unwrap())
            .await
            .unwrap();
        clients.push((client, joined));
    }
    let (subscriber, joined) = clients.pop().unwrap();
    let (publisher, _) = clients.pop().unwrap();
    let call = Call::between(session, publisher, [subscriber]).await;
    call.has_lost_nothing().await;
    allocates(own, &joined).await;
    drop(call);
    assert_eq!(process.stop().await, 0);
}

/// What clients are told, and what the old deployment has handed out.
async fn allocates(own: &Move, joined: &Value) {
    let turn = (LOOPBACK, own.turn).into();
    let told = |key: &str| joined[key].as_str().unwrap().to_owned();
    let (handed_out, password) = minted(TURN_SECRET, "before");
    for (username, password, expected) in [
        (told("turnUsername"), told("turnCredential"), 0),
        (handed_out.clone(), password, 0),
        (handed_out, minted("another secret", "before").1, 401),
    ] {
        let mut client = Relayed::between(LOOPBACK, turn, &username, &password).await;
        assert_eq!(client.allocate().await, expected);
    }
}

#[test]
fn a_file_that_says_something_else_is_kept_and_only_replaced_when_asked() {
    let own = Move::new();
    fs::create_dir_all(own.new_file().parent().unwrap()).unwrap();
    fs::write(own.new_file(), "OPENVIDU_SECRET=mine-and-new-1234\n").unwrap();
    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 1);
    assert!(told.contains("--force"), "{told}");
    assert_eq!(
        fs::read(own.new_file()).unwrap(),
        b"OPENVIDU_SECRET=mine-and-new-1234\n"
    );
    assert!(
        !own.folder.path().join("state").exists(),
        "nothing was done"
    );
    let (status, told) = own.migrate(&["--force", "--json"]);
    assert_eq!(status, 0, "{told}");
    let json: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(json["outcome"], "done");
    assert_eq!(json["back"].as_array().unwrap().len(), 2);
    let aside = own.new_file().with_file_name(".env.before-migration-1");
    assert_eq!(
        fs::read(aside).unwrap(),
        b"OPENVIDU_SECRET=mine-and-new-1234\n"
    );
    assert!(fs::read_to_string(own.new_file()).unwrap().contains(SECRET));
}

#[test]
fn a_secret_that_hanok_does_not_take_is_told_with_status_78_and_corrected_in_the_new_file() {
    let own = Move::new();
    own.write(".env", &own.env().replace(SECRET, "pass word!"));
    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 78, "{told}");
    assert!(
        told.contains("Keeps hanok from starting") && told.contains("OPENVIDU_SECRET"),
        "{told}"
    );
    assert!(!told.contains("pass word!"), "{told}");
    let file = own.new_file();
    let corrected = fs::read_to_string(&file)
        .unwrap()
        .replace("pass word!", "0123456789abcdef");
    fs::write(&file, corrected).unwrap();
    let check = own
        .command(&["check-config", "--env-file", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(
        check.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

#[test]
fn own_certificates_are_copied_with_their_key_for_nobody_else() {
    let own = Move::new();
    own.write(
        ".env",
        &own.env()
            .replace("CERTIFICATE_TYPE=letsencrypt", "CERTIFICATE_TYPE=owncert"),
    );
    // Only the old proxy's copy is left.
    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 0, "{told}");
    let folder = own.new_file().with_file_name("owncert");
    assert_eq!(
        fs::read_to_string(folder.join("certificate.cert")).unwrap(),
        own.certificate
    );
    assert_eq!(
        fs::metadata(folder.join("certificate.key")).unwrap().mode() & 0o137,
        0
    );
    let (status, told) = own.migrate(&[]);
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("Is there already"), "{told}");
}

#[test]
fn damaged_and_hostile_folders_are_named_and_nothing_waits_or_breaks() {
    let empty = tempfile::tempdir().unwrap();
    let own = Move::new();
    let run = |from: &Path| {
        let to = empty.path().join("to");
        let arguments = [
            "migrate",
            "--from",
            from.to_str().unwrap(),
            "--to",
            to.to_str().unwrap(),
        ];
        let output = own.command(&arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (status, told) = run(&empty.path().join("none"));
    assert_eq!(status, Some(1));
    assert!(told.contains("there is no .env here"), "{told}");

    // Pipes never say anything, devices never end.
    let file = own.old(".env");
    fs::remove_file(&file).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    let (status, told) = run(&own.old(""));
    assert_eq!(status, Some(1));
    assert!(told.contains("it is not a file"), "{told}");
    fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert_eq!(run(&own.old("")).0, Some(1));
    fs::remove_file(&file).unwrap();

    own.write(".env", &own.env());
    for name in [
        "docker-compose.override.yml",
        "coturn/shared-secret-key",
        "custom-nginx-locations/api.conf",
    ] {
        let path = own.old(name);
        fs::remove_file(&path).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
    }
    fs::write(
        own.old("custom-nginx-vhosts/shop.conf"),
        vec![b'{'; 300_000],
    )
    .unwrap();
    let private = own.old(&format!("certificates/archive/{DOMAIN}/privkey1.pem"));
    fs::write(private, "-----BEGIN PRIVATE KEY-----\nbroken").unwrap();
    let (status, told) = own.migrate(&["--dry-run"]);
    assert_eq!(status, 0, "{told}");
    for part in [
        "docker-compose.override.yml: cannot be read (it is not a file)",
        "shared-secret-key: cannot be read (it is not a file)",
        "api.conf: cannot be read (it is not a file)",
        "shop.conf: cannot be read",
        "CERTIFICATE_TYPE=letsencrypt",
        "hanok orders a new one at its first start",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }

    fs::write(
        own.old("docker-compose.yml"),
        "services:\n  media-node-controller:\n    image: x\n",
    )
    .unwrap();
    let (status, told) = run(&own.old(""));
    assert_eq!(status, Some(1));
    assert!(told.contains("this is a media node"), "{told}");
}

#[test]
fn who_has_a_port_that_hanok_needs_is_named() {
    let own = Move::new();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, own.https)).unwrap();
    let (status, told) = own.migrate(&["--dry-run"]);
    assert_eq!(status, 0, "{told}");
    let owner = format!("{}/tcp: ", own.https);
    let pid = format!("(pid {}) has it", std::process::id());
    assert!(told.contains(&owner) && told.contains(&pid), "{told}");
}
