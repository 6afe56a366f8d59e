//! What `docker-compose.yml` and its override say of the old deployment: edition, services, ports, folders.

use std::collections::BTreeMap;

use super::compose::{Document, Node};

/// The longest text that variables may make of another one.
const MAX_TEXT: usize = 64 * 1024;

/// Which OpenVidu it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edition {
    /// Community.
    #[default]
    Community,
    /// Pro, with media nodes.
    Pro,
    /// Enterprise, with several masters.
    Enterprise,
}

/// The service that OpenVidu's server runs in.
pub const SERVER: &str = "openvidu-server";
/// The service that its proxy runs in.
pub const PROXY: &str = "nginx";
/// Where OpenVidu's proxy finds the application.
pub const APPLICATION_PORT: u16 = 5442;

/// Both files together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// From the comment in `docker-compose.yml`.
    pub version: Option<String>,
    /// From the images.
    pub edition: Edition,
    /// By name.
    pub services: BTreeMap<String, Service>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `FILE:LINE` of its name; of both files the override.
    pub place: String,
    /// Whether `docker-compose.yml` names it: then it is a part of OpenVidu.
    pub is_openvidu: bool,
    /// Its image.
    pub image: Option<String>,
    /// `network_mode: host`.
    pub is_on_host: bool,
    /// What its ports are published as.
    pub ports: Vec<Published>,
    /// Its variables; of several with one name the last.
    pub environment: BTreeMap<String, String>,
    /// Folders and files: `(here, in the container)`.
    pub volumes: Vec<(String, String)>,
    /// The words of its command.
    pub command: Vec<String>,
}

/// A port of this machine that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `FILE:LINE`.
    pub place: String,
    /// The first port of this machine.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Deployment {
    /// Joins both files. `variables` are those of `.env`, and `files` the names and contents of what could be read.
    pub fn new(files: &[(String, Document)], variables: &BTreeMap<String, String>) -> Self {
        let mut services: BTreeMap<String, Service> = BTreeMap::new();
        for (index, (file, document)) in files.iter().enumerate() {
            let Some(named) = document.root.get("services") else {
                continue;
            };
            for (line, name, node) in named.entries() {
                let service = services.entry(name.to_owned()).or_default();
                service.is_openvidu |= index == 0;
                service.place = format!("{file}:{line}");
                service.add(file, node, variables);
            }
        }
        let has = |part: &str| {
            let mut images = services.values().filter_map(|it| it.image.as_deref());
            images.any(|image| image.contains(part))
        };
        let edition = match (has("/replication-manager"), has("/openvidu-server-pro")) {
            (true, _) => Edition::Enterprise,
            (false, true) => Edition::Pro,
            (false, false) => Edition::Community,
        };
        Self {
            version: None,
            edition,
            services,
        }
    }

    /// The services of OpenVidu itself.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.of(true)
    }

    /// The services that the operator has added: the application and what it needs.
    pub fn added(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.of(false)
    }

    fn of(&self, is_openvidu: bool) -> impl Iterator<Item = (&str, &Service)> {
        let services = self.services.iter();
        services
            .filter(move |(_, service)| service.is_openvidu == is_openvidu)
            .map(|(name, service)| (name.as_str(), service))
    }

    /// The application: what the operator's file lets answer where OpenVidu's proxy looks for it.
    pub fn application(&self) -> Option<(&str, &Service)> {
        let answers = |service: &Service| {
            let is_told = || service.environment.values().any(|it| it == "5442");
            let is_there = |it: &Published| (it.first..=it.last).contains(&APPLICATION_PORT);
            service.ports.iter().any(is_there) || (service.is_on_host && is_told())
        };
        self.added()
            .find(|(_, service)| answers(service))
            // On the host's network nothing says which port it takes; `app` is OpenVidu's name for it.
            .or_else(|| {
                self.added()
                    .find(|(name, it)| *name == "app" && it.is_on_host)
            })
    }
}

