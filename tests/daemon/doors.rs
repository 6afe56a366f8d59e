//! Which doors the house has, who comes in by them, and which of them clients are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hanok::config::settings::Certificate;
use hanok::config::values::{CoturnIp, Front, Host, Listen, Server};
use hanok::front::proxy::{self, Listener};
use hanok::media::stun::{Class, Message, Method, Writer};
use hanok::testing::client::{Client, LOOPBACK};
use hanok::units::clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::house::{House, Witness, eventually, free_port, http_from};

/// A domain's certificate of an authority that no system knows, with its key.
pub(crate) struct Issued {
    pub(crate) authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

pub(crate) const DOMAIN: &str = "call.example.com";

pub(crate) fn issued() -> Issued {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([DOMAIN.to_owned()]).unwrap();
    Issued {
        certificate: params.signed_by(&key, &authority).unwrap(),
        authority,
        key,
    }
}

impl Issued {
    /// As it is where the authority is known.
    fn publicly_valid(&self) -> proxy::Certificate {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let chain = vec![self.certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()));
        proxy::Certificate::new(chain, key, DOMAIN, &roots, now).unwrap()
    }
}

/// What somebody who joins is told of TURN.
async fn told(house: &House) -> (String, Vec<String>) {
    let session = house.session().await;
    let token = house.token(&session, "SUBSCRIBER").await;
    let mut client = Client::open(house.plain()).await.unwrap();
    let joined = client.join(&token).await.unwrap();
    let servers = joined["customIceServers"].as_array().unwrap().iter();
    let urls = servers.map(|server| server["url"].as_str().unwrap().to_owned());
    let told = (
        joined["coturnIp"].as_str().unwrap().to_owned(),
        urls.collect(),
    );
    client.leave().await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_is_told_of_turn_over_tls_while_the_certificate_is_publicly_valid() {
    let issued = issued();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&certificate, issued.certificate.pem()).unwrap();
    std::fs::write(&key, issued.key.serialize_pem()).unwrap();
    for front in [Front::On, Front::Off] {
        let port = free_port();
        let house = House::with(|config| {
            config.public.host = Host::Name(DOMAIN.to_owned());
            config.web.front = front;
            config.web.certificate = Certificate::Own {
                certificate: certificate.clone(),
                key: key.clone(),
            };
            config.turn.tls_listen = Some(Listen {
                address: Some(LOOPBACK),
                port,
            });
        })
        .await;
        let (_, without) = told(&house).await;
        assert_eq!(without.len(), 2, "nobody knows its authority: {without:?}");
        let certificates = house.daemon.certificates();
        let self_made = certificates.current();
        certificates.replace(issued.publicly_valid());
        let (_, with) = told(&house).await;
        let https = format!("turns:{DOMAIN}:4443?transport=tcp");
        let own = format!("turns:{DOMAIN}:{port}?transport=tcp");
        let over_tls = match front {
            Front::On => vec![https, own],
            Front::Off => vec![own],
        };
        assert_eq!(with[..2], without);
        assert_eq!(with[2..], over_tls);
        certificates.replace(proxy::Certificate::clone(&self_made));
        assert_eq!(told(&house).await.1, without);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_of_the_users_own_only_the_plain_door_is_open_and_urls_stay_public() {
    let house = House::with(|config| {
        config.web.front = Front::Off;
        config.web.http_port = Some(0);
        config.public.host = Host::Name(DOMAIN.to_owned());
        config.public.https_port = 443;
    })
    .await;
    let listeners: Vec<_> = house
        .daemon
        .addresses()
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    assert_eq!(listeners, [Listener::Plain]);
    let session = house.session().await;
    let token = house.token(&session, "PUBLISHER").await;
    let public = format!("wss://{DOMAIN}?sessionId={session}&token=");
    assert!(token.starts_with(&public), "{token}");
    Witness::begin(&house).await.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_by_the_client_that_the_users_proxy_names() {
    let house = House::with(|config| {
        config.web.rest_access = Some(vec!["198.51.100.0/24".parse().unwrap()]);
        config.web.dashboard_access = Some(vec!["203.0.113.7/32".parse().unwrap()]);
    })
    .await;
    const API: &str = "/openvidu/api/sessions";
    for (path, headers, expected) in [
        // An application on this machine.
        (API, "", 200),
        (API, "X-Forwarded-For: 198.51.100.9\r\n", 200),
        (API, "X-Real-IP: 198.51.100.9\r\n", 200),
        // Who may see the dashboard may use what it is made of.
        (API, "X-Real-IP: 203.0.113.7\r\n", 200),
        (API, "X-Real-IP: 203.0.113.8\r\n", 403),
        (API, "X-Forwarded-For: 127.0.0.1, 203.0.113.8\r\n", 403),
        (API, "X-Forwarded-For: 198.51.100.9, 203.0.113.8\r\n", 403),
        (API, "X-Real-IP: 127.0.0.1\r\n", 403),
        (API, "X-Forwarded-Proto: https\r\n", 403),
        ("/openvidu/info", "X-Real-IP: 198.51.100.9\r\n", 403),
        ("/dashboard/", "X-Real-IP: 198.51.100.9\r\n", 403),
        // What participants need.
        ("/openvidu", "X-Real-IP: 203.0.113.8\r\n", 426),
        (
            "/openvidu/accept-certificate",
            "X-Real-IP: 203.0.113.8\r\n",
            200,
        ),
    ] {
        let (status, head, _) = http_from(house.plain(), path, headers).await;
        assert_eq!(status, expected, "{path} {headers}: {head}");
    }
    // It is the machine's own business what it calls itself by.
    let own = hanok::media::net::interfaces::own_addresses().unwrap();
    let own = own.iter().find(|own| own.is_ipv4() && !own.is_loopback());
    if let Some(own) = own {
        let headers = format!("X-Forwarded-For: {own}\r\n");
        let (status, head, _) = http_from(house.plain(), API, &headers).await;
        assert_eq!(status, 200, "{head}");
    }
}

/// A STUN server that says everybody is `says`.
async fn stun_server(says: IpAddr, tasks: &mut JoinSet<()>) -> Server {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut request = [0; 100];
        loop {
            let (len, from) = socket.recv_from(&mut request).await.unwrap();
            let asked = Message::parse(&request[..len]).unwrap();
            assert_eq!(
                (asked.class(), asked.method()),
                (Class::Request, Method::BINDING)
            );
            let mut answer = [0; 100];
            let id = asked.transaction_id();
            let mut writer = Writer::new(&mut answer, Class::Success, Method::BINDING, id);
            writer.xor_mapped_address(SocketAddr::new(says, 4711));
            let len = writer.finish().unwrap();
            socket.send_to(&answer[..len], from).await.unwrap();
        }
    });
    Server {
        host: Host::Address(Ipv4Addr::LOCALHOST.into()),
        port,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_domain_leads_elsewhere_clients_are_told_the_public_address_that_servers_see() {
    let public = IpAddr::from([9, 9, 9, 9]);
    let mut tasks = JoinSet::new();
    let servers = vec![
        stun_server([10, 0, 0, 1].into(), &mut tasks).await,
        stun_server(public, &mut tasks).await,
        stun_server([8, 8, 4, 4].into(), &mut tasks).await,
        stun_server(public, &mut tasks).await,
    ];
    let house = House::with(|config| {
        // It leads to the loopback interface, as on machines whose name stands in /etc/hosts.
        config.public.host = Host::Name("localhost".to_owned());
        config.dev = false;
        config.turn.address = CoturnIp::AutoIpv4;
        config.web.rest_access = Some(Vec::new());
        config.media.public_address_servers = servers;
    })
    .await;
    let proxied = format!("X-Forwarded-For: {public}\r\n");
    let status = async |house: &House| {
        let (status, ..) = http_from(house.plain(), "/openvidu/api/sessions", &proxied).await;
        status
    };
    eventually("the address is found", async || {
        told(&house).await.0 == public.to_string()
    })
    .await;
    let (_, urls) = told(&house).await;
    assert!(urls[0].starts_with(&format!("turn:{public}:")), "{urls:?}");
    assert_eq!(status(&house).await, 200, "it is this machine's own");
    // Not found anew, and not forgotten.
    house.daemon.reload(&house.config).await.unwrap();
    assert_eq!(told(&house).await.0, public.to_string());
    assert_eq!(status(&house).await, 200);
}
