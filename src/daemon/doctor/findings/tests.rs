//! Every finding, provoked once: a machine where all is well, and one thing changed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::judge;
use crate::config::fake::FakeMachine;
use crate::config::ports::{Protocol, needs};
use crate::config::{Loaded, Options, load};
use crate::daemon::doctor::dns::{Caa, DnsError};
use crate::daemon::doctor::facts::{
    Clock, Disk, Facts, File, Files, Kernel, Names, Owner, Place, Role, User,
};
use crate::daemon::doctor::firewall::{Accept, Filter, Tool};
use crate::front::proxy::certificate::acme::plan::{Progress, Validity};
use crate::front::proxy::certificate::acme::record::Record;
use crate::front::proxy::certificate::facts::Facts as Certificate;
use crate::front::proxy::certificate::service::command::{Known, Status};
use crate::host::port_owner::{Process, Waiting};
use crate::media::net::addresses::{Addresses, Reason};
use crate::units::PortRange;
use crate::views::finding::{Finding, Level};

const DAY: u64 = 24 * 3600;
const NOW: u64 = 1_795_000_000;

/// Public addresses: of this machine, and of others.
const OURS: [u8; 4] = [8, 8, 4, 4];
const OTHERS: [u8; 4] = [9, 9, 9, 9];
const CLOUDFLARE: [u8; 4] = [104, 16, 0, 1];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn loaded(lines: &str) -> Loaded {
    let mut machine = FakeMachine::default();
    let file = format!(
        "DOMAIN_OR_PUBLIC_IP=call.example.com\nOPENVIDU_SECRET=0f3b8c1d9e7a24650f3b8c1d\n\
         CERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=me@example.org\n{lines}\n"
    );
    machine.files.insert("/etc/hanok/.env".into(), file.into());
    for name in ["certificate.cert", "certificate.key"] {
        let path = PathBuf::from("/etc/hanok/owncert").join(name);
        machine.files.insert(path, Vec::new());
    }
    load(&machine, &Options::default()).unwrap_or_else(|report| panic!("{report}"))
}