impl Service {
    fn add(&mut self, file: &str, node: &Node, variables: &BTreeMap<String, String>) {
        let text = |node: &Node| interpolate(node.text()?, variables);
        if let Some(image) = node.get("image").and_then(text) {
            self.image = Some(image);
        }
        if let Some(mode) = node.get("network_mode").and_then(text) {
            self.is_on_host = mode == "host";
        }
        for (line, port) in node.get("ports").into_iter().flat_map(Node::elements) {
            let published = match text(port) {
                Some(port) => published(&port),
                None => port
                    .get("published")
                    .and_then(text)
                    .and_then(|it| range(&it)),
            };
            self.ports.extend(published.map(|(first, last)| Published {
                place: format!("{file}:{line}"),
                first,
                last,
            }));
        }
        if let Some(environment) = node.get("environment") {
            let listed = environment.elements().filter_map(|(_, it)| text(it));
            let listed = listed.filter_map(|it| {
                let (name, value) = it.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            });
            let mapped = environment.entries();
            let mapped = mapped.filter_map(|(_, name, it)| Some((name.to_owned(), text(it)?)));
            self.environment.extend(listed.chain(mapped));
        }
        for (_, volume) in node.get("volumes").into_iter().flat_map(Node::elements) {
            let pair = match text(volume) {
                Some(volume) => {
                    let mut parts = volume.split(':');
                    parts
                        .next()
                        .zip(parts.next())
                        .map(|(here, there)| (here.to_owned(), there.to_owned()))
                }
                None => {
                    let part = |key| volume.get(key).and_then(text);
                    part("source").zip(part("target"))
                }
            };
            self.volumes.extend(pair);
        }
        if let Some(command) = node.get("command") {
            let listed = command.elements().filter_map(|(_, it)| text(it));
            let in_one = text(command);
            let in_one = in_one.iter().flat_map(|it| it.split_whitespace());
            self.command = listed.chain(in_one.map(str::to_owned)).collect();
        }
    }
}

/// The ports of this machine in `[ADDRESS:]PORT[-PORT]:PORT[/PROTOCOL]`; none if docker chooses one.
fn published(port: &str) -> Option<(u16, u16)> {
    let (rest, _container) = port.rsplit_once(':')?;
    let here = rest.rsplit_once(':').map_or(rest, |(_, here)| here);
    range(here)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

/// `text` with its variables, as compose fills them in: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `$$`.
/// `None` if it says something else, or becomes too long.
pub fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, behind) = after.split_once('}')?;
            let name_end = inside.find(|c| !is_of_name(c)).unwrap_or(inside.len());
            let (name, default) = inside.split_at_checked(name_end)?;
            let value = variables.get(name).map(String::as_str);
            out.push_str(match default.strip_prefix(":-") {
                Some(default) => value.filter(|value| !value.is_empty()).unwrap_or(default),
                None if default.is_empty() => value.unwrap_or_default(),
                None => value.unwrap_or(default.strip_prefix('-')?),
            });
            rest = behind;
        } else {
            let name_end = after.find(|c| !is_of_name(c)).unwrap_or(after.len());
            let (name, behind) = after.split_at_checked(name_end)?;
            if name.is_empty() {
                return None;
            }
            out.push_str(variables.get(name).map_or("", String::as_str));
            rest = behind;
        }
        if out.len() > MAX_TEXT {
            return None;
        }
    }
    out.push_str(rest);
    (out.len() <= MAX_TEXT).then_some(out)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `Openvidu Version: 2.32.1` in the comment at the beginning of OpenVidu's file.
