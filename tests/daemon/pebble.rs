//! Pebble as the certificate authority, with a DNS server of our own in which every name is 127.0.0.1.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hanok::testing::client::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::{eventually, free_port};

/// What stands in `HANOK_TEST_PEBBLE`, where `scripts/test` puts the newest release, else Debian's.
fn binary() -> PathBuf {
    std::env::var_os("HANOK_TEST_PEBBLE").map_or_else(|| "pebble".into(), PathBuf::from)
}

/// Whether it is the newest release, which knows profiles and renewal information.
pub(crate) fn knows_profiles() -> bool {
    std::env::var_os("HANOK_TEST_PEBBLE").is_some()
}

/// How an authority behaves.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    /// Where it looks for HTTP-01.
    pub(crate) http_port: u16,
    /// Where it looks for TLS-ALPN-01.
    pub(crate) tls_port: u16,
    /// How long its certificates live, in seconds.
    pub(crate) lifetime: u64,
    /// The share of good nonces that it refuses, in percent.
    pub(crate) bad_nonces: u8,
    /// Whether it has the profile for addresses; it draws lots where an order names none.
    pub(crate) short_lived: bool,
    /// The accounts that new ones must be bound to.
    pub(crate) bindings: HashMap<String, String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            http_port: free_port(),
            tls_port: free_port(),
            lifetime: 7_776_000,
            bad_nonces: 5,
            short_lived: false,
            bindings: HashMap::new(),
        }
    }
}

/// A running authority; killed when dropped.
pub(crate) struct Pebble {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    own: Own,
    management: u16,
}

/// Where an authority is found and what it shows there: the same over its restarts.
#[derive(Clone)]
pub(crate) struct Own {
    folder: Arc<TempDir>,
    port: u16,
}

impl Own {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let leaf = CertificateParams::new(names).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("ca.pem", ca.pem()).unwrap();
        write("cert.pem", leaf.pem()).unwrap();
        write("key.pem", key.serialize_pem()).unwrap();
        Self {
            folder: Arc::new(folder),
            port: free_port(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pebble {
    pub(crate) async fn start(own: &Own, behaviour: &Behaviour) -> Self {
        let management = free_port();
        let profile = |seconds: u64| json!({"description": "for tests", "validityPeriod": seconds});
        let mut profiles = json!({"default": profile(behaviour.lifetime)});
        if behaviour.short_lived {
            profiles["shortlived"] = profile(518_400);
        }
        let config = json!({"pebble": {
            "listenAddress": own.address().to_string(),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": own.path("cert.pem"),
            "privateKey": own.path("key.pem"),
            "httpPort": behaviour.http_port,
            "tlsPort": behaviour.tls_port,
            "externalAccountBindingRequired": !behaviour.bindings.is_empty(),
            "externalAccountMACKeys": behaviour.bindings,
            "certificateValidityPeriod": behaviour.lifetime,
            "profiles": profiles,
        }});
        std::fs::write(own.path("config.json"), config.to_string()).unwrap();
        let mut child = Command::new(binary())
            .arg("-config")
            .arg(own.path("config.json"))
            .args(["-dnsserver", &names().to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", behaviour.bad_nonces.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble is installed by scripts/test");
        let stdout = child.stdout.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let pebble = Self {
            child,
            log,
            own: own.clone(),
            management,
        };
        for port in [own.port, management] {
            eventually("the authority listens", async || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                    .await
                    .is_ok()
            })
            .await;
        }
        pebble
    }

    /// How many lines of its log have this in them.
    pub(crate) fn said(&self, text: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(text)).count()
    }

    /// How many accounts it has registered.
    pub(crate) fn accounts(&self) -> usize {
        self.said("accounts in memory")
    }

    /// How many orders it has taken.
    pub(crate) fn orders(&self) -> usize {
        self.said("Added order")
    }

    /// The root of the certificates that it gives.
    pub(crate) async fn root(&self) -> RootCertStore {
        let pem = self.manage("GET", "/roots/0", "").await;
        roots(pem.as_bytes())
    }

    /// Has it say that this certificate ought to have been renewed long ago (RFC 9773).
    pub(crate) async fn suggest_renewal(&self, certificate: &CertificateDer<'_>) {
        let window = json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"});
        let text = BASE64_STANDARD.encode(certificate);
        let body = json!({
            "certificate": format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
            "ariResponse": json!({"suggestedWindow": window}).to_string(),
        });
        self.manage("POST", "/set-renewal-info/", &body.to_string())
            .await;
    }

    /// Asks at the port for tests; returns the body of an answer that says 200.
    async fn manage(&self, method: &str, path: &str, body: &str) -> String {
        let own = std::fs::read(self.own.path("ca.pem")).unwrap();
        let connector = connector(roots(&own), &[]);
        let address = (Ipv4Addr::LOCALHOST, self.management).into();
        let mut stream = connect(&connector, address, "localhost").await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tests\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }
}

fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        roots.add(root.unwrap()).unwrap();
    }
    roots
}

/// A client that trusts `roots` alone.
pub(crate) fn connector(roots: RootCertStore, protocols: &[&[u8]]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(name, stream).await
    };
    tokio::time::timeout(PATIENCE, handshake).await?
}

/// A DNS server that answers 127.0.0.1 to every question for an IPv4 address and nothing to others (RFC 1035), over UDP and
/// TCP; one for all tests of this process.
fn names() -> SocketAddr {
    static SERVER: std::sync::OnceLock<SocketAddr> = std::sync::OnceLock::new();
    *SERVER.get_or_init(|| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let socket = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve_names(stream));
            }
        });
        address
    })
}

/// Answers as long as questions come (RFC 1035 section 4.2.2).
fn serve_names(mut stream: std::net::TcpStream) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).ok()?;
        let answer = answer(&query)?;
        let length = u16::try_from(answer.len()).ok()?;
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        stream.write_all(&framed).ok()?;
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name_end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(12..name_end + 4)?;
    let is_a = question.get(question.len() - 4..)? == [0, 1, 0, 1];
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
