//! The `.env` that hanok would read, drawn from what lies in the old folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::compose;
use super::containers::{self, APPLICATION_PORT, Deployment, Edition, PROXY, SERVER, Service};
use super::env_file::{self, Carried};
use super::features;
use super::locations::{self, Kind};
use super::report::Note;
use crate::config::keys;

/// What the shell has found. Nothing in it was changed.
#[derive(Clone)]
pub struct Found {
    /// The old folder.
    pub from: PathBuf,
    /// `.env`.
    pub env: Content,
    /// `coturn/shared-secret-key`.
    pub shared_secret_key: Content,
    /// `docker-compose.yml`.
    pub compose: Content,
    /// `docker-compose.override.yml`.
    pub compose_override: Content,
    /// The files of `custom-nginx-locations` and `custom-nginx-vhosts`, by name.
    pub proxy_files: Vec<(Kind, PathBuf, Content)>,
    /// Files of the same kind that OpenVidu's own upgrade has put aside.
    pub put_aside: Vec<PathBuf>,
}

/// A file.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// It does not exist.
    Missing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// Its bytes.
    Bytes(Vec<u8>),
}

impl Content {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// What there is to write, before it is known whether hanok can run with it.
#[derive(Clone, Default)]
pub struct Draft {
    /// The whole `.env`.
    pub env: String,
    /// How many keys of the old file are in it.
    pub carried_keys: usize,
    /// The keys that were added.
    pub added: Vec<String>,
    /// The values of the old file.
    pub values: BTreeMap<String, String>,
    /// Where they stand.
    pub places: BTreeMap<String, String>,
    /// The old deployment.
    pub deployment: Deployment,
    /// What to tell.
    pub notes: Vec<Note>,
}

/// Why nothing can be migrated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `.env`.
    #[error("{}: there is no .env here: name the folder of an OpenVidu 2 installation with --from", .0.display())]
    NoFile(PathBuf),
    /// `.env` cannot be read.
    #[error("{}: {reason}: run this as root", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A media node of the Pro edition.
    #[error("{}: this is a media node: its master's folder is what moves, and media nodes are no longer needed", .0.display())]
    MediaNode(PathBuf),
    /// Something else with a `.env`.
    #[error("{}: docker-compose.yml names no service {SERVER}: this is no OpenVidu 2 installation", .0.display())]
    NotOpenVidu(PathBuf),
    /// There is a `.env` already that says something else.
    #[error(
        "{} exists and says something else: compare it with `hanok migrate --dry-run`, and write --force to replace it (it is kept beside)",
        .0.display()
    )]
    Exists(PathBuf),
}

impl Draft {
    /// Draws it up.
    ///
    /// # Errors
    /// This is no folder that can be migrated.
    pub fn new(found: &Found) -> Result<Self, Refusal> {
        let file = found.from.join(".env");
        let carried = match &found.env {
            Content::Bytes(bytes) => env_file::carry(&file.display().to_string(), bytes),
            Content::Missing => return Err(Refusal::NoFile(found.from.clone())),
            Content::Unreadable(reason) => {
                let reason = reason.clone();
                return Err(Refusal::Unreadable { file, reason });
            }
        };
        let mut draft = Self {
            notes: carried.notes.clone(),
            carried_keys: carried.values.len(),
            ..Self::default()
        };
        draft.deployment = draft.read_deployment(found, &carried)?;
        draft.notes.extend(features::notes(&carried));
        let mut additions = Additions::default();
        draft.shared_secret(found, &carried, &mut additions);
        draft.set_in_compose(&carried, &mut additions);
        draft.application(&found.from, &carried, &mut additions);
        draft.routes(found, &carried, &mut additions);
        draft.editions(&found.from);
        draft.coturn();
        draft.env = carried.text;
        draft.env.push_str(&additions.text(&found.from));
        draft.added = additions.0.into_iter().map(|(_, key, _)| key).collect();
        draft.values = carried.values;
        draft.places = carried.places;
        Ok(draft)
    }

