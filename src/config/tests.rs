//! The configuration as a whole: precedence, error report, notes, rules between keys.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::fake::FakeMachine;
use crate::config::key::{Effect, Empty, Reload};
use crate::config::layers::{HANOK_FILE, OPENVIDU_FILE};
use crate::config::settings::{Certificate, State, TurnLimits};
use crate::config::values::{CallOpen, CoturnIp, ForcedVideoCodec, Front, Host, SubscribeOffer};
use crate::config::{Loaded, Note, Options, Problem, Reloaded, Report, keys, load, reload};
use crate::units::{IceCredentials, Secret, TlsSuite};

mod reloads;

const GOOD: &str = "DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n";

fn machine(file: &str) -> FakeMachine {
    let mut machine = FakeMachine::default();
    machine
        .files
        .insert(PathBuf::from(OPENVIDU_FILE), file.as_bytes().to_vec());
    machine
}

fn loaded(file: &str) -> Loaded {
    load(&machine(file), &Options::default()).expect("the file is good")
}

/// Loads [`GOOD`] with more lines.
fn with(lines: &str) -> Loaded {
    loaded(&format!("{GOOD}{lines}\n"))
}

fn refused(file: &str) -> Report {
    load(&machine(file), &Options::default()).expect_err("the file is bad")
}

/// The report's lines for [`GOOD`] with more lines.
fn faults(lines: &str) -> Vec<String> {
    let report = refused(&format!("{GOOD}{lines}\n"));
    report.problems.iter().map(Problem::to_string).collect()
}

fn dev() -> Options {
    Options {
        env_file: None,
        dev: true,
    }
}

#[test]
fn every_key_accepts_and_refuses_what_its_table_entry_says() {
    for key in keys::all() {
        let about = key.about();
        assert!(!about.doc.is_empty(), "{} has no doc", about.name);
        assert!(!about.accepts.is_empty(), "{} has no example", about.name);
        for text in about.accepts {
            assert_eq!(key.check(text), Ok(()), "{}={text:?}", about.name);
        }
        for text in about.refuses {
            // An empty text may be refused by the table instead of the validator.
            let by_table = text.is_empty() && about.empty != Empty::Value;
            assert!(
                by_table || key.check(text).is_err(),
                "{}={text:?}",
                about.name
            );
        }
        if let Some(default) = about.default {
            assert_eq!(key.check(default), Ok(()), "default of {}", about.name);
        }
        if about.empty == Empty::Value {
            assert_eq!(key.check(""), Ok(()), "empty {}", about.name);
        }
    }
}

#[test]
fn names_and_aliases_are_unique_and_plain() {
    let mut names: Vec<&str> = keys::all()
        .flat_map(|key| {
            std::iter::once(key.about().name).chain(key.about().aliases.iter().copied())
        })
        .collect();
    let count = names.len();
    assert!(count > 90, "{count} names");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for key in keys::all() {
        let name = key.about().name;
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
            "{name} would be read as a path by the config crate"
        );
    }
}

#[test]
fn refusals_never_repeat_the_value() {
    for key in keys::all() {
        let refusal = key.check("s3cr3tw0rd\u{1}@@");
        if let Err(refusal) = refusal
            && key.about().secret
        {
            assert!(!refusal.to_string().contains("s3cr3t"), "{refusal}");
        }
    }
}

#[test]
fn two_lines_are_enough_and_the_rest_is_openvidus_defaults() {
    let Loaded { config, notes, .. } = loaded(GOOD);
    assert_eq!(notes, []);
    assert_eq!(config.public.url(), "https://example.com");
    assert_eq!(config.public.websocket_url(), "wss://example.com");
    assert!(config.secret.matches(b"0123456789abcdef"));
    assert_eq!(config.file.as_deref(), Some(Path::new(OPENVIDU_FILE)));
    assert_eq!(config.web.http_port, Some(80));
    assert_eq!(config.web.certificate, Certificate::SelfSigned);
    assert_eq!(
        config.web.plain.expect("on by default").socket_addrs(&[])[0],
        "127.0.0.1:5443".parse().expect("an address")
    );
    assert_eq!(config.media.ports.to_string(), "40000-57000");
    assert_eq!(config.turn.port, 3478);
    assert_eq!(config.turn.relay_ports.to_string(), "57001-65535");
    assert_eq!(config.turn.address, CoturnIp::AutoIpv4);
    assert_eq!(config.streams.max_recv_kbps, 1000);
    assert_eq!(config.streams.min_send_kbps, 300);
    assert_eq!(
        config.streams.forced_codec,
        ForcedVideoCodec::MediaServerPreferred
    );
    assert_eq!(config.sessions.garbage_threshold, Duration::from_secs(3600));
    assert_eq!(config.sessions.reconnect_grace, Duration::from_secs(10));
    assert_eq!(config.stop_deadline, Duration::from_secs(5));
    assert_eq!(config.recording.path, "/opt/openvidu/recordings/");
    assert_eq!(config.webhook.endpoint, None);
    assert_eq!(config.webhook.events.len(), 15);
    assert_eq!(config.state, State::Folder("/var/lib/hanok".into()));
    assert_eq!(config.log, "info");
    assert!(!config.web.deprecated_api && !config.community_edition);
}