pub fn version(file: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(file);
    text.lines().take(60).find_map(|line| {
        let (_, version) = line.split_once("Openvidu Version:")?;
        let version = version.trim();
        let is_version = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        let is_short = (1..=20).contains(&version.len());
        (is_short && version.chars().all(is_version)).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compose;
    use super::*;

    fn deployment(files: &[&str]) -> Deployment {
        let files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(n, text)| (format!("file{n}"), compose::parse(text.as_bytes()).unwrap()))
            .collect();
        let variables = [("PORT", "5442"), ("EMPTY", ""), ("IMAGE", "me/app")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Deployment::new(&files, &variables.into())
    }

    const STOCK: &str = "services:\n  openvidu-server:\n    image: openvidu/openvidu-server:2.32.1\n    network_mode: host\n  nginx:\n    image: openvidu/openvidu-proxy:2.32.1\n    volumes:\n      - ./certificates:/etc/letsencrypt\n";

    #[test]
    fn the_application_is_what_answers_at_its_place() {
        for (application, name) in [
            (
                "services:\n  app:\n    network_mode: host\n    environment:\n      - SERVER_PORT=5442\n",
                Some("app"),
            ),
            (
                "services:\n  web:\n    ports:\n      - \"${PORT}:3000\"\n",
                Some("web"),
            ),
            (
                "services:\n  web:\n    ports: ['127.0.0.1:5440-5450:80-90/tcp']\n",
                Some("web"),
            ),
            (
                "services:\n  web:\n    ports:\n      - target: 80\n        published: 5442\n",
                Some("web"),
            ),
            ("services:\n  app:\n    network_mode: host\n", Some("app")),
            ("services:\n  db:\n    ports:\n      - 3306:3306\n", None),
            ("services:\n  web:\n    ports:\n      - \"5442\"\n", None),
        ] {
            let deployment = deployment(&[STOCK, application]);
            let found = deployment.application().map(|(name, _)| name);
            assert_eq!(found, name, "{application}");
        }
    }

    #[test]
    fn an_override_adds_to_what_openvidu_has() {
        let changed = "services:\n  nginx:\n    volumes:\n      - /srv/site:/srv/site:ro\n    environment:\n      A: 1\n";
        let deployment = deployment(&[STOCK, changed]);
        let nginx = &deployment.services[PROXY];
        assert_eq!(
            nginx.volumes,
            [
                ("./certificates".into(), "/etc/letsencrypt".into()),
                ("/srv/site".into(), "/srv/site".into())
            ]
        );
        assert!(nginx.is_openvidu);
        assert_eq!(nginx.place, "file1:2");
        assert_eq!(nginx.environment["A"], "1");
        assert_eq!(deployment.own().count(), 2);
        assert_eq!(deployment.added().count(), 0);
    }

    #[test]
    fn editions_are_known_by_their_images() {
        for (image, edition) in [
            ("openvidu/openvidu-server:2.32.1", Edition::Community),
            ("openvidu/openvidu-server-pro:2.32.1", Edition::Pro),
            ("openvidu/replication-manager:2.32.1", Edition::Enterprise),
        ] {
            let text = format!("services:\n  x:\n    image: {image}\n");
            assert_eq!(deployment(&[&text]).edition, edition, "{image}");
        }
    }

    #[test]
    fn variables_are_filled_in_as_compose_does() {
        let variables =
            BTreeMap::from([("A", "1"), ("E", "")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        for (text, expected) in [
            ("x${A}y$A-$$A", Some("x1y1-$A")),
            ("${E:-d}${E-d}${N:-d}${N-d}${N}", Some("ddd")),
            ("${N:-}", Some("")),
            ("${A:?must}", None),
            ("${A", None),
            ("$", None),
            ("$ ", None),
            ("é$Aé", Some("é1é")),
        ] {
            assert_eq!(interpolate(text, &variables).as_deref(), expected, "{text}");
        }
        let long = BTreeMap::from([("A".to_owned(), "x".repeat(40_000))]);
        assert_eq!(interpolate("$A$A", &long), None);
    }

    #[test]
    fn the_version_stands_in_a_comment() {
        assert_eq!(
            version(b"#\n#    Openvidu Version: 2.32.1\n").as_deref(),
            Some("2.32.1")
        );
        assert_eq!(version(b"# Openvidu Version: 2 \x1b[0m\n"), None);
        assert_eq!(version(b"services:\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_filled_in_without_a_panic(text in "[a-zA${}:é-]{0,40}") {
            let variables = BTreeMap::from([("A".to_owned(), "é".to_owned())]);
            let _ = interpolate(&text, &variables);
            let _ = published(&text);
        }

        #[test]
        fn any_file_is_a_deployment_without_a_panic(
            text in "services:\n(  a:\n|    image: |    ports:\n|      - |x|1:2|\\$A|\n|    environment:\n|    volumes:\n){0,20}"
        ) {
            deployment(&[&text]);
        }
    }
}