    fn read_deployment(&mut self, found: &Found, carried: &Carried) -> Result<Deployment, Refusal> {
        let mut files = Vec::new();
        for (name, content) in [
            ("docker-compose.yml", &found.compose),
            ("docker-compose.override.yml", &found.compose_override),
        ] {
            let file = found.from.join(name).display().to_string();
            let document = match content {
                Content::Missing if name == "docker-compose.yml" => {
                    self.notes.push(Note::action(
                        file.clone(),
                        "there is none: which containers to stop is not known",
                    ));
                    compose::Document::default()
                }
                Content::Missing => compose::Document::default(),
                Content::Unreadable(reason) => {
                    let text =
                        format!("cannot be read ({reason}): what it changes is not looked at");
                    self.notes.push(Note::action(file.clone(), text));
                    compose::Document::default()
                }
                Content::Bytes(bytes) => match compose::parse(bytes) {
                    Ok(document) => document,
                    Err(error) => {
                        self.notes.push(Note::action(
                            file.clone(),
                            format!("{error}: what it says is not looked at"),
                        ));
                        compose::Document::default()
                    }
                },
            };
            if !document.unread.is_empty() {
                let lines: Vec<_> = document
                    .unread
                    .iter()
                    .take(10)
                    .map(usize::to_string)
                    .collect();
                let text = format!(
                    "lines that are not understood: {}: see whether hanok or your application needs them",
                    lines.join(", ")
                );
                self.notes.push(Note::action(file.clone(), text));
            }
            files.push((file, document));
        }
        let mut deployment = Deployment::new(&files, &carried.values);
        deployment.version = found.compose.bytes().and_then(containers::version);
        let has = |name: &str| deployment.services.contains_key(name);
        if found.compose.bytes().is_some() && !has(SERVER) {
            return Err(if has("media-node-controller") {
                Refusal::MediaNode(found.from.clone())
            } else {
                Refusal::NotOpenVidu(found.from.clone())
            });
        }
        Ok(deployment)
    }

    /// Credentials that were handed out stay good, and so do those that others mint.
    fn shared_secret(&mut self, found: &Found, carried: &Carried, additions: &mut Additions) {
        const KEY: &str = "COTURN_SHARED_SECRET_KEY";
        let file = found.from.join("coturn/shared-secret-key");
        let own = carried.values.get(KEY).filter(|value| !value.is_empty());
        if let Some(own) = own {
            if own.contains(',') {
                self.notes.push(Note::action(
                    carried.places.get(KEY).cloned().unwrap_or_default(),
                    format!("{KEY} has a comma, which hanok takes for the end of a first secret: write one without"),
                ));
            }
            return;
        }
        match &found.shared_secret_key {
            Content::Missing => {
                let text =
                    "there is none: a new secret is made, and credentials that were handed out end";
                self.notes
                    .push(Note::change(file.display().to_string(), text));
            }
            Content::Unreadable(reason) => {
                let text = format!(
                    "cannot be read ({reason}): a new secret would be made, and credentials that were handed out would end"
                );
                self.notes
                    .push(Note::action(file.display().to_string(), text));
            }
            Content::Bytes(bytes) => match shared_secret(bytes) {
                Some(secret) => {
                    let why = "The secret of coturn: credentials that were handed out stay good.";
                    additions.add(why, KEY, secret);
                    self.notes.push(Note::kept(
                        file.display().to_string(),
                        "TURN credentials made with it stay good",
                    ));
                }
                None => {
                    let text =
                        format!("says no {KEY} that can be taken over: a new secret is made");
                    self.notes
                        .push(Note::action(file.display().to_string(), text));
                }
            },
        }
    }