#[test]
fn the_turn_key_is_never_the_secret() {
    assert_eq!(loaded(GOOD).config.turn.secrets, []);
    let set = with("COTURN_SHARED_SECRET_KEY=turnkey");
    assert_eq!(set.config.turn.secrets, [Secret::new("turnkey")]);
    let several = with("COTURN_SHARED_SECRET_KEY=new key, old");
    assert_eq!(
        several.config.turn.secrets,
        ["new key", "old"].map(Secret::new),
        "the first one mints"
    );
}

#[test]
fn the_limits_of_turn_are_those_of_its_server_unless_they_are_set() {
    let limits = with("HANOK_TURN_USER_QUOTA=12\nHANOK_TURN_TOTAL_KBPS=100000")
        .config
        .turn
        .limits;
    let defaults = TurnLimits {
        user_quota: 256,
        source_quota: 2_048,
        total_quota: 32_768,
        allocation_kbps: 0,
        total_kbps: 0,
    };
    assert_eq!(loaded(GOOD).config.turn.limits, defaults);
    assert_eq!(
        limits,
        TurnLimits {
            user_quota: 12,
            total_kbps: 100_000,
            ..defaults
        }
    );
}

#[test]
fn the_process_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let mut machine = machine(&format!("{GOOD}HTTPS_PORT=8443\nCOTURN_PORT=3479\n"));
    machine
        .environment
        .insert("HTTPS_PORT".into(), "9443".into());
    machine.environment.insert("PATH".into(), "/bin".into());
    let loaded = load(&machine, &Options::default()).expect("good");
    assert_eq!(loaded.config.public.url(), "https://example.com:9443");
    assert_eq!(loaded.config.turn.port, 3479);
    assert_eq!(loaded.notes, []);
    let origin = |name: &str| {
        let mut effective = loaded.effective.iter();
        effective
            .find(|effective| effective.name == name)
            .and_then(|effective| effective.origin.clone())
    };
    assert_eq!(origin("HTTPS_PORT").as_deref(), Some("environment"));
    assert_eq!(
        origin("COTURN_PORT").as_deref(),
        Some("/opt/openvidu/.env:4")
    );
    assert_eq!(origin("HTTP_PORT"), None);
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_lines() {
    let report = refused(
        "# comment\nHTTPS_PORT=70000\nbroken line\nOPENVIDU_CDR=yes\nCOTURN_PORT=x\nCERTIFICATE_TYPE=none\n=v\n",
    );
    let lines: Vec<String> = report.problems.iter().map(Problem::to_string).collect();
    let expected = [
        "OPENVIDU_SECRET (not set) may not be empty",
        "DOMAIN_OR_PUBLIC_IP (not set) may not be empty",
        "/opt/openvidu/.env:2: HTTPS_PORT=70000 is out of port range",
        "/opt/openvidu/.env:3: the line has no \"=\"",
        "/opt/openvidu/.env:4: OPENVIDU_CDR=yes is not a boolean",
        "/opt/openvidu/.env:5: COTURN_PORT=x is not an integer",
        "/opt/openvidu/.env:6: CERTIFICATE_TYPE=none must be one of",
        "/opt/openvidu/.env:7: the line has no key",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, text) in lines.iter().zip(expected) {
        assert!(line.starts_with(text), "{text} in {lines:#?}");
    }
    let text = report.to_string();
    assert!(text.contains("Configuration errors") && text.contains("hanok check-config"));
}

#[test]
fn a_secret_is_refused_when_empty_published_or_misspelled_and_never_shown() {
    let secret =
        |secret: &str| format!("DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET={secret}\n");
    for bad in [
        "",
        "MY_SECRET",
        "YOUR_SECRET",
        "has blank s3cr3t",
        "umläut_s3cr3t",
    ] {
        let report = refused(&secret(bad));
        assert_eq!(report.problems.len(), 1, "{bad}");
        let text = report.to_string();
        assert!(text.contains(".env:2: OPENVIDU_SECRET="), "{text}");
        assert!(
            !text.contains("s3cr3t") && !text.contains("MY_SECRET ="),
            "{text}"
        );
    }
    let short = loaded(&secret("short_one_15chr"));
    assert!(matches!(
        short.notes.as_slice(),
        [note @ Note::ShortSecret { .. }] if note.is_warning() && !note.to_string().contains("short_one")
    ));
    assert_eq!(loaded(&secret("exactly16_chars_")).notes, []);
}

#[test]
fn no_secret_appears_in_values_reports_or_debug_forms() {
    let lines = "COTURN_SHARED_SECRET_KEY=hushhush1,hushhush0\n\
                 OPENVIDU_WEBHOOK=true\n\
                 OPENVIDU_WEBHOOK_ENDPOINT=https://me:hushhush2@example.com/\n\
                 OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Basic hushhush3\"]\n\
                 OPENVIDU_WEBRTC_ICE_SERVERS=[\"url=turn:a.example.com,username=u,credential=hushhush4\"]\n\
                 HANOK_TURN_USERS=me:hushhush5\n\
                 CALL_SECRET=hushhush6\n\
                 OPENVIDU_PRO_LICENSE=hushhush7\n";
    let loaded = with(lines);
    for shown in [
        format!("{:?}", loaded.effective),
        format!("{:?}", loaded.notes),
        format!("{:?}", loaded.config),
    ] {
        // The endpoint is an operator's URL that the webhook needs whole; it is masked where values are shown.
        assert!(!shown.contains("hushhush"), "{shown}");
    }
    // The same lines with faults: the report does not repeat them either.
    let bad = lines
        .replace("Authorization: Basic", "Authorization:")
        .replace("username=u,", "")
        .replace("me:hushhush5", "hushhush5")
        .replace("hushhush1,", "hushhush1,,");
    let text = refused(&format!("{GOOD}{bad}bad hushhush8\n")).to_string();
    assert!(!text.contains("hushhush"), "{text}");
}