const ROOTS: Owner = Owner {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

fn file(path: &str, role: Role, mode: u32, uid: u32, gid: u32) -> File {
    let path = PathBuf::from(path);
    let above = path.ancestors().skip(1);
    File {
        above: above.map(|folder| (folder.to_owned(), ROOTS)).collect(),
        owner: Owner { mode, uid, gid },
        path,
        role,
    }
}

/// A machine on which nothing is wrong.
fn healthy(loaded: &Loaded) -> Facts {
    let certificate = Certificate {
        validity: Validity {
            from: NOW - 10 * DAY,
            until: NOW + 80 * DAY,
        },
        names: vec!["call.example.com".to_owned()],
        issuer: "Let's Encrypt".to_owned(),
        serial: Vec::new(),
        authority_key: None,
    };
    Facts {
        names: Names {
            v4: Ok(vec![OURS.into()]),
            v6: Ok(Vec::new()),
            caa: Ok(Vec::new()),
            here: vec![OURS.into()],
        },
        place: Place {
            own: vec![OURS.into()],
            told: Addresses {
                addresses: vec![OURS.into()],
                reason: Reason::Interfaces,
            },
            public: [Some(OURS.into()), None],
            was_asked: true,
            has_v6_route: false,
        },
        needs: needs(&loaded.config, 2),
        workers: 2,
        sockets: Vec::new(),
        daemon: None,
        is_root: true,
        files: Files {
            found: vec![
                file("/etc/hanok/.env", Role::Configuration(true), 0o640, 0, 990),
                file("/var/lib/hanok", Role::State, 0o700, 990, 990),
            ],
            user: User {
                name: "hanok".to_owned(),
                uid: 990,
                groups: vec![990],
            },
        },
        clock: Clock {
            ahead_ms: Some(20),
            is_kept: Some(true),
        },
        kernel: Kernel {
            descriptors: Some(524_288),
            buffers: [Some(4 << 20), Some(4 << 20)],
            ephemeral: Some(range(32_768, 60_999)),
            reserved: vec![range(40_000, 40_127), range(57_001, 65_535)],
            sends_runs: Some(true),
        },
        disk: Some(Disk {
            path: "/var/lib/hanok".into(),
            free: 20 << 30,
            files: Some(1_000_000),
            is_read_only: false,
        }),
        firewall: Ok(Vec::new()),
        certificate: Some(Status {
            file: "/var/lib/hanok/acme/certificate.pem".into(),
            certificate: Ok(Known {
                facts: certificate,
                is_trusted: true,
            }),
            record: None,
            now: NOW,
        }),
        has_certificate_file: false,
    }
}

/// What is not as it should be where `change` has changed a healthy machine with these lines in its file.
fn wrong(lines: &str, change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let loaded = loaded(lines);
    let mut facts = healthy(&loaded);
    change(&mut facts);
    let mut found = judge(&loaded, &facts);
    for finding in &found {
        let is_good = matches!(finding.level, Level::Ok | Level::Unknown);
        assert_eq!(finding.why.is_empty(), is_good, "{finding:?}");
        assert_eq!(
            finding.fix.is_empty(),
            is_good || finding.topic == "configuration",
            "{finding:?}"
        );
        assert!(!finding.what.contains("0f3b8c1d"), "{finding:?}");
    }
    assert!(found.is_sorted_by_key(|finding| finding.level));
    found.retain(|finding| finding.level != Level::Ok);
    found
}

/// The only thing that is wrong.
#[track_caller]
fn only(lines: &str, change: impl FnOnce(&mut Facts)) -> Finding {
    let mut found = wrong(lines, change);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// The only thing that is wrong has this level and topic, these words in it and this in one of its fixes.
#[track_caller]
fn finds(
    (level, topic, words, fix): (Level, &str, &str, &str),
    lines: &str,
    change: impl FnOnce(&mut Facts),
) {
    let found = only(lines, change);
    assert_eq!((found.level, found.topic), (level, topic), "{found:?}");
    assert!(found.what.contains(words), "{words}: {found:?}");
    let has_fix = fix.is_empty() || found.fix.iter().any(|line| line.contains(fix));
    assert!(has_fix, "{fix}: {found:?}");
}

use Level::{Error, Unknown, Warning};

#[test]
fn a_healthy_machine_has_nothing_wrong() {
    assert_eq!(wrong("", |_| {}), []);
    let loaded = loaded("");
    let found = judge(&loaded, &healthy(&loaded));
    assert_eq!(found.len(), 17, "{found:#?}");
}

#[test]
fn warnings_of_the_configuration_are_findings() {
    finds(
        (Warning, "configuration", "did you mean HANOK_WORKERS?", ""),
        "HANOK_WORKER=2",
        |_| {},
    );
}

#[test]
fn secrets_that_can_be_guessed_are_found() {
    let typed = "OPENVIDU_SECRET=my_secret_password_1234";
    finds(
        (Warning, "secrets", "typed by a person", "openssl rand"),
        typed,
        |_| {},
    );
    let monotonous = "OPENVIDU_SECRET=aaaabbbbccccddddaaaa";
    finds(
        (Warning, "secrets", "typed by a person", ""),
        monotonous,
        |_| {},
    );
    let short = "OPENVIDU_SECRET=0f3b8c1d9e7a246";
    finds(
        (Warning, "secrets", "shorter than 16", "openssl rand"),
        short,
        |_| {},
    );
    let same = "COTURN_SHARED_SECRET_KEY=0f3b8c1d9e7a24650f3b8c1d";
    finds(
        (Warning, "secrets", "the same as OPENVIDU_SECRET", "delete"),
        same,
        |_| {},
    );
    let short = "COTURN_SHARED_SECRET_KEY=9e7a2465";
    finds(
        (Warning, "secrets", "can be guessed", "delete"),
        short,
        |_| {},
    );
    let user = "HANOK_TURN_USERS=me:word";
    finds(
        (Warning, "secrets", "TURN user me", "openssl rand"),
        user,
        |_| {},
    );
}

#[test]
fn a_domain_that_does_not_lead_here_is_found() {
    let dns = |v4: Result<Vec<IpAddr>, DnsError>| move |facts: &mut Facts| facts.names.v4 = v4;
    finds(
        (Error, "DNS", "does not exist", "A 8.8.4.4"),
        "",
        dns(Err(DnsError::NoSuchName)),
    );
    finds(
        (Error, "DNS", "neither an A nor an AAAA", "A 8.8.4.4"),
        "",
        dns(Ok(Vec::new())),
    );
    finds(
        (
            Error,
            "DNS",
            "leads to 9.9.9.9, but this machine is 8.8.4.4",
            "A 8.8.4.4",
        ),
        "",
        dns(Ok(vec![OTHERS.into()])),
    );
    finds(
        (Error, "DNS", "leads to 9.9.9.9 too", "no other"),
        "",
        dns(Ok(vec![OTHERS.into(), OURS.into()])),
    );
    finds(
        (Unknown, "DNS", "no name server answers", ""),
        "",
        dns(Err(DnsError::Silent)),
    );
    finds(
        (Warning, "DNS", "/etc/hosts leads", "/etc/hosts"),
        "",
        |facts| {
            facts.names.here = vec![ip("127.0.1.1")];
        },
    );
    let found = wrong(
        "DOMAIN_OR_PUBLIC_IP=9.9.9.9\nCERTIFICATE_TYPE=selfsigned",
        |_| {},
    );
    let dns = found.iter().find(|finding| finding.topic == "DNS").unwrap();
    assert!(
        dns.level == Error && dns.fix[0].ends_with("=8.8.4.4"),
        "{dns:?}"
    );
    let private = wrong(
        "DOMAIN_OR_PUBLIC_IP=10.0.0.5\nCERTIFICATE_TYPE=selfsigned",
        |_| {},
    );
    assert!(
        private
            .iter()
            .any(|it| it.topic == "DNS" && it.what.contains("no public address"))
    );
}

#[test]
fn a_name_without_a_dot_is_a_name_of_this_network() {
    let mut machine = FakeMachine::default();
    let file = "DOMAIN_OR_PUBLIC_IP=house\nOPENVIDU_SECRET=0f3b8c1d9e7a24650f3b8c1d\n";
    machine.files.insert("/etc/hanok/.env".into(), file.into());
    machine.names.insert("house".to_owned(), vec![OURS.into()]);
    let loaded = load(&machine, &Options::default()).unwrap();
    let found = judge(&loaded, &healthy(&loaded));
    let dns = found.iter().find(|finding| finding.topic == "DNS").unwrap();
    assert!(
        dns.level == Warning && dns.what.contains("this network only"),
        "{dns:?}"
    );
}

#[test]
fn a_cdn_in_front_is_found_until_media_and_turn_go_around_it() {
    let behind = |facts: &mut Facts| facts.names.v4 = Ok(vec![CLOUDFLARE.into()]);
    finds(
        (Warning, "DNS", "Cloudflare", "COTURN_IP=8.8.4.4"),
        "",
        behind,
    );
    assert_eq!(wrong("COTURN_IP=8.8.4.4", behind), []);
    let found = wrong("", |facts| {
        behind(facts);
        facts.place.told.addresses = vec![ip("10.0.0.5")];
        facts.place.own = vec![ip("10.0.0.5")];
    });
    let levels: Vec<_> = found
        .iter()
        .map(|finding| (finding.level, finding.topic))
        .collect();
    assert_eq!(levels, [(Error, "DNS"), (Error, "addresses")]);
}

#[test]
fn address_translation_that_nobody_is_told_of_is_found() {
    let private = |facts: &mut Facts| {
        facts.place.own = vec![ip("10.0.0.5")];
        facts.place.told.addresses = vec![ip("10.0.0.5")];
    };
    finds(
        (
            Error,
            "addresses",
            "others reach this machine by 8.8.4.4",
            "HANOK_EXTERNAL_IP=8.8.4.4",
        ),
        "",
        private,
    );
    finds(
        (
            Warning,
            "addresses",
            "others reach this machine by",
            "HANOK_EXTERNAL_IP",
        ),
        "",
        |facts| {
            private(facts);
            facts.place.told.addresses = vec![ip("9.9.9.9")];
            facts.place.told.reason = Reason::External;
        },
    );
    let translated = |facts: &mut Facts| {
        private(facts);
        facts.place.told.addresses.insert(0, OURS.into());
    };
    assert_eq!(wrong("", translated), []);
    finds(
        (Error, "addresses", "no address but loopback", "HANOK_BIND"),
        "",
        |facts| {
            facts.place.told.reason = Reason::LoopbackOnly;
        },
    );
    let unknown = wrong("", |facts| {
        private(facts);
        facts.place.public = [None, None];
    });
    assert!(
        unknown
            .iter()
            .any(|it| it.level == Warning && it.what.contains("only this network"))
    );
    let offline = wrong("", |facts| {
        private(facts);
        facts.place.public = [None, None];
        facts.place.was_asked = false;
    });
    assert!(offline.iter().all(|it| it.level == Unknown), "{offline:?}");
}

#[test]
fn half_an_ipv6_is_found() {
    let (address, record) = (
        ip("2001:4860:4860::8844"),
        Ok(vec![ip("2001:4860:4860::8844")]),
    );
    finds(
        (Error, "IPv6", "no public IPv6 address", "delete the AAAA"),
        "",
        |facts| {
            facts.names.v6 = record.clone();
        },
    );
    let has = move |facts: &mut Facts| {
        facts.place.own.push(address);
        facts.place.told.addresses.push(address);
    };
    finds(
        (
            Warning,
            "IPv6",
            "no AAAA record",
            "AAAA 2001:4860:4860::8844",
        ),
        "",
        |facts| {
            has(facts);
            facts.place.has_v6_route = true;
        },
    );
    finds(
        (Warning, "IPv6", "no IPv6 default route", "ip -6 route"),
        "",
        has,
    );
    finds(
        (Error, "IPv6", "no IPv6 default route", "ip -6 route"),
        "",
        |facts| {
            has(facts);
            facts.names.v6 = record.clone();
        },
    );
    finds(
        (Error, "IPv6", "HANOK_BIND", "HANOK_BIND=0.0.0.0,::"),
        "HANOK_BIND=0.0.0.0",
        |facts| {
            has(facts);
            facts.names.v6 = record.clone();
        },
    );
    let whole = |facts: &mut Facts| {
        has(facts);
        facts.names.v6 = record.clone();
        facts.place.has_v6_route = true;
    };
    assert_eq!(wrong("", whole), []);
}

#[test]
fn caa_records_that_keep_lets_encrypt_out_are_found() {
    let caa = |value: &str| {
        let caa = Caa {
            property: "issue".to_owned(),
            value: value.to_owned(),
        };
        move |facts: &mut Facts| facts.names.caa = Ok(vec![caa])
    };
    finds(
        (Error, "CAA", "admit only: pki.goog", "letsencrypt.org"),
        "",
        caa("pki.goog"),
    );
    assert_eq!(wrong("", caa("letsencrypt.org")), []);
    assert_eq!(
        wrong(
            "HANOK_ACME_DIRECTORY=https://ca.example/dir",
            caa("pki.goog")
        ),
        []
    );
    finds(
        (Unknown, "CAA", "no name server answers", ""),
        "",
        |facts| {
            facts.names.caa = Err(DnsError::Silent);
        },
    );
}

fn socket(protocol: Protocol, at: &str, holder: Option<&str>) -> (Waiting, Vec<Process>) {
    let at: SocketAddr = at.parse().unwrap();
    let process = |name: &str| Process {
        pid: 77,
        name: name.to_owned(),
    };
    (
        Waiting::for_test(protocol, at),
        holder.map(process).into_iter().collect(),
    )
}

#[test]
fn ports_that_somebody_else_has_are_found_with_what_stops_it() {
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (protocol, at, holder, what, fix) in [
        (
            tcp,
            "0.0.0.0:443",
            "nginx",
            "nginx (pid 77) has 443/tcp",
            "systemctl disable --now nginx",
        ),
        (tcp, "0.0.0.0:443", "nginx", "nginx", "HANOK_FRONT=off"),
        (
            tcp,
            "[::]:80",
            "apache2",
            "has 80/tcp",
            "systemctl disable --now apache2",
        ),
        (
            udp,
            "203.0.113.7:3478",
            "turnserver",
            "has 3478/udp",
            "systemctl disable --now coturn",
        ),
        (
            tcp,
            "0.0.0.0:3478",
            "docker-proxy",
            "has 3478/tcp",
            "/opt/openvidu",
        ),
        (
            tcp,
            "127.0.0.1:5443",
            "java",
            "has 5443/tcp",
            "HANOK_PLAIN_LISTEN",
        ),
        (
            tcp,
            "0.0.0.0:443",
            "systemd",
            "has 443/tcp",
            "systemctl list-sockets",
        ),
        (tcp, "0.0.0.0:443", "python3", "has 443/tcp", "kill 77"),
    ] {
        finds((Error, "ports", what, fix), "", |facts| {
            facts.sockets.push(socket(protocol, at, Some(holder)));
        });
    }
    // Another address of this machine, and the other protocol, are in nobody's way.
    for (protocol, at) in [(tcp, "127.0.0.2:5443"), (udp, "0.0.0.0:443")] {
        let others = |facts: &mut Facts| facts.sockets.push(socket(protocol, at, Some("x")));
        assert_eq!(wrong("", others), [], "{at}");
    }
    let unseen = |facts: &mut Facts| facts.sockets.push(socket(tcp, "0.0.0.0:443", None));
    finds((Error, "ports", "by the kernel", "HTTPS_PORT"), "", unseen);
    finds(
        (Error, "ports", "by whom only root may see", "ss -ltnp"),
        "",
        |facts| {
            unseen(facts);
            facts.is_root = false;
        },
    );
}

fn running() -> Option<Process> {
    Some(Process {
        pid: 77,
        name: "hanok".to_owned(),
    })
}

#[test]
fn ports_of_our_own_daemon_are_good_unless_it_lacks_some() {
    let all = [
        (Protocol::Tcp, "0.0.0.0:443"),
        (Protocol::Tcp, "0.0.0.0:80"),
        (Protocol::Udp, "0.0.0.0:3478"),
        (Protocol::Tcp, "0.0.0.0:3478"),
        (Protocol::Tcp, "127.0.0.1:5443"),
        (Protocol::Tcp, "127.0.0.1:9641"),
        (Protocol::Udp, "0.0.0.0:40000"),
        (Protocol::Udp, "0.0.0.0:40001"),
    ];
    let runs = |facts: &mut Facts| {
        facts.daemon = running();
        let ours = all
            .iter()
            .map(|(protocol, at)| socket(*protocol, at, Some("hanok")));
        facts.sockets = ours.collect();
    };
    assert_eq!(wrong("", runs), []);
    finds(
        (
            Warning,
            "ports",
            "does not listen on 443/tcp",
            "systemctl restart hanok",
        ),
        "",
        |facts| {
            runs(facts);
            facts.sockets.remove(0);
        },
    );
    // Somebody who is not root sees that it runs, and nothing else.
    let found = wrong("", |facts| {
        runs(facts);
        facts.is_root = false;
        for (_, holders) in &mut facts.sockets {
            holders.clear();
        }
    });
    assert!(
        found.iter().all(|finding| finding.level == Unknown),
        "{found:?}"
    );
}

#[test]
fn media_ports_that_move_or_are_missing_are_found() {
    finds(
        (
            Warning,
            "media ports",
            "x (pid 77) has 40001, so the media threads use 40000, 40002",
            "open",
        ),
        "",
        |facts| {
            facts
                .sockets
                .push(socket(Protocol::Udp, "0.0.0.0:40001", Some("x")));
        },
    );
    finds(
        (
            Error,
            "media ports",
            "2 media threads, but 1 free ports in 40000-40001",
            "widen",
        ),
        "HANOK_MEDIA_MAX_PORT=40001",
        |facts| {
            facts
                .sockets
                .push(socket(Protocol::Tcp, "0.0.0.0:40000", Some("x")))
        },
    );
}

#[test]
fn ports_that_the_kernel_may_give_away_are_found() {
    finds(
        (
            Warning,
            "ephemeral ports",
            "may give 57001-60999 to",
            "ip_local_reserved_ports=8080,40000-40127,57001-60999",
        ),
        "",
        |facts| facts.kernel.reserved = vec![range(40_000, 40_127), range(8080, 8080)],
    );
    finds(
        (
            Warning,
            "ephemeral ports",
            "40000-40001,57001-60999",
            "sysctl.d",
        ),
        "",
        |facts| {
            facts.kernel.reserved.clear();
        },
    );
    finds((Unknown, "ephemeral ports", "", ""), "", |facts| {
        facts.kernel.ephemeral = None
    });
}

#[test]
fn firewalls_that_are_closed_are_found() {
    let accept = |protocol, first, last| Accept {
        protocol: Some(protocol),
        ports: Some(range(first, last)),
    };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let open = vec![
        accept(tcp, 80, 80),
        accept(tcp, 443, 443),
        accept(tcp, 3478, 3478),
        accept(udp, 3478, 3478),
        accept(tcp, 40_000, 40_001),
    ];
    let with = |tool: Tool, accepts: Vec<Accept>| {
        move |facts: &mut Facts| facts.firewall = Ok(vec![Filter { tool, accepts }])
    };
    finds(
        (
            Error,
            "firewall",
            "ufw does not let in 40000-40001/udp",
            "ufw allow 40000:40001/udp",
        ),
        "",
        with(Tool::Ufw, open.clone()),
    );
    let chain = Tool::Nft("inet filter input".to_owned());
    finds(
        (
            Error,
            "firewall",
            "inet filter input",
            "nft insert rule inet filter input udp dport 40000-40001 accept",
        ),
        "",
        with(chain.clone(), open.clone()),
    );
    let all = [open, vec![accept(udp, 40_000, 57_000)]].concat();
    assert_eq!(wrong("", with(chain, all)), []);
    finds((Unknown, "firewall", "only root", ""), "", |facts| {
        facts.firewall = Err("only root may read its rules".to_owned());
    });
}

fn status(facts: &mut Facts) -> &mut Status {
    facts.certificate.as_mut().unwrap()
}

fn certificate(facts: &mut Facts) -> &mut Known {
    status(facts).certificate.as_mut().unwrap()
}

#[test]
fn certificates_that_browsers_refuse_or_soon_will_are_found() {
    finds(
        (Error, "certificate", "expired on", "hanok cert renew"),
        "",
        |facts| {
            certificate(facts).facts.validity.until = NOW - 1;
        },
    );
    finds(
        (
            Warning,
            "certificate",
            "5 days are left",
            "hanok cert renew",
        ),
        "",
        |facts| {
            certificate(facts).facts.validity.until = NOW + 5 * DAY + 1;
        },
    );
    finds(
        (Error, "certificate", "begins to be valid", "timedatectl"),
        "",
        |facts| {
            certificate(facts).facts.validity.from = NOW + DAY;
        },
    );
    finds(
        (
            Error,
            "certificate",
            "not for www.call.example.com",
            "hanok cert renew",
        ),
        "REDIRECT_WWW=true",
        |_| {},
    );
    finds(
        (
            Warning,
            "certificate",
            "browsers do not accept it",
            "whole chain",
        ),
        "",
        |facts| {
            certificate(facts).is_trusted = false;
        },
    );
    finds(
        (Warning, "certificate", "self-signed", "letsencrypt"),
        "CERTIFICATE_TYPE=selfsigned",
        |facts| {
            certificate(facts).is_trusted = false;
        },
    );
    let wildcard =
        |facts: &mut Facts| certificate(facts).facts.names = vec!["*.example.com".to_owned()];
    assert_eq!(wrong("", wildcard), []);
}

#[test]
fn certificates_that_are_not_there_are_found() {
    let none = |facts: &mut Facts| status(facts).certificate = Err("it is not there".to_owned());
    assert_eq!(wrong("", none), [], "it is ordered when hanok starts");
    finds(
        (
            Warning,
            "certificate",
            "there is none yet",
            "hanok cert status",
        ),
        "",
        |facts| {
            none(facts);
            facts.daemon = running();
        },
    );
    finds(
        (
            Error,
            "certificate",
            "the last attempt failed: no route",
            "hanok cert renew",
        ),
        "",
        |facts| {
            none(facts);
            status(facts).record = Some(Record {
                progress: Progress {
                    problem: Some("no route".to_owned()),
                    ..Progress::default()
                },
                ..Record::default()
            });
        },
    );
    finds(
        (
            Warning,
            "certificate",
            "made when hanok starts",
            "letsencrypt",
        ),
        "CERTIFICATE_TYPE=selfsigned",
        none,
    );
    finds(
        (Error, "certificate", "cannot be served", "openssl x509"),
        "CERTIFICATE_TYPE=owncert",
        none,
    );
    finds((Unknown, "certificate", "only root", ""), "", |facts| {
        status(facts).certificate = Err("Permission denied (os error 13)".to_owned());
        facts.is_root = false;
    });
}

#[test]
fn certificates_that_nobody_can_prove_are_found() {
    let ports = "HTTPS_PORT=8443\nHTTP_PORT=8080";
    finds(
        (Error, "certificate", "HTTPS_PORT is 8443", "HTTP_PORT=80"),
        ports,
        |_| {},
    );
    assert_eq!(
        wrong(&format!("{ports}\nHANOK_ACME_PORTS_FORWARDED=true"), |_| {}),
        []
    );
    finds(
        (Error, "certificate", "HANOK_FRONT=off", "proxy in front"),
        "HANOK_FRONT=off",
        |_| {},
    );
}

#[test]
fn files_that_others_may_open_are_found() {
    let with = |found: File| move |facts: &mut Facts| facts.files.found = vec![found];
    let env = |mode| file("/etc/hanok/.env", Role::Configuration(true), mode, 0, 990);
    finds(
        (
            Warning,
            "files",
            "everybody on this machine may read /etc/hanok/.env (mode 0644)",
            "chmod 640",
        ),
        "",
        with(env(0o644)),
    );
    finds(
        (
            Warning,
            "files",
            "others may change /etc/hanok/.env",
            "chmod go-w",
        ),
        "",
        with(env(0o660)),
    );
    finds(
        (Warning, "files", "others may change", "chmod go-w"),
        "",
        with(env(0o642)),
    );
    let harmless = file("/etc/hanok/.env", Role::Configuration(false), 0o644, 0, 0);
    assert_eq!(wrong("", with(harmless)), []);
    for (role, mode, fix) in [
        (Role::Secret, 0o644, "chmod 640"),
        (Role::PrivateKey, 0o604, "chmod 640"),
        (Role::StateSecret, 0o644, "chmod 600"),
        (Role::State, 0o755, "chmod 700"),
    ] {
        finds(
            (Warning, "files", "everybody", fix),
            "",
            with(file("/x/y", role, mode, 990, 990)),
        );
    }
    let mut in_closed_folder = file("/x/y", Role::PrivateKey, 0o644, 0, 990);
    in_closed_folder.above[0].1 = Owner {
        mode: 0o750,
        uid: 0,
        gid: 990,
    };
    assert_eq!(wrong("", with(in_closed_folder)), []);
}

#[test]
fn files_that_the_daemon_may_not_open_are_found() {
    let with = |found: File| move |facts: &mut Facts| facts.files.found = vec![found];
    for (role, path, fix) in [
        (
            Role::PrivateKey,
            "/etc/ssl/private.key",
            "chgrp hanok /etc/ssl/private.key",
        ),
        (
            Role::Certificate,
            "/etc/ssl/chain.pem",
            "chgrp hanok /etc/ssl/chain.pem",
        ),
        (Role::Secret, "/etc/secret", "chgrp hanok /etc/secret"),
        (
            Role::Configuration(true),
            "/etc/hanok/.env",
            "chgrp hanok /etc/hanok/.env",
        ),
        (
            Role::State,
            "/var/lib/hanok",
            "chown -R hanok:hanok /var/lib/hanok",
        ),
        (
            Role::StateSecret,
            "/var/lib/hanok/turn-secret",
            "chown -R hanok:hanok",
        ),
    ] {
        let roots = file(path, role, 0o600, 0, 0);
        finds((Error, "files", "hanok may not open", fix), "", with(roots));
    }
    let mut certbots = file(
        "/etc/letsencrypt/live/x/privkey.pem",
        Role::PrivateKey,
        0o640,
        0,
        990,
    );
    certbots.above[1].1.mode = 0o700;
    finds(
        (
            Error,
            "files",
            "hanok may not enter /etc/letsencrypt/live",
            "LoadCredential",
        ),
        "",
        with(certbots.clone()),
    );
    // Root may everything.
    assert_eq!(
        wrong("", |facts| {
            facts.files.found = vec![certbots];
            facts.files.user = User::default();
        }),
        []
    );
    finds((Unknown, "files", "none yet", ""), "", |facts| {
        facts.files.found.clear()
    });
}

#[test]
fn a_clock_that_is_wrong_or_drifts_is_found() {
    let clock =
        |ahead_ms, is_kept| move |facts: &mut Facts| facts.clock = Clock { ahead_ms, is_kept };
    let fix = "timedatectl set-ntp true";
    finds(
        (Error, "clock", "3600.2 s behind", fix),
        "",
        clock(Some(-3_600_200), Some(true)),
    );
    finds(
        (Warning, "clock", "5.0 s ahead", fix),
        "",
        clock(Some(5_000), None),
    );
    finds(
        (Warning, "clock", "nothing keeps", fix),
        "",
        clock(None, Some(false)),
    );
    finds(
        (Unknown, "clock", "no time server", ""),
        "",
        clock(None, None),
    );
    assert_eq!(wrong("", clock(None, Some(true))), []);
}

#[test]
fn limits_buffers_and_an_old_kernel_are_found() {
    let fix = "LimitNOFILE";
    finds((Error, "file descriptors", "256", fix), "", |facts| {
        facts.kernel.descriptors = Some(256)
    });
    finds((Warning, "file descriptors", "4096", fix), "", |facts| {
        facts.kernel.descriptors = Some(4096)
    });
    finds((Unknown, "file descriptors", "", ""), "", |facts| {
        facts.kernel.descriptors = None
    });
    finds(
        (
            Warning,
            "socket buffers",
            "net.core.rmem_max is 212992",
            "sysctl -w net.core.rmem_max=4194304",
        ),
        "",
        |facts| facts.kernel.buffers[0] = Some(212_992),
    );
    finds(
        (Warning, "socket buffers", "wmem_max", "60-hanok-buffers"),
        "",
        |facts| {
            facts.kernel.buffers[1] = Some(212_992);
        },
    );
    finds(
        (Unknown, "socket buffers", "cannot be read", ""),
        "",
        |facts| facts.kernel.buffers[1] = None,
    );
    finds(
        (Warning, "UDP in runs", "no UDP GSO", "uname"),
        "",
        |facts| facts.kernel.sends_runs = Some(false),
    );
    finds((Unknown, "UDP in runs", "", ""), "", |facts| {
        facts.kernel.sends_runs = None
    });
}

#[test]
fn a_disk_without_space_is_found() {
    let disk =
        |change: fn(&mut Disk)| move |facts: &mut Facts| change(facts.disk.as_mut().unwrap());
    finds(
        (Warning, "disk", "100 MiB are free", "journalctl"),
        "",
        disk(|disk| disk.free = 100 << 20),
    );
    finds(
        (Error, "disk", "4 KiB are free", "du -xh"),
        "",
        disk(|disk| disk.free = 4 << 10),
    );
    finds(
        (Error, "disk", "0 files", "df -i"),
        "",
        disk(|disk| disk.files = Some(0)),
    );
    finds(
        (Warning, "disk", "900 files", "df -i"),
        "",
        disk(|disk| disk.files = Some(900)),
    );
    finds(
        (Error, "disk", "read-only", "remount"),
        "",
        disk(|disk| disk.is_read_only = true),
    );
    // Some file systems do not count.
    assert_eq!(wrong("", disk(|disk| disk.files = None)), []);
}