    /// Keys that somebody has set in the compose files, over those of `.env`.
    fn set_in_compose(&mut self, carried: &Carried, additions: &mut Additions) {
        /// What OpenVidu sets itself, for its own container.
        const STOCK: [&str; 4] = [
            "SERVER_SSL_ENABLED",
            "SERVER_PORT",
            "KMS_URIS",
            "DOTENV_PATH",
        ];
        /// Variables of other containers, and the keys that stand for them.
        const OTHERS: [(&str, &str, &str); 5] = [
            (PROXY, "PROXY_HTTP_PORT", "HTTP_PORT"),
            (PROXY, "PROXY_HTTPS_PORT", "HTTPS_PORT"),
            (PROXY, "PUBLIC_IP", "PROXY_PUBLIC_IP"),
            ("kms", "KMS_MIN_PORT", "HANOK_MEDIA_MIN_PORT"),
            ("kms", "KMS_MAX_PORT", "HANOK_MEDIA_MAX_PORT"),
        ];
        let mut set: Vec<(&Service, &str, &str)> = Vec::new();
        if let Some(server) = self.deployment.services.get(SERVER) {
            let variables = server.environment.iter();
            let variables = variables.filter(|(name, _)| !STOCK.contains(&name.as_str()));
            set.extend(variables.map(|(name, value)| (server, name.as_str(), value.as_str())));
        }
        for (service, variable, key) in OTHERS {
            let service = self.deployment.services.get(service);
            let value =
                service.and_then(|service| Some((service, service.environment.get(variable)?)));
            set.extend(value.map(|(service, value)| (service, key, value.as_str())));
        }
        let mut notes = Vec::new();
        for (service, name, value) in set {
            let Some(about) = keys::find(name).map(|key| *key.about()) else {
                continue;
            };
            let in_file = std::iter::once(&about.name)
                .chain(about.aliases)
                .find_map(|name| carried.values.get(*name))
                .filter(|value| !value.is_empty());
            let counts = in_file
                .map(String::as_str)
                .or(about.default)
                .unwrap_or_default();
            // Ports of the media server cannot be set in OpenVidu's file; here they can.
            let is_for_hanok_alone = name.starts_with("HANOK_") && in_file.is_some();
            if value == counts
                || value.is_empty()
                || is_for_hanok_alone
                || value.contains(char::is_control)
            {
                continue;
            }
            additions.add(
                "Set in the compose files, over the line above.",
                about.name,
                value,
            );
            notes.push(Note::change(
                service.place.clone(),
                format!("{} is set in this service, and was added", about.name),
            ));
        }
        self.notes.extend(notes);
    }