#[test]
fn dev_needs_no_file_and_reads_none_but_an_explicit_one() {
    let mut machine = machine("DOMAIN_OR_PUBLIC_IP=production.example.com\n");
    let config = load(&machine, &dev()).expect("good").config;
    assert!(config.dev);
    assert_eq!(config.file, None);
    assert_eq!(config.public.url(), "https://127.0.0.1:4443");
    assert!(config.secret.matches(b"MY_SECRET"));
    assert_eq!(config.web.http_port, None);
    assert_eq!(config.web.bind, [IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(config.web.certificate, Certificate::SelfSigned);
    assert_eq!(config.web.call_open, CallOpen::Open);
    assert_eq!(config.turn.port, 3478);
    assert_eq!(config.turn.secrets, []);
    assert_eq!(config.state, State::Temporary);
    assert!(config.media.bind.iter().all(IpAddr::is_unspecified));

    machine.files.insert(
        "/x/dev.env".into(),
        b"HTTP_PORT=8080\nHTTPS_PORT=5000\n".to_vec(),
    );
    machine.environment.insert("HANOK_BIND".into(), "::".into());
    let options = Options {
        env_file: Some("/x/dev.env".into()),
        dev: true,
    };
    let config = load(&machine, &options).expect("good").config;
    assert_eq!(config.web.http_port, Some(8080));
    assert_eq!(config.public.https_port, 5000);
    assert_eq!(
        config.web.bind,
        ["::".parse::<IpAddr>().expect("an address")]
    );
}

#[test]
fn the_file_is_found_in_the_order_of_the_manual() {
    let mut machine = FakeMachine::default();
    let file = |port: u16| format!("{GOOD}HTTPS_PORT={port}\n").into_bytes();
    let port = |machine: &FakeMachine, options: &Options| {
        let config = load(machine, options).expect("good").config;
        (config.public.https_port, config.file)
    };
    let none = Options::default();
    machine.files.insert(OPENVIDU_FILE.into(), file(1001));
    assert_eq!(port(&machine, &none), (1001, Some(OPENVIDU_FILE.into())));
    machine.files.insert(HANOK_FILE.into(), file(1002));
    assert_eq!(port(&machine, &none), (1002, Some(HANOK_FILE.into())));
    machine.files.insert("/a/.env".into(), file(1003));
    machine
        .environment
        .insert("DOTENV_PATH".into(), "/a".into());
    assert_eq!(port(&machine, &none), (1003, Some("/a/.env".into())));
    machine.files.insert("/b/my.env".into(), file(1004));
    machine
        .environment
        .insert("DOTENV_PATH".into(), "/b/my.env".into());
    assert_eq!(port(&machine, &none), (1004, Some("/b/my.env".into())));
    machine.files.insert("/c".into(), file(1005));
    let explicit = Options {
        env_file: Some("/c".into()),
        dev: false,
    };
    assert_eq!(port(&machine, &explicit), (1005, Some("/c".into())));
}

#[test]
fn two_default_files_that_differ_are_named_with_the_differing_keys() {
    let mut machine = machine(&format!(
        "{GOOD}HTTPS_PORT=1\nA=1\nB=2\nOPENVIDU_CDR=false\n"
    ));
    machine.files.insert(
        HANOK_FILE.into(),
        format!("{GOOD}HTTPS_PORT=2\nA=1\nHTTP_PORT=3\nOPENVIDU_CDR=false\n").into_bytes(),
    );
    let loaded = load(&machine, &Options::default()).expect("good");
    let differ = Note::FilesDiffer {
        read: HANOK_FILE.into(),
        other: OPENVIDU_FILE.into(),
        keys: vec!["B".into(), "HTTPS_PORT".into(), "HTTP_PORT".into()],
    };
    assert!(loaded.notes.contains(&differ), "{:?}", loaded.notes);
    machine.files.insert(
        HANOK_FILE.into(),
        machine.files[Path::new(OPENVIDU_FILE)].clone(),
    );
    let loaded = load(&machine, &Options::default()).expect("good");
    assert!(
        !loaded
            .notes
            .iter()
            .any(|note| matches!(note, Note::FilesDiffer { .. }))
    );
}

#[test]
fn a_missing_or_unreadable_file_is_told() {
    let missing = Options {
        env_file: Some("/none".into()),
        dev: false,
    };
    let report = load(&machine(GOOD), &missing).expect_err("the file is missing");
    assert!(report.to_string().contains("/none: cannot be read"));
    assert!(report.to_string().contains("How to fix: make /none a file"));
    assert_eq!(report.problems.len(), 1, "{report}");

    let mut forbidden = machine(GOOD);
    forbidden.forbidden.push(OPENVIDU_FILE.into());
    let report = load(&forbidden, &Options::default()).expect_err("unreadable");
    assert!(
        matches!(&report.problems[0], Problem::File { path, .. } if path == Path::new(OPENVIDU_FILE))
    );

    // As in the original, a DOTENV_PATH that leads nowhere is not fatal by itself.
    let mut nowhere = FakeMachine::default();
    for (name, value) in [
        ("DOTENV_PATH", "/nowhere"),
        ("DOMAIN_OR_PUBLIC_IP", "example.com"),
        ("OPENVIDU_SECRET", "0123456789abcdef"),
    ] {
        nowhere.environment.insert(name.into(), value.into());
    }
    let loaded = load(&nowhere, &Options::default()).expect("the environment suffices");
    assert_eq!(loaded.notes, [Note::MissingFile("/nowhere/.env".into())]);
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem_only_if_it_is_a_key() {
    let mut machine = machine(GOOD);
    let bytes = OsString::from_vec(vec![0xff, 0xfe]);
    machine
        .environment
        .insert("LS_COLORS".into(), bytes.clone());
    assert!(load(&machine, &Options::default()).is_ok());
    machine.environment.insert("OPENVIDU_SECRET".into(), bytes);
    let report = load(&machine, &Options::default()).expect_err("not UTF-8");
    assert!(report.to_string().contains("OPENVIDU_SECRET"), "{report}");
}

#[test]
fn empty_values_take_defaults_exactly_where_compose_gives_them() {
    let config = with(
        "COTURN_IP=\nCOTURN_PORT=\nHTTP_PORT=\nSERVER_PORT=\nHANOK_LOG=\nOPENVIDU_WEBHOOK_HEADERS=\n\
         OPENVIDU_WEBHOOK_EVENTS=\nKMS_URIS=\nMEDIA_NODES_PUBLIC_IPS=\nOPENVIDU_WEBRTC_ICE_SERVERS=\n\
         HANOK_PLAIN_LISTEN=",
    )
    .config;
    assert_eq!(config.turn.address, CoturnIp::AutoIpv4);
    assert_eq!(config.turn.port, 3478);
    assert_eq!(config.web.http_port, Some(80));
    assert_eq!(config.log, "info");
    assert!(
        config.webhook.events.is_empty(),
        "empty is [], not all events"
    );
    assert!(config.turn.ice_servers.is_empty());
    assert_eq!(config.web.plain, None, "empty is off");

    let faults = faults(
        "HTTPS_PORT=\nOPENVIDU_CDR=\nOPENVIDU_RECORDING_NOTIFICATION=\nOPENVIDU_RECORDING_PATH=\nOPENVIDU_SESSIONS_GARBAGE_INTERVAL=",
    );
    assert_eq!(faults.len(), 5, "{faults:#?}");
    assert!(
        faults
            .iter()
            .all(|fault| fault.contains("= may not be empty. "))
    );
}

#[test]
fn unknown_keys_are_named_with_what_was_meant_and_an_applications_own_keys_are_not() {
    let notes =
        with("OPENVIDU_SECRETS=x\nHANOK_COFFEE=y\nDB_PASSWORD=z\nHTTPS_PROXY=p\nserver.port=5000")
            .notes;
    let unknown = |line: usize, name: &str, nearest: Option<&str>| Note::UnknownKey {
        origin: format!("/opt/openvidu/.env:{line}"),
        name: name.to_owned(),
        nearest: nearest.map(str::to_owned),
    };
    let expected = [
        unknown(4, "HANOK_COFFEE", None),
        unknown(3, "OPENVIDU_SECRETS", Some("OPENVIDU_SECRET")),
    ];
    assert_eq!(notes, expected);
    assert!(!notes[0].is_warning() && notes[1].is_warning());
    let text = notes[1].to_string();
    assert!(text.ends_with("did you mean OPENVIDU_SECRET?"), "{text}");
    let mut machine = machine(GOOD);
    for name in ["OPENVIDU_SECERT", "HANOK_X", "SECRET_OF_THE_SHELL"] {
        machine.environment.insert(name.into(), "x".into());
    }
    let notes = load(&machine, &Options::default()).expect("good").notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
}

#[test]
fn names_that_look_like_paths_stay_whole() {
    let loaded = with("HANOK_a.b=1\nHANOK_a[0]=2\n%x=3\nHTTPS_PORT.x=4\nHANOK_한=5\nHANOK_a b=6");
    let mut unknown: Vec<_> = loaded
        .notes
        .iter()
        .map(|note| {
            let Note::UnknownKey { name, .. } = note else {
                panic!("{note}")
            };
            name.as_str()
        })
        .collect();
    unknown.sort_unstable();
    assert_eq!(
        unknown,
        ["HANOK_a b", "HANOK_a.b", "HANOK_a[0]", "HANOK_한"]
    );
    assert_eq!(loaded.config.public.https_port, 443);
}

#[test]
fn keys_without_counterpart_are_named_in_one_line_for_each_reason() {
    let lines = "KMS_IMAGE=kms:7\nKMS_DOCKER_ENV_X=1\nCALL_USER=me\nCALL_NEW_KEY=x\nOPENVIDU_PRO_LICENSE=y\n\
                 KMS_URIS=[\"ws://localhost:8888/kurento\"]\nSERVER_SSL_ENABLED=false\nDOTENV_PATH=/x";
    let notes = with(lines).notes;
    let told: Vec<_> = notes.iter().map(ToString::to_string).collect();
    let expected = [
        "/opt/openvidu/.env:10: DOTENV_PATH counts in the process environment only",
        "/opt/openvidu/.env:6: CALL_NEW_KEY, CALL_USER have no effect here: the OpenVidu Call application reads them \
         itself",
        "/opt/openvidu/.env:4: KMS_DOCKER_ENV_X, KMS_IMAGE have no effect here: the media server is built in",
        "/opt/openvidu/.env:7: OPENVIDU_PRO_LICENSE has no effect here: there is one edition, which needs no license \
         and has settings of its own",
        "/opt/openvidu/.env:9: SERVER_SSL_ENABLED has no effect here: the listener on SERVER_PORT is plain HTTP, and \
         HTTPS has a port of its own",
    ];
    assert_eq!(told, expected);
    assert!(notes[0].is_warning() && !notes[1..].iter().any(Note::is_warning));
}

#[test]
fn set_keys_without_effect_are_named_unless_they_say_the_default() {
    let later = keys::all()
        .filter(|key| matches!(key.about().effect, Effect::Later(_)))
        .count();
    assert!(later > 0);
    let notes = with("OPENVIDU_RECORDING=true\nOPENVIDU_CDR=FALSE\nREDIRECT_WWW=\nHANOK_OUTBOUND_DENY=10.0.0.0/8").notes;
    let named: Vec<_> = notes
        .iter()
        .map(|note| {
            let Note::NoEffectYet { name, .. } = note else {
                panic!("{note}")
            };
            *name
        })
        .collect();
    assert_eq!(named, ["HANOK_OUTBOUND_DENY", "OPENVIDU_RECORDING"]);
}

#[test]
fn cipher_lists_are_cut_to_what_is_spoken_and_an_empty_rest_is_refused() {
    let Loaded { config, notes, .. } =
        with("HTTPS_CIPHERS=ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256");
    assert_eq!(config.web.tls_suites, [TlsSuite::EcdheRsaAes128]);
    let [Note::UnknownCiphers { names, .. }] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    assert_eq!(names, &["DHE-RSA-AES128-GCM-SHA256"]);
    assert_eq!(with("").config.web.tls_suites, TlsSuite::ALL);
    let none = "HTTPS_CIPHERS=AES128-SHA";
    let [fault] = &faults(none)[..] else {
        panic!("one fault")
    };
    assert!(
        fault.contains("names no cipher suite of TLS 1.2"),
        "{fault}"
    );
    // There they choose nothing.
    with(&format!("{none}\nHTTPS_PROTOCOLS=TLSv1.3"));
}

#[test]
fn aliases_count_when_the_name_itself_is_not_set() {
    let config = with(
        "server.port=5000\nKMS_DOCKER_ENV_KMS_MIN_PORT=41000\nKMS_DOCKER_ENV_KMS_MAX_PORT=42000",
    )
    .config;
    assert_eq!(config.web.plain.expect("on").port, 5000);
    assert_eq!(config.media.ports.to_string(), "41000-42000");
    let config = with("KMS_DOCKER_ENV_KMS_MIN_PORT=41000\nHANOK_MEDIA_MIN_PORT=43000").config;
    assert_eq!(config.media.ports.first(), 43000);
    let config = with("SERVER_PORT=5000\nHANOK_PLAIN_LISTEN=127.0.0.1:6000").config;
    assert_eq!(config.web.plain.expect("on").port, 6000);
}

#[test]
fn rules_between_keys_hold() {
    let fault = |lines: &str, text: &str| {
        let faults = faults(lines);
        assert!(
            faults.len() == 1 && faults[0].contains(text),
            "{lines}: {faults:#?}"
        );
    };
    fault("OPENVIDU_WEBHOOK=true", "OPENVIDU_WEBHOOK_ENDPOINT");
    fault(
        "OPENVIDU_WEBHOOK=true\nOPENVIDU_WEBHOOK_ENDPOINT=x",
        "scheme is missing",
    );
    fault(
        "HANOK_MEDIA_MIN_PORT=50000\nHANOK_MEDIA_MAX_PORT=49999",
        "HANOK_MEDIA_MIN_PORT (50000)",
    );
    fault(
        "COTURN_MIN_PORT=65000\nCOTURN_MAX_PORT=64000",
        "COTURN_MIN_PORT (65000)",
    );
    fault(
        "COTURN_PORT=443",
        "COTURN_PORT=443 is the port of HTTPS_PORT",
    );
    fault("HTTP_PORT=443", "HTTP_PORT=443 is the port of HTTPS_PORT");
    fault(
        "HANOK_ADMIN_LISTEN=127.0.0.1:5443",
        "is the port of HANOK_PLAIN_LISTEN",
    );
    for lines in [
        "HANOK_APP_UPSTREAM=http://127.0.0.1:9641",
        "HANOK_APP_UPSTREAM=http://localhost:9641",
        "HANOK_PROXY_ROUTES=/a=http://127.0.0.1:8080,/metrics=http://[::1]:9641",
        "HANOK_ADMIN_LISTEN=:7000\nHANOK_APP_UPSTREAM=http://example.com:7000",
        "HANOK_ADMIN_LISTEN=10.0.0.5:7000\nHANOK_APP_UPSTREAM=http://10.0.0.5:7000",
    ] {
        fault(lines, "leads to HANOK_ADMIN_LISTEN");
    }
    for lines in [
        "HANOK_ADMIN_LISTEN=\nHANOK_APP_UPSTREAM=http://127.0.0.1:9641",
        "HANOK_APP_UPSTREAM=http://192.0.2.1:9641",
    ] {
        assert!(with(lines).config.web.error_pages.is_none());
    }
    fault("HANOK_FRONT=off\nHANOK_PLAIN_LISTEN=", "HANOK_PLAIN_LISTEN");
    fault("CERTIFICATE_TYPE=letsencrypt", "LETSENCRYPT_EMAIL");
    fault("HANOK_ACME_EAB_KEY_ID=kid-1", "HANOK_ACME_EAB_KEY_ID");
    fault("HANOK_ACME_EAB_HMAC_KEY=abcd", "HANOK_ACME_EAB_HMAC_KEY");
    fault(
        "CERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=",
        "LETSENCRYPT_EMAIL",
    );
    assert_eq!(
        with("HANOK_FRONT=off\nCOTURN_PORT=443").config.web.front,
        Front::Off
    );
    assert_eq!(
        with("OPENVIDU_WEBRTC_SIMULCAST=true")
            .config
            .sessions
            .subscribe_offer,
        SubscribeOffer::Server
    );
    assert!(with("OPENVIDU_EDITION=ce").config.community_edition);
    assert!(matches!(
        with("OPENVIDU_EDITION=pro").notes.as_slice(),
        [Note::NoEffectYet { .. }, Note::Edition { .. }] | [Note::Edition { .. }]
    ));
    assert_eq!(with("OV_CE_DEBUG_LEVEL=DEBUG").config.log, "debug");
    assert_eq!(with("OV_CE_DEBUG_LEVEL=debug").config.log, "info");
    assert_eq!(
        with("OV_CE_DEBUG_LEVEL=DEBUG\nHANOK_LOG=warn").config.log,
        "warn"
    );
    let image = "OPENVIDU_RECORDING_IMAGE=openvidu/openvidu-recording:2.31.0";
    assert_eq!(with(image).config.recording.version, "2.31.0");
    assert!(matches!(
        with("COTURN_MIN_PORT=50000").notes.as_slice(),
        [Note::RangesOverlap { .. }]
    ));
}

#[test]
fn folders_that_must_be_written_are_checked_only_when_their_feature_is_on() {
    let mut machine = machine(&format!(
        "{GOOD}OPENVIDU_CDR_PATH=/locked/cdr\nOPENVIDU_RECORDING_PATH=/locked/recordings\n"
    ));
    machine.forbidden.push("/locked".into());
    assert!(load(&machine, &Options::default()).is_ok());
    for (name, key) in [
        ("OPENVIDU_CDR", "OPENVIDU_CDR_PATH"),
        ("OPENVIDU_RECORDING", "OPENVIDU_RECORDING_PATH"),
    ] {
        let mut machine = machine.clone();
        machine.environment.insert(name.into(), "true".into());
        let report = load(&machine, &Options::default()).expect_err("not writable");
        assert_eq!(report.problems.len(), 1);
        assert!(report.to_string().contains(key), "{report}");
    }
}

#[test]
fn an_own_certificate_is_looked_for_beside_the_file_or_where_it_is_said_to_be() {
    let mut machine = machine(&format!("{GOOD}CERTIFICATE_TYPE=owncert\n"));
    let report = load(&machine, &Options::default()).expect_err("there are no files");
    assert_eq!(report.problems.len(), 2, "{report}");
    for name in ["certificate.cert", "certificate.key"] {
        let path = Path::new("/opt/openvidu/owncert").join(name);
        assert!(report.to_string().contains(&path.display().to_string()));
        machine.files.insert(path, Vec::new());
    }
    let config = load(&machine, &Options::default()).expect("good").config;
    assert_eq!(
        config.web.certificate,
        Certificate::Own {
            certificate: "/opt/openvidu/owncert/certificate.cert".into(),
            key: "/opt/openvidu/owncert/certificate.key".into(),
        }
    );
    machine.files.insert("/le/fullchain.pem".into(), Vec::new());
    machine
        .environment
        .insert("HANOK_CERTIFICATE_FILE".into(), "/le/fullchain.pem".into());
    let config = load(&machine, &Options::default()).expect("good").config;
    assert!(
        matches!(config.web.certificate, Certificate::Own { certificate, .. } if certificate == Path::new("/le/fullchain.pem"))
    );
}

#[test]
fn turn_over_tls_is_where_the_ports_are_ours_and_a_certificate_names_the_domain() {
    let urls = |lines: &str| {
        let certificate = "CERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=me@example.org";
        with(&format!("{certificate}\n{lines}")).config.turns_urls()
    };
    let (https, own) = (
        "turns:example.com:443?transport=tcp",
        "turns:example.com:5349?transport=tcp",
    );
    let listen = "HANOK_TURN_TLS_LISTEN=:5349";
    assert_eq!(urls(""), [https]);
    assert_eq!(urls(listen), [https, own]);
    assert_eq!(urls(&format!("{listen}\nHANOK_FRONT=off")), [own]);
    assert_eq!(urls("HANOK_FRONT=off"), [""; 0]);
    assert_eq!(
        urls("HTTPS_PORT=8443"),
        ["turns:example.com:8443?transport=tcp"]
    );
    assert_eq!(urls("DOMAIN_OR_PUBLIC_IP=203.0.113.7"), [""; 0]);
    assert_eq!(urls("CERTIFICATE_TYPE=selfsigned"), [""; 0]);
}

#[test]
fn a_name_without_a_dot_must_resolve_and_others_are_judged_by_their_shape() {
    let domain =
        |name: &str| format!("DOMAIN_OR_PUBLIC_IP={name}\nOPENVIDU_SECRET=0123456789abcdef\n");
    assert!(
        refused(&domain("myhost"))
            .to_string()
            .contains("does not resolve")
    );
    let mut resolving = machine(&domain("myhost"));
    resolving
        .names
        .insert("myhost".into(), vec![IpAddr::from([10, 0, 0, 5])]);
    let config = load(&resolving, &Options::default())
        .expect("it resolves")
        .config;
    assert_eq!(config.public.host, Host::Name("myhost".into()));
    assert_eq!(
        loaded(&domain("Example.COM")).config.public.url(),
        "https://example.com"
    );
    assert_eq!(
        loaded(&domain("2001:db8::7")).config.public.url(),
        "https://[2001:db8::7]"
    );
    assert!(faults("COTURN_IP=turnhost")[0].contains("COTURN_IP=turnhost"));
}

#[test]
fn media_nodes_may_be_names_that_resolve() {
    let file = format!(
        "{GOOD}MEDIA_NODES_PUBLIC_IPS=[\"10.0.0.5:203.0.113.7\",\"inside:outside.example.com\"]\n"
    );
    assert!(
        refused(&file)
            .to_string()
            .contains("inside, which does not resolve")
    );
    let mut machine = machine(&file);
    let (inside, outside) = ([10, 0, 0, 6], [203, 0, 113, 8]);
    machine.names.insert("inside".into(), vec![inside.into()]);
    machine
        .names
        .insert("outside.example.com".into(), vec![outside.into()]);
    let nodes = load(&machine, &Options::default())
        .expect("good")
        .config
        .media
        .nodes;
    assert_eq!(
        nodes,
        [
            ([10, 0, 0, 5].into(), [203, 0, 113, 7].into()),
            (inside.into(), outside.into())
        ]
    );
}

#[test]
fn ice_servers_keep_their_credentials() {
    let servers = with(
        "OPENVIDU_WEBRTC_ICE_SERVERS=[\"url=turn:a.example.com:3478?transport=tcp,username=u,credential=x=y\",\"url=turns:b.example.com,staticAuthSecret=k\",\"url=stun:c.example.com\"]",
    )
    .config
    .turn
    .ice_servers;
    assert_eq!(servers.len(), 3);
    assert_eq!(servers[0].url(), "turn:a.example.com:3478?transport=tcp");
    assert!(
        matches!(servers[0].credentials(), IceCredentials::Fixed { username, credential } if username == "u" && credential.matches(b"x=y"))
    );
    assert!(
        matches!(servers[1].credentials(), IceCredentials::StaticAuthSecret(key) if key.matches(b"k"))
    );
    assert!(matches!(servers[2].credentials(), IceCredentials::None));
}

#[test]
fn all_unknown_webhook_events_are_named() {
    let faults = faults("OPENVIDU_WEBHOOK_EVENTS=[sessionCreated,one,two]");
    assert!(
        faults.len() == 1 && faults[0].contains("one, two"),
        "{faults:?}"
    );
}

#[test]
fn the_sample_file_is_up_to_date_and_loads_as_the_defaults() {
    let committed = include_str!("../../etc/hanok.env");
    assert!(
        committed == crate::config::sample::sample(),
        "etc/hanok.env is out of date: run `cargo run -- sample-env > etc/hanok.env`"
    );
    let uncommented: String = committed
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()) && line.contains('='))
        // These have no default: empty is refused, or needs no line.
        .filter(|line| !line.starts_with("DOMAIN_OR") && !line.starts_with("OPENVIDU_SECRET"))
        .fold(GOOD.to_owned(), |file, line| file + line + "\n");
    assert_eq!(uncommented.lines().count(), keys::all().count());
    let (sample, plain) = (loaded(&uncommented), loaded(GOOD));
    assert_eq!(
        sample.notes,
        [],
        "a default that is written out changes nothing"
    );
    assert_eq!(sample.config.media.ports, plain.config.media.ports);
    assert_eq!(sample.config.webhook, plain.config.webhook);
    assert_eq!(sample.config.recording, plain.config.recording);
}

#[test]
fn lists_are_read_leniently() {
    let array = crate::config::validate::string_array;
    let read = |text| array(text).expect("a list");
    assert_eq!(
        read(" [ a , 'b,c' ,\"d\\\"e\", f g ] "),
        ["a", "b,c", "d\"e", "f g"]
    );
    assert_eq!(read("[\"\\u00e9\\ud83d\\ude00\"]"), ["é😀"]);
    for empty in ["", "  ", "[]", "[ ]", "[\"\"]", "['']"] {
        assert_eq!(read(empty), [""; 0], "{empty}");
    }
    for bad in [
        "a", "[a", "a]", "[a,]", "[,a]", "[[a]]", "[{a}]", "['a]", "[\"a\"b]", "[null]", "[a][b]",
    ] {
        assert!(array(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_listener_without_address_is_on_every_bound_one() {
    let bind = ["0.0.0.0".parse().expect("v4"), "::".parse().expect("v6")];
    let listen = |lines: &str| {
        let plain = with(lines).config.web.plain.expect("on");
        plain
            .socket_addrs(&bind)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listen("HANOK_PLAIN_LISTEN=:6000"),
        ["0.0.0.0:6000", "[::]:6000"]
    );
    assert_eq!(listen("HANOK_PLAIN_LISTEN=[::1]:6000"), ["[::1]:6000"]);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_validator_panic(text in "\\PC{0,60}") {
        for key in keys::all() {
            let _ = key.check(&text);
        }
    }

    #[test]
    fn no_file_content_makes_loading_panic(lines in proptest::collection::vec("(DOMAIN_OR_PUBLIC_IP|OPENVIDU_WEBRTC_ICE_SERVERS|MEDIA_NODES_PUBLIC_IPS|OPENVIDU_WEBHOOK_HEADERS|HANOK_BIND|HTTPS_PORT|HANOK_PROXY_ROUTES|HANOK_STOP_DEADLINE)=[ -~한]{0,40}", 0..8)) {
        let machine = machine(&lines.join("\n"));
        if let Err(report) = load(&machine, &Options::default()) {
            proptest::prop_assert!(!report.problems.is_empty());
            proptest::prop_assert!(!report.to_string().is_empty());
        }
    }

    #[test]
    fn arrays_of_any_strings_are_read_back(strings in proptest::collection::vec("\\PC{1,20}", 1..6)) {
        let text = serde_json::to_string(&strings).expect("strings are JSON");
        proptest::prop_assert_eq!(crate::config::validate::string_array(&text), Ok(strings));
    }
}

/// What a process that runs with the first file takes over of the second one.
fn reloaded(running: &str, file: &str) -> Result<Reloaded, Report> {
    reload(&machine(file), &Options::default(), &loaded(running))
}

#[test]
fn a_reload_takes_over_every_key_that_says_so_and_no_other() {
    let (mut live, mut restart) = (0, 0);
    for key in keys::all() {
        let about = key.about();
        for text in about.accepts {
            let file = format!("{GOOD}{}={text}\n", about.name);
            // Some need a file or another key beside.
            let Ok(expected) = load(&machine(&file), &Options::default()) else {
                continue;
            };
            let shown = |loaded: &Loaded| format!("{:?}", loaded.config);
            let Reloaded {
                loaded: taken_over,
                changed,
                at_next_start,
            } = reloaded(GOOD, &file).unwrap();
            let default = loaded(GOOD);
            match about.reload {
                Reload::Live => {
                    assert_eq!(shown(&taken_over), shown(&expected), "{file}");
                    assert_eq!(at_next_start, [""; 0], "{file}");
                    live += changed.len();
                }
                Reload::Restart => {
                    assert_eq!(shown(&taken_over), shown(&default), "{file}");
                    assert_eq!(changed, [""; 0], "{file}");
                    restart += at_next_start.len();
                }
            }
        }
    }
    assert!(live > 30 && restart > 30, "{live} {restart}");
}

#[test]
fn a_reload_names_what_has_changed_and_what_waits_for_the_next_start() {
    let running = "HANOK_TURN_USER_QUOTA=3\nHTTPS_PORT=4443\nHANOK_MEDIA_MIN_PORT=41000";
    let running = format!("{GOOD}{running}\n");
    let file = format!(
        "{GOOD}COTURN_SHARED_SECRET_KEY=new\nHTTPS_PORT=8443\nKMS_DOCKER_ENV_KMS_MIN_PORT=41000\n"
    );
    let taken_over = reloaded(&running, &file).unwrap();
    let names = ["COTURN_SHARED_SECRET_KEY", "HANOK_TURN_USER_QUOTA"];
    assert_eq!(taken_over.changed, names);
    assert_eq!(taken_over.at_next_start, ["HTTPS_PORT"]);
    let config = &taken_over.loaded.config;
    assert_eq!(config.web.https_port, 4443);
    assert_eq!(config.turn.secrets, [Secret::new("new")]);
    assert_eq!(config.turn.limits.user_quota, 256, "the default again");
    assert!(!format!("{taken_over:?}").contains("new\""));

    // What waits is named again and again; what has been taken over is not.
    let again = reload(&machine(&file), &Options::default(), &taken_over.loaded).unwrap();
    assert_eq!(again.changed, [""; 0]);
    assert_eq!(again.at_next_start, ["HTTPS_PORT"]);
    let back = reload(&machine(&running), &Options::default(), &again.loaded).unwrap();
    assert_eq!(back.changed, names);
    assert_eq!(back.at_next_start, [""; 0]);
    assert_eq!(back.loaded.config.turn.limits.user_quota, 3);
}

#[test]
fn a_bad_file_is_reloaded_in_no_part() {
    let bad = format!("{GOOD}HANOK_TURN_USER_QUOTA=5\nHTTPS_PORT=none\nHANOK_LOG=loud\n");
    let report = reloaded(GOOD, &bad).unwrap_err();
    assert_eq!(report.problems.len(), 2, "{report}");
    let missing = FakeMachine::default();
    assert!(reload(&missing, &Options::default(), &loaded(GOOD)).is_err());
}