    fn application(&mut self, from: &Path, carried: &Carried, additions: &mut Additions) {
        const KEY: &str = "HANOK_APP_UPSTREAM";
        let found = self.deployment.application();
        let name = found.map(|(name, service)| (name.to_owned(), service.place.clone()));
        match name {
            Some((name, place)) => {
                if !carried.values.contains_key(KEY) {
                    let upstream = format!("http://127.0.0.1:{APPLICATION_PORT}");
                    additions.add("The application, where OpenVidu's proxy had it.", KEY, &upstream);
                }
                let text = format!("the application `{name}` stays in its container and answers at / through http://127.0.0.1:{APPLICATION_PORT}");
                self.notes.push(Note::kept(place, text));
            }
            None => self.notes.push(Note::action(
                from.join("docker-compose.override.yml").display().to_string(),
                format!(
                    "no service answers on port {APPLICATION_PORT}, where OpenVidu's proxy has the application: name yours in {KEY} if there is one"
                ),
            )),
        }
        for (name, service) in self.deployment.added() {
            let knocks = service.environment.values().any(|value| {
                let is_here = ["localhost", "127.0.0.1"]
                    .iter()
                    .any(|host| value.contains(host));
                value.contains(":5443") && (!service.is_on_host || !is_here)
            });
            if knocks {
                self.notes.push(Note::action(
                    service.place.clone(),
                    format!(
                        "`{name}` calls the server on port 5443 by another address than 127.0.0.1, where hanok alone listens: add \
                         HANOK_PLAIN_LISTEN=ADDRESS:5443 with docker's bridge (often 172.17.0.1), or let it call https://DOMAIN"
                    ),
                ));
            }
            for port in service
                .ports
                .iter()
                .filter(|port| (port.first, port.last) != (APPLICATION_PORT, APPLICATION_PORT))
            {
                let ports = match (port.first, port.last) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first} to {last}"),
                };
                let text = format!("`{name}` goes on publishing port {ports}");
                self.notes.push(Note::kept(port.place.clone(), text));
            }
        }
    }

    fn routes(&mut self, found: &Found, carried: &Carried, additions: &mut Additions) {
        const KEY: &str = "HANOK_PROXY_ROUTES";
        let mounts = self.mounts(&found.from, carried);
        let mut files = Vec::new();
        for (kind, path, content) in &found.proxy_files {
            match content {
                Content::Bytes(bytes) => files.push((*kind, path.as_path(), bytes.as_slice())),
                Content::Missing => {}
                Content::Unreadable(reason) => {
                    let text = format!("cannot be read ({reason}): what it does is lost");
                    self.notes
                        .push(Note::action(path.display().to_string(), text));
                }
            }
        }
        let read = locations::read(files, &mounts);
        if !read.routes.is_empty() && !carried.values.contains_key(KEY) {
            additions.add("What your own nginx locations did.", KEY, &read.value());
        }
        for route in &read.routes {
            let text = format!(
                "became the route {}={}",
                route.path,
                crate::config::report::shown(&route.target, false)
            );
            self.notes.push(Note::change(route.place.clone(), text));
        }
        self.notes.extend(read.notes);
        for file in &found.put_aside {
            let text = "was put aside by an upgrade of OpenVidu and had no effect since: look whether you miss it";
            self.notes
                .push(Note::action(file.display().to_string(), text));
        }
        let replaced = self.deployment.services.get(PROXY);
        let replaced = replaced.and_then(|proxy| {
            let mut volumes = proxy.volumes.iter();
            let (here, _) = volumes.find(|(_, there)| there.starts_with("/custom-nginx/"))?;
            Some((proxy.place.clone(), here.clone()))
        });
        if let Some((place, here)) = replaced {
            let text = format!(
                "{here} replaces the whole configuration of OpenVidu's proxy and is not carried over: write what it adds into HANOK_PROXY_ROUTES, or \
                 keep an nginx of your own with it (HANOK_FRONT=off)"
            );
            self.notes.push(Note::action(place, text));
        }
    }

    /// Folders of this machine as the proxy's container sees them.
    fn mounts(&self, from: &Path, carried: &Carried) -> Vec<(String, String)> {
        let proxy = self.deployment.services.get(PROXY);
        let mut mounts: Vec<(String, String)> = proxy
            .into_iter()
            .flat_map(|proxy| &proxy.volumes)
            .filter(|(_, there)| there.starts_with('/'))
            .map(|(here, there)| {
                let here = from.join(here.strip_prefix("./").unwrap_or(here));
                (there.clone(), here.display().to_string())
            })
            .collect();
        if let Some(layouts) = carried.values.get("OPENVIDU_RECORDING_CUSTOM_LAYOUT") {
            mounts.push(("/opt/openvidu/custom-layout".to_owned(), layouts.clone()));
        }
        mounts
    }

    fn editions(&mut self, from: &Path) {
        let edition = match self.deployment.edition {
            Edition::Community => return,
            Edition::Pro => "the Pro edition",
            Edition::Enterprise => "the Enterprise edition",
        };
        let place = self
            .deployment
            .services
            .get(SERVER)
            .map(|it| it.place.clone())
            .unwrap_or_default();
        self.notes.push(Note::loss(
            place,
            format!("this is {edition}: media nodes are not used any more and can be shut down once hanok runs; sessions are not shared between machines"),
        ));
        let known = [SERVER, PROXY, "kms", "coturn"];
        let others: Vec<_> = self
            .deployment
            .own()
            .map(|(name, _)| name)
            .filter(|name| !known.contains(name))
            .collect();
        if !others.is_empty() {
            let text = format!(
                "they have no counterpart and are stopped with the others; their data stays in {}",
                from.display()
            );
            self.notes.push(Note::loss(others.join(", "), text));
        }
    }

    /// Options that somebody has given to coturn, and what they are called here.
    fn coturn(&mut self) {
        const OPTIONS: [(&str, &str); 14] = [
            ("--tls-listening-port", "HANOK_TURN_TLS_LISTEN"),
            ("--external-ip", "HANOK_EXTERNAL_IP"),
            ("--user", "HANOK_TURN_USERS"),
            ("--user-quota", "HANOK_TURN_USER_QUOTA"),
            ("--total-quota", "HANOK_TURN_TOTAL_QUOTA"),
            ("--max-bps", "HANOK_TURN_ALLOCATION_KBPS"),
            ("--bps-capacity", "HANOK_TURN_TOTAL_KBPS"),
            ("--allowed-peer-ip", "HANOK_TURN_ALLOWED_PEERS"),
            ("--denied-peer-ip", "HANOK_TURN_DENIED_PEERS"),
            ("--listening-ip", "HANOK_BIND"),
            ("--relay-ip", "HANOK_BIND"),
            (
                "--cert",
                "the certificate of the HTTPS port, which TURN shares",
            ),
            (
                "--pkey",
                "the certificate of the HTTPS port, which TURN shares",
            ),
            ("--no-tls", "an empty HANOK_TURN_TLS_LISTEN, the default"),
        ];
        /// Those of the stock file, of both editions.
        const STOCK: [&str; 9] = [
            "--log-file",
            "--listening-port",
            "--fingerprint",
            "--min-port",
            "--max-port",
            "--realm",
            "--verbose",
            "--use-auth-secret",
            "--static-auth-secret",
        ];
        let Some(coturn) = self.deployment.services.get("coturn") else {
            return;
        };
        let detected = coturn
            .command
            .iter()
            .any(|word| word.contains("detect-external-ip"));
        let names = coturn.command.iter().filter_map(|word| {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            (name.starts_with("--") && !STOCK.contains(&name)).then_some(name)
        });
        let notes: Vec<_> = names
            .filter(|name| !(detected && *name == "--external-ip"))
            .map(|name| {
                let counterpart = OPTIONS.iter().find(|(option, _)| *option == name);
                let text = match counterpart {
                    Some((_, counterpart)) => {
                        format!("coturn's {name} is not carried over: here it is {counterpart}")
                    }
                    None => format!(
                        "coturn's {} is not carried over, and has no counterpart",
                        crate::config::report::shown(name, false)
                    ),
                };
                Note::action(coturn.place.clone(), text)
            })
            .collect();
        self.notes.extend(notes);
    }
}

/// Keys that are added: why, name, value.
#[derive(Default)]
struct Additions(Vec<(String, String, String)>);

impl Additions {
    fn add(&mut self, why: &str, key: &str, value: &str) {
        self.0
            .push((why.to_owned(), key.to_owned(), value.to_owned()));
    }

    fn text(&self, from: &Path) -> String {
        let mut text = String::new();
        if !self.0.is_empty() {
            let from = from
                .display()
                .to_string()
                .replace(char::is_control, "\u{fffd}");
            let _ = write!(text, "\n# ---- Added by `hanok migrate` from {from} ----\n");
        }
        for (why, key, value) in &self.0 {
            let _ = write!(text, "# {why}\n{key}={value}\n");
        }
        text
    }
}

/// `COTURN_SHARED_SECRET_KEY` of the file that OpenVidu's container makes, as coturn's start script reads it; without
/// what hanok would take for several secrets.
fn shared_secret(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = text.lines().filter(|line| !line.contains('#'));
    let mut secrets = lines.filter_map(|line| {
        let (_, value) = line.split_once("COTURN_SHARED_SECRET_KEY=")?;
        value.split_whitespace().next()
    });
    let is_one = |secret: &&str| !secret.contains(|c: char| ",\"'".contains(c) || c.is_control());
    secrets.next().filter(is_one)
}

#[cfg(test)]
mod tests {
    use super::super::report::Class;
    use super::*;

    const ENV: &str =
        "DOMAIN_OR_PUBLIC_IP=call.example\nOPENVIDU_SECRET=0123456789abcdef\nHTTPS_PORT=443\n";
    const STOCK: &str = "services:\n  openvidu-server:\n    image: openvidu/openvidu-server:2.32.1\n  nginx:\n    image: openvidu/openvidu-proxy:2.32.1\n";

    fn found(compose: &str, compose_override: &str) -> Found {
        let bytes = |text: &str| Content::Bytes(text.as_bytes().to_vec());
        Found {
            from: "/opt/openvidu".into(),
            env: bytes(ENV),
            shared_secret_key: Content::Missing,
            compose: bytes(compose),
            compose_override: bytes(compose_override),
            proxy_files: Vec::new(),
            put_aside: Vec::new(),
        }
    }

    fn draft(compose: &str, compose_override: &str) -> Draft {
        Draft::new(&found(compose, compose_override)).unwrap()
    }

    fn told(draft: &Draft, class: Class, part: &str) -> bool {
        let notes = draft.notes.iter().filter(|note| note.class == class);
        notes
            .map(ToString::to_string)
            .any(|note| note.contains(part))
    }

    #[test]
    fn a_pro_installation_is_known_by_what_it_runs() {
        let pro = "services:\n  openvidu-server:\n    image: openvidu/openvidu-server-pro:2.32.1\n  elasticsearch:\n    image: elasticsearch\n";
        let draft = draft(pro, "");
        assert!(told(&draft, Class::Loss, "the Pro edition"));
        assert!(told(
            &draft,
            Class::Loss,
            "elasticsearch: they have no counterpart"
        ));
        assert!(told(
            &draft,
            Class::Action,
            "no service answers on port 5442"
        ));
    }

    #[test]
    fn what_is_no_master_of_openvidu_2_is_refused() {
        let refused = |compose: &str| Draft::new(&found(compose, "")).err();
        let from = PathBuf::from("/opt/openvidu");
        let media_node = "services:\n  media-node-controller:\n    image: x\n";
        assert_eq!(refused(media_node), Some(Refusal::MediaNode(from.clone())));
        let other = "services:\n  livekit:\n    image: x\n";
        assert_eq!(refused(other), Some(Refusal::NotOpenVidu(from)));
        let mut without = found("", "");
        without.compose = Content::Missing;
        let draft = Draft::new(&without).unwrap();
        assert!(told(
            &draft,
            Class::Action,
            "which containers to stop is not known"
        ));
    }

    #[test]
    fn keys_that_are_set_in_the_compose_files_count_over_those_of_the_file() {
        let compose = "services:\n  openvidu-server:\n    environment:\n      - OPENVIDU_CDR=true\n      - HTTPS_PORT=443\n      - SERVER_PORT=5443\n      - NOT_OURS=1\n  nginx:\n    environment:\n      - PROXY_HTTP_PORT=8080\n      - PROXY_HTTPS_PORT=${HTTPS_PORT:-}\n";
        let draft = draft(compose, "");
        assert_eq!(draft.added, ["OPENVIDU_CDR", "HTTP_PORT"]);
        assert!(draft.env.starts_with(ENV));
        assert!(
            draft.env.contains("\nOPENVIDU_CDR=true\n") && draft.env.contains("\nHTTP_PORT=8080\n")
        );
    }

    #[test]
    fn an_application_that_calls_by_the_bridge_is_told_where_hanok_listens() {
        let calls = |url: &str, network: &str| {
            let text = format!(
                "services:\n  web:\n    ports: ['5442:80']\n{network}    environment:\n      OPENVIDU_URL: {url}\n"
            );
            told(
                &draft(STOCK, &text),
                Class::Action,
                "HANOK_PLAIN_LISTEN=ADDRESS:5443",
            )
        };
        assert!(calls("http://172.17.0.1:5443", ""));
        assert!(
            calls("http://localhost:5443", ""),
            "that is the container itself"
        );
        assert!(!calls("http://localhost:5443", "    network_mode: host\n"));
        assert!(!calls("https://call.example", ""));
    }

    #[test]
    fn the_secret_of_coturn_is_read_as_its_start_script_reads_it() {
        for (text, expected) in [
            (
                "# COTURN_SHARED_SECRET_KEY=no\r\nCOTURN_SHARED_SECRET_KEY=abc\r\n",
                Some("abc"),
            ),
            ("COTURN_SHARED_SECRET_KEY=abc def", Some("abc")),
            ("COTURN_SHARED_SECRET_KEY=a,b", None),
            ("COTURN_SHARED_SECRET_KEY=", None),
            ("", None),
        ] {
            assert_eq!(shared_secret(text.as_bytes()), expected, "{text}");
        }
        let mut with = found(STOCK, "");
        with.shared_secret_key = Content::Bytes(b"COTURN_SHARED_SECRET_KEY=coturns-own\n".to_vec());
        assert_eq!(
            Draft::new(&with).unwrap().added,
            ["COTURN_SHARED_SECRET_KEY"]
        );
        with.env = Content::Bytes(format!("{ENV}COTURN_SHARED_SECRET_KEY=mine\n").into_bytes());
        let draft = Draft::new(&with).unwrap();
        assert!(draft.added.is_empty() && !draft.env.contains("coturns-own"));
    }

    #[test]
    fn options_of_coturn_are_named_as_they_are_called_here() {
        let coturn = format!(
            "{STOCK}  coturn:\n    command:\n      - --external-ip=$$(detect-external-ip)\n      - --realm=openvidu\n      - --tls-listening-port=5349\n      - --odd\n"
        );
        let draft = draft(&coturn, "");
        assert!(told(
            &draft,
            Class::Action,
            "--tls-listening-port is not carried over: here it is HANOK_TURN_TLS_LISTEN"
        ));
        assert!(told(
            &draft,
            Class::Action,
            "--odd is not carried over, and has no counterpart"
        ));
        assert!(
            !told(&draft, Class::Action, "--external-ip")
                && !told(&draft, Class::Action, "--realm")
        );
    }

    #[test]
    fn a_proxy_configuration_of_ones_own_is_named() {
        let own = "services:\n  nginx:\n    volumes:\n      - ./my.conf:/custom-nginx/custom-nginx.conf\n";
        assert!(told(
            &draft(STOCK, own),
            Class::Action,
            "./my.conf replaces the whole configuration"
        ));
    }
}
