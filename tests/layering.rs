//! Dependencies between the folders of `src/` point downwards, side effects live where they may, and secrets are
//! compared in constant time.
//!
//! Reads the sources: no build, no dependency. What it looks at is what is compiled into the daemon: modules under
//! `#[cfg(test)]` may use anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each folder may use beside itself. Changing this table is an ADR, not a fix.
const MAY_USE: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("views", &["units"]),
    ("telemetry", &["units", "views"]),
    ("config", &["units"]),
    ("host", &["config"]),
    ("media/stun", &["units"]),
    ("media/sdp", &["units"]),
    ("media/rtp", &["units"]),
    ("media/net", &["units"]),
    ("media/turn", &["media/stun", "units", "views"]),
    (
        "media/plane",
        &["media/sdp", "media/turn", "units", "views"],
    ),
    (
        "media/transport",
        &["media/rtp", "media/sdp", "media/stun", "units"],
    ),
    ("media/sfu", &["media/rtp", "units", "views"]),
    (
        "media/recording",
        &["media/rtp", "telemetry", "units", "views"],
    ),
    ("media/worker", &["media", "telemetry", "units", "views"]),
    ("control/store", &["units", "views"]),
    ("control/access", &["units"]),
    (
        "control/session",
        &["control/access", "media/plane", "units", "views"],
    ),
    (
        "control/events",
        &[
            "control/session",
            "control/store",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "control/signalling",
        &[
            "control/access",
            "control/session",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "control/rest",
        &[
            "control/access",
            "control/session",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "front/proxy",
        &[
            "control/access",
            "control/store",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "front/dashboard",
        &[
            "control/access",
            "control/session",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "loadtest",
        &[
            "media/net",
            "media/rtp",
            "media/sdp",
            "media/stun",
            "media/transport",
            "telemetry",
            "units",
            "views",
        ],
    ),
    (
        "migration",
        &[
            "config",
            "control/store",
            "front/proxy",
            "host",
            "units",
            "views",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "control/store",
            "front/proxy",
            "loadtest",
            "migration",
            "telemetry",
            "units",
            "views",
        ],
    ),
];

/// Folders that may use everything. Only `main.rs` uses `daemon`; only tests use `testing`.
const EVERYTHING: &[&str] = &["daemon", "testing"];

/// Folders of folders: they hold nothing but their `mod.rs`, a table of contents.
const WINGS: &[&str] = &["control", "front", "media"];

/// Folders where I/O is what the code is about. Everywhere else it stands in `service.rs`, or under `service/`.
const IO_THROUGHOUT: &[&str] = &[
    "daemon",
    "host",
    "loadtest",
    "media/net",
    "media/worker",
    "testing",
];

/// Paths that stand for I/O, for tasks or for threads.
const IO: &[&[&str]] = &[
    &["tokio"],
    &["socket2"],
    &["quinn_udp"],
    &["rustix"],
    &["std", "fs"],
    &["std", "process", "Command"],
    &["std", "thread"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "UdpSocket"],
    &["std", "os", "unix", "net"],
];

/// Crates of the WebRTC family, and the folders that name them.
const WEBRTC: &[&str] = &["dimpl", "rtc_rtcp", "rtc_sdp", "rtc_shared"];
const MAY_USE_WEBRTC: &[&str] = &["media/rtp", "media/sdp", "media/transport", "testing"];

/// Folders where somebody who guesses could measure how long a comparison takes (robustness S12).
const GUESSED_AT: &[&str] = &[
    "control/access",
    "control/rest",
    "control/signalling",
    "daemon",
    "front/dashboard",
    "front/proxy",
    "media/stun",
    "media/transport",
    "media/turn",
    "units",
];

/// Words in the names of what is secret, or proves that somebody knows a secret.
const SECRETS: &[&str] = &[
    "credential",
    "digest",
    "expose",
    "guess",
    "integrity",
    "key",
    "mac",
    "nonce",
    "password",
    "pwd",
    "secret",
    "signature",
    "tag",
    "token",
];

/// What leaves a value what it is.
const CONVERSIONS: &[&str] = &[
    "as_bytes",
    "as_deref",
    "as_mut",
    "as_ref",
    "as_slice",
    "as_str",
    "bytes",
    "clone",
    "concat",
    "deref",
    "expose_secret",
    "into",
    "iter",
    "octets",
    "to_bytes",
    "to_owned",
    "to_string",
    "to_vec",
    "trim",
    "unwrap_or_default",
    "value",
];

/// Methods that stop at the first difference.
const VARIABLE_TIME: &[&str] = &["cmp", "contains", "ends_with", "eq", "ne", "starts_with"];

/// Comparisons whose operands only sound secret: file, name, why.
const NO_SECRETS: &[(&str, &str, &str)] = &[(
    "front/dashboard/asset.rs",
    "tag",
    "an entity tag of HTTP, which says which version of a file somebody has",
)];

/// Where secrets, codes and tags of messages are checked.
const CHECKS_SECRETS: &[&str] = &[
    "control/access/mod.rs",
    "media/stun/integrity.rs",
    "media/transport/identity.rs",
    "media/turn/nonce.rs",
    "media/turn/server/allocate.rs",
    "units/secret.rs",
    "units/turn_credential.rs",
];

#[test]
fn secrets_are_compared_in_constant_time() {
    let (mut wrong, mut seen, mut excused) = (Vec::new(), 0, BTreeSet::new());
    let sources = sources();
    for source in &sources {
        if !GUESSED_AT.contains(&source.folder.as_str()) {
            continue;
        }
        seen += source.comparisons.len();
        for comparison in &source.comparisons {
            let Some(name) = comparison.secret() else {
                continue;
            };
            let excuse = NO_SECRETS
                .iter()
                .position(|(file, excused, _)| source.file == *file && name == *excused);
            match excuse {
                Some(index) => drop(excused.insert(index)),
                None => wrong.push(format!(
                    "src/{}:{}: {name} belongs into ct_eq (subtle), or is no secret",
                    source.file, comparison.line
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 200, "only {seen} comparisons were seen");
    assert_eq!(excused.len(), NO_SECRETS.len(), "an excuse without a use");
    for file in CHECKS_SECRETS {
        let source = sources.iter().find(|source| source.file == *file);
        let source = source.unwrap_or_else(|| panic!("{file} is gone"));
        let is_careful = source.paths.iter().any(|path| {
            path.segments.first().is_some_and(|name| name == "subtle")
                && path
                    .segments
                    .last()
                    .is_some_and(|name| name == "ConstantTimeEq")
        });
        assert!(is_careful, "{file} checks secrets without subtle");
    }
}

#[test]
fn the_reader_of_sources_sees_every_form_of_a_comparison() {
    for (text, expected) in [
        ("if tag == expected {}", Some("tag")),
        (
            "if expected != self.tag(message, length).as_ref() {}",
            Some("tag"),
        ),
        ("x == &*user.password", Some("password")),
        ("self.expose().as_bytes() == guess", Some("expose")),
        ("a && known.passwords[0] == given", Some("passwords")),
        ("given.mac.eq(&ours)", Some("mac")),
        ("tokens.contains(&given)", Some("tokens")),
        ("reservation.token? == given", Some("token")),
        ("known.key.algorithm() == algorithm", None),
        ("password.len() == 3", None),
        ("self.check(nonce) == Freshness::Stale", None),
        ("offer == PASSWORD_ALGORITHMS", None),
        ("tag >= other && monkey == ape && x <= tag", None),
        ("tag.ct_eq(other)", None),
        ("match tag { a => b }", None),
        (
            "mod tests {} #[cfg(test)] mod inner { fn f() { tag == tag } }",
            None,
        ),
    ] {
        let read = read(text, &[]);
        let found = read.comparisons.iter().find_map(Comparison::secret);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn folders_use_only_what_lies_below_them() {
    let sources = sources();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for source in &sources {
        for path in &source.paths {
            let Some(used) = path.folder() else { continue };
            seen += usize::from(used != source.folder);
            if !may_use(&source.folder, &used) {
                wrong.push(format!(
                    "src/{}:{}: {} may not use {used} ({})",
                    source.file,
                    path.line,
                    source.folder,
                    path.segments.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 30, "only {seen} uses of other folders were seen");
}

#[test]
fn side_effects_live_where_they_may() {
    let mut wrong = Vec::new();
    for source in sources() {
        let is_service = source.file.ends_with("/service.rs") || source.file.contains("/service/");
        if is_service || source.folder.is_empty() || IO_THROUGHOUT.contains(&source.folder.as_str())
        {
            continue;
        }
        for path in &source.paths {
            let is_io = IO.iter().any(|io| {
                let mut segments = path.segments.iter().map(String::as_str);
                io.iter().all(|segment| segments.next() == Some(segment))
            });
            if is_io {
                wrong.push(format!(
                    "src/{}:{}: {} belongs into service.rs",
                    source.file,
                    path.line,
                    path.segments.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn webrtc_crates_are_named_in_few_folders() {
    let (mut wrong, mut right) = (Vec::new(), 0);
    for source in sources() {
        for path in &source.paths {
            let name = path.segments.first().map_or("", String::as_str);
            match (
                WEBRTC.contains(&name),
                MAY_USE_WEBRTC.contains(&source.folder.as_str()),
            ) {
                (true, true) => right += 1,
                (true, false) => wrong.push(format!("src/{}:{}: {name}", source.file, path.line)),
                (false, _) => {}
            }
        }
    }
    assert!(wrong.is_empty() && right > 0, "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_names_every_folder() {
    let src = src();
    let mut folders = BTreeSet::new();
    for folder in subfolders(&src) {
        if WINGS.contains(&folder.as_str()) {
            let wing = src.join(&folder);
            folders.extend(
                subfolders(&wing)
                    .into_iter()
                    .map(|inner| format!("{folder}/{inner}")),
            );
            for file in files(&wing) {
                let name = file.file_name().unwrap_or_default();
                assert_eq!(name, "mod.rs", "a wing holds folders: {}", file.display());
            }
        } else {
            folders.insert(folder);
        }
    }
    assert!(folders.contains("units") && folders.contains("media/sfu"));
    let named = |folder: &String| {
        EVERYTHING.contains(&folder.as_str()) || MAY_USE.iter().any(|(name, _)| name == folder)
    };
    let missing: Vec<_> = folders.iter().filter(|folder| !named(folder)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn the_table_points_downwards() {
    // Every folder uses only folders that stand above it in the table, so there are no circles.
    for (index, (folder, uses)) in MAY_USE.iter().enumerate() {
        for used in *uses {
            let below = MAY_USE.iter().position(|(name, _)| name == used);
            let is_wing = WINGS.contains(used);
            assert!(
                is_wing || below.is_some_and(|below| below < index),
                "{folder} uses {used}"
            );
        }
    }
}

#[test]
fn the_production_graph_holds_no_banned_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny = fs::read_to_string(root.join("deny.toml")).expect("deny.toml is there");
    let banned: BTreeSet<&str> = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(banned.len() > 10 && banned.contains("ring"), "{banned:?}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{errors}");
    let tree = String::from_utf8_lossy(&tree.stdout);
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(crates.contains("rustls") && crates.contains("aws-lc-rs"));
    let found: Vec<_> = crates.intersection(&banned).collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
}

#[test]
fn the_reader_of_sources_sees_every_form_of_a_path() {
    let text = r####"
        use crate::media::{self, plane::{Command, Event as E}, sdp};
        use super::beside; // use crate::comment;
        /* crate::block /* crate::nested */ */
        pub use self::inner::Thing;
        const A: &str = "crate::string \" still"; const B: &str = r#"crate::"raw""#;
        fn f<'a>(c: char) -> crate::units::Bitrate { if c == '"' { ::std::fs::read() } else { tokio::spawn() } }
        pub(in super::super) struct S;
        mod inline { use super::super::up; use super::{deep::Deeper}; }
        #[cfg(test)]
        mod tests { use crate::front::hidden; fn g() { loop { crate::front::hidden() } } }
        #[cfg(any(test, feature = "testing"))]
        pub mod scenes;
        #[cfg(not(test))]
        use crate::views::openvidu;
        use crate::*;
    "####;
    let read = read(text, &["media".to_owned(), "net".to_owned()]);
    let paths: Vec<String> = read
        .paths
        .iter()
        .map(|path| path.segments.join("::"))
        .collect();
    for expected in [
        "crate::media",
        "crate::media::plane::Command",
        "crate::media::plane::Event",
        "crate::media::sdp",
        "crate::media::beside",
        "crate::media::net::inner::Thing",
        "crate::units::Bitrate",
        "std::fs::read",
        "tokio::spawn",
        "crate::media::up",
        "crate::media::net::deep::Deeper",
        "crate::views::openvidu",
        "crate",
    ] {
        assert!(
            paths.iter().any(|path| path == expected),
            "{expected} in {paths:#?}"
        );
    }
    for hidden in ["comment", "block", "nested", "string", "raw", "hidden"] {
        assert!(!paths.iter().any(|path| path.contains(hidden)), "{hidden}");
    }
    assert_eq!(read.test_modules, ["scenes"]);
}

#[test]
fn the_rules_refuse_what_they_should() {
    assert!(may_use("media/sfu", "media/sfu"));
    assert!(may_use("media/sfu", "media/rtp"));
    assert!(!may_use("media/sfu", "media/transport"));
    assert!(may_use("media/worker", "media/transport"));
    assert!(!may_use("control/session", "control/rest"));
    assert!(!may_use("control/session", "media"));
    assert!(!may_use("cli", "daemon"));
    assert!(!may_use("config", "testing"));
    assert!(may_use("daemon", "front/proxy"));
    assert!(may_use("media", "media/net"));
    assert!(!may_use("media", "units/x"));
}

/// Whether a file of `folder` may use the folder `used`. The crate's root, `""`, is `main.rs` and `lib.rs`.
fn may_use(folder: &str, used: &str) -> bool {
    if folder == used || folder.is_empty() || EVERYTHING.contains(&folder) {
        return true;
    }
    let covers = |allowed: &str| used == allowed || used.starts_with(&format!("{allowed}/"));
    if WINGS.contains(&folder) {
        return covers(folder);
    }
    let mut table = MAY_USE.iter().filter(|(name, _)| *name == folder);
    table.any(|(_, uses)| uses.iter().any(|allowed| covers(allowed)))
}

/// A file that is compiled into the daemon.
struct Source {
    /// Relative to `src/`.
    file: String,
    /// The folder of the table that it belongs to; empty for `main.rs` and `lib.rs`.
    folder: String,
    paths: Vec<UsedPath>,
    comparisons: Vec<Comparison>,
}

/// Two operands that `==`, `!=` or a method compares: the last names in them that stand for a value.
struct Comparison {
    line: usize,
    operands: [Option<String>; 2],
}

impl Comparison {
    /// The operand whose name says that it is secret. What is compared with a variant or a constant is public.
    fn secret(&self) -> Option<&str> {
        let mut names = self.operands.iter().flatten();
        if names.any(|name| name.starts_with(char::is_uppercase)) {
            return None;
        }
        let is_secret = |name: &&String| {
            let mut words = name.split('_');
            words.any(|word| {
                SECRETS.contains(&word) || SECRETS.contains(&word.trim_end_matches('s'))
            })
        };
        self.operands
            .iter()
            .flatten()
            .find(is_secret)
            .map(String::as_str)
    }
}

/// A path that begins with `crate` (also where it was written with `self` or `super`) or with a crate's name.
struct UsedPath {
    line: usize,
    segments: Vec<String>,
}

impl UsedPath {
    /// The folder of this crate that it leads to, if it leads to one.
    fn folder(&self) -> Option<String> {
        let mut segments = self.segments.iter().map(String::as_str);
        if !matches!(segments.next(), Some("crate" | "hanok")) {
            return None;
        }
        let first = segments.next()?;
        if !src().join(first).is_dir() {
            // An item of the crate's root.
            return None;
        }
        match segments.next() {
            Some(second) if WINGS.contains(&first) && src().join(first).join(second).is_dir() => {
                Some(format!("{first}/{second}"))
            }
            _ => Some(first.to_owned()),
        }
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the repository can be listed");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .collect();
    paths.sort();
    paths
}

fn files(folder: &Path) -> Vec<PathBuf> {
    entries(folder)
        .into_iter()
        .filter(|path| path.is_file())
        .collect()
}

/// Subfolders that hold Rust: `ui/` and `call/` of the dashboard hold TypeScript.
fn subfolders(folder: &Path) -> Vec<String> {
    entries(folder)
        .into_iter()
        .filter(|path| path.is_dir() && holds_rust(path))
        .map(|path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

fn holds_rust(folder: &Path) -> bool {
    files(folder)
        .iter()
        .any(|file| file.extension().is_some_and(|extension| extension == "rs"))
}

/// Every source file that is no test module.
fn sources() -> Vec<Source> {
    let src = src();
    let (mut sources, mut tests) = (Vec::new(), Vec::new());
    let mut pending = vec![src.clone()];
    while let Some(folder) = pending.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let file = path.strip_prefix(&src).expect("it lies in src");
            let file = file.to_string_lossy().into_owned();
            let module = module_of(&file);
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let read = read(&text, &module);
            let below = module.join("/");
            tests.extend(read.test_modules.iter().map(|name| match below.as_str() {
                "" => name.clone(),
                _ => format!("{below}/{name}"),
            }));
            sources.push(Source {
                folder: folder_of(&module),
                file,
                paths: read.paths,
                comparisons: read.comparisons,
            });
        }
    }
    sources.retain(|source| {
        let module = module_of(&source.file).join("/");
        !tests
            .iter()
            .any(|test| module == *test || module.starts_with(&format!("{test}/")))
    });
    assert!(sources.len() > 20, "only {} sources", sources.len());
    sources
}

/// The module path of a file: `media/net/udp.rs` is `media`, `net`, `udp`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    module
}

fn folder_of(module: &[String]) -> String {
    match module {
        [] => String::new(),
        [wing, folder, ..] if WINGS.contains(&wing.as_str()) => format!("{wing}/{folder}"),
        [folder, ..] => folder.clone(),
    }
}

/// What was read from one file.
struct Read {
    paths: Vec<UsedPath>,
    comparisons: Vec<Comparison>,
    /// Modules in files of their own that exist for tests only.
    test_modules: Vec<String>,
}

/// Reads a file's text; `module` is where it stands in the crate.
fn read(text: &str, module: &[String]) -> Read {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        module: module.to_vec(),
        depth: 0,
        open_modules: Vec::new(),
        for_tests: false,
        read: Read {
            paths: Vec::new(),
            comparisons: Vec::new(),
            test_modules: Vec::new(),
        },
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.read
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    depth: usize,
    /// The brace depth inside each inline module that is open.
    open_modules: Vec<usize>,
    /// The attributes so far say `cfg(test)`.
    for_tests: bool,
    read: Read,
}

impl Reader<'_> {
    fn word(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text.as_str())
    }

    fn step(&mut self) {
        match self.word(0) {
            "{" => {
                self.depth += 1;
                self.at += 1;
            }
            "}" => {
                if self.open_modules.last() == Some(&self.depth) {
                    self.open_modules.pop();
                    self.module.pop();
                }
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
            }
            "#" if self.word(1) == "[" => self.attribute(),
            "mod" if is_name(self.word(1)) => self.module_item(),
            "=" | "!" if self.word(1) == "=" => self.comparison(2),
            "." if VARIABLE_TIME.contains(&self.word(1)) && self.word(2) == "(" => {
                self.comparison(3);
            }
            word if is_name(word) || word == "::" => self.path_or_word(),
            _ => self.at += 1,
        }
    }

    /// A comparison by a sign, or by a method and its bracket, of so many tokens.
    fn comparison(&mut self, length: usize) {
        let operands = [
            self.operand_before(self.at),
            self.operand_behind(self.at + length),
        ];
        self.read.comparisons.push(Comparison {
            line: self.tokens[self.at].line,
            operands,
        });
        // What stands behind is read as everything else.
        self.at += length;
    }

    fn operand_before(&self, end: usize) -> Option<String> {
        let mut at = end.checked_sub(1)?;
        loop {
            match self.tokens.get(at)?.text.as_str() {
                ")" => at = self.opening(at, "(", ")")?.checked_sub(1)?,
                "]" => at = self.opening(at, "[", "]")?.checked_sub(1)?,
                "?" => at = at.checked_sub(1)?,
                // The dot in front of it is skipped as well.
                word if CONVERSIONS.contains(&word) => at = at.checked_sub(2)?,
                word if is_name(word) => return Some(word.to_owned()),
                _ => return None,
            }
        }
    }

    fn operand_behind(&self, start: usize) -> Option<String> {
        let text = |at: usize| self.tokens.get(at).map_or("", |token| token.text.as_str());
        let (mut at, mut found) = (start, None);
        while matches!(text(at), "&" | "*" | "!" | "mut") {
            at += 1;
        }
        while is_name(text(at)) {
            if !CONVERSIONS.contains(&text(at)) {
                found = Some(text(at).to_owned());
            }
            at += 1;
            loop {
                at = match text(at) {
                    "(" => self.closing_from(at, "(", ")"),
                    "[" => self.closing_from(at, "[", "]"),
                    "?" => at + 1,
                    _ => break,
                };
            }
            if !matches!(text(at), "." | "::") {
                break;
            }
            at += 1;
        }
        found
    }

    /// The position of the bracket that `close`, which stands at `end`, closes.
    fn opening(&self, end: usize, open: &str, close: &str) -> Option<usize> {
        let mut depth = 0_usize;
        for at in (0..=end).rev() {
            let text = &self.tokens.get(at)?.text;
            if text == close {
                depth += 1;
            } else if text == open {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        None
    }

    fn attribute(&mut self) {
        let end = self.closing("[", "]");
        let words: Vec<&str> = (0..end - self.at).map(|ahead| self.word(ahead)).collect();
        let negated = words.windows(3).any(|three| three == ["not", "(", "test"]);
        if words.get(2) == Some(&"cfg") && words.contains(&"test") && !negated {
            self.for_tests = true;
        }
        // What an attribute's macro needs is not what the code does.
        self.at = end;
    }

    fn module_item(&mut self) {
        let name = self.word(1).to_owned();
        let for_tests = std::mem::take(&mut self.for_tests);
        match (self.word(2), for_tests) {
            (";", true) => self.read.test_modules.push(name),
            ("{", true) => {
                self.at += 2;
                self.at = self.closing("{", "}");
                return;
            }
            ("{", false) => {
                self.at += 3;
                self.depth += 1;
                self.open_modules.push(self.depth);
                self.module.push(name);
                return;
            }
            _ => {}
        }
        self.at += 3;
    }

    /// The position behind the bracket that closes the first `open` from here on.
    fn closing(&self, open: &str, close: &str) -> usize {
        self.closing_from(self.at, open, close)
    }

    fn closing_from(&self, start: usize, open: &str, close: &str) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(start) {
            if token.text == open {
                depth += 1;
            } else if token.text == close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
        }
        self.tokens.len()
    }

    fn path_or_word(&mut self) {
        let line = self.tokens[self.at].line;
        let leading = self.word(0) == "::";
        let before = self
            .at
            .checked_sub(1)
            .map_or("", |at| self.tokens[at].text.as_str());
        if leading {
            self.at += 1;
            if !is_name(self.word(0)) {
                return;
            }
        }
        let first = self.word(0).to_owned();
        if !matches!(
            first.as_str(),
            "pub" | "crate" | "in" | "super" | "self" | "("
        ) {
            // Whatever item the attributes stood before, it is here.
            self.for_tests &= matches!(first.as_str(), "mod" | "unsafe");
        }
        // `pub(crate)` and `pub(in path)` grant, they do not use.
        let is_visibility = before == "in"
            || (before == "(" && self.word(1) == ")" && self.at >= 2 && {
                self.tokens[self.at - 2].text == "pub"
            });
        let mut found = Vec::new();
        self.tree(&mut Vec::new(), &mut found);
        if is_visibility {
            return;
        }
        for segments in found {
            let Some(segments) = self.resolve(segments) else {
                continue;
            };
            self.read.paths.push(UsedPath { line, segments });
        }
    }

    /// Reads a path with its groups, from the name that stands here.
    fn tree(&mut self, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let length = prefix.len();
        loop {
            match self.word(0) {
                "{" => {
                    let end = self.closing("{", "}");
                    self.at += 1;
                    while self.at + 1 < end {
                        let before = self.at;
                        self.tree(prefix, found);
                        if self.word(0) == "as" {
                            self.at += 2;
                        }
                        if self.word(0) == "," {
                            self.at += 1;
                        }
                        // Whatever this is, it is not skipped for ever.
                        self.at = self.at.max(before + 1);
                    }
                    self.at = end;
                    break;
                }
                "*" if !prefix.is_empty() => {
                    self.at += 1;
                    found.push(prefix.clone());
                    break;
                }
                "self" if prefix.len() > length || !prefix.is_empty() => {
                    self.at += 1;
                    found.push(prefix.clone());
                    break;
                }
                word if is_name(word) => {
                    prefix.push(word.to_owned());
                    self.at += 1;
                    let goes_on = self.word(0) == "::"
                        && (is_name(self.word(1)) || matches!(self.word(1), "{" | "*"));
                    if goes_on {
                        self.at += 1;
                    } else {
                        found.push(prefix.clone());
                        break;
                    }
                }
                _ => break,
            }
        }
        prefix.truncate(length);
    }

    /// Makes `self` and `super` absolute; `None` for a lone word, which is a name and no path.
    fn resolve(&self, segments: Vec<String>) -> Option<Vec<String>> {
        let first = segments.first()?.as_str();
        if first != "self" && first != "super" {
            return (segments.len() > 1 || first == "crate").then_some(segments);
        }
        let mut absolute = vec!["crate".to_owned()];
        absolute.extend(self.module.iter().cloned());
        let mut rest = segments.as_slice();
        if first == "self" {
            rest = &rest[1..];
            if rest.is_empty() {
                return None;
            }
        }
        while let [step, after @ ..] = rest
            && step == "super"
        {
            if absolute.len() > 1 {
                absolute.pop();
            }
            rest = after;
        }
        absolute.extend_from_slice(rest);
        Some(absolute)
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && word != "_"
}

struct Token {
    line: usize,
    text: String,
}

/// Splits Rust into names, `::` and single signs, without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    let (mut tokens, mut index, mut line) = (Vec::new(), 0, 1);
    while index < bytes.len() {
        let start = index;
        match at(index) {
            b'/' if at(index + 1) == b'/' => {
                while index < bytes.len() && at(index) != b'\n' {
                    index += 1;
                }
            }
            b'/' if at(index + 1) == b'*' => {
                let mut depth = 0;
                loop {
                    match (at(index), at(index + 1)) {
                        (b'/', b'*') => (depth, index) = (depth + 1, index + 2),
                        (b'*', b'/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 || index >= bytes.len() {
                        break;
                    }
                }
            }
            b'"' => index = string_end(bytes, index),
            b'r' | b'b' | b'c' if raw_hashes(bytes, index).is_some() => {
                let (quote, hashes) = raw_hashes(bytes, index).unwrap_or_default();
                let close = format!("\"{}", "#".repeat(hashes));
                let body = text.get(quote + 1..).unwrap_or_default();
                index = quote
                    + 1
                    + body
                        .find(&close)
                        .map_or(body.len(), |end| end + close.len());
            }
            b'\'' => {
                // A character, or a lifetime: `'a'` and `'\''` against `'a`.
                index += 1;
                if at(index) == b'\\' {
                    index += 2;
                    while index < bytes.len() && at(index) != b'\'' {
                        index += 1;
                    }
                    index += 1;
                } else {
                    let character = text.get(index..).and_then(|rest| rest.chars().next());
                    let length = character.map_or(1, char::len_utf8);
                    if at(index + length) == b'\'' {
                        index += length + 1;
                    } else {
                        while at(index).is_ascii_alphanumeric() || at(index) == b'_' {
                            index += 1;
                        }
                    }
                }
            }
            b':' if at(index + 1) == b':' => {
                index += 2;
                tokens.push(Token {
                    line,
                    text: "::".to_owned(),
                });
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii() => {
                while at(index).is_ascii_alphanumeric()
                    || at(index) == b'_'
                    || !at(index).is_ascii()
                {
                    index += 1;
                }
                tokens.push(Token {
                    line,
                    text: text[start..index].to_owned(),
                });
            }
            byte => {
                index += 1;
                if !byte.is_ascii_whitespace() {
                    tokens.push(Token {
                        line,
                        text: char::from(byte).to_string(),
                    });
                }
            }
        }
        let end = index.min(bytes.len());
        line += bytes[start..end]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
    }
    tokens
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut index = start + 1;
    while let Some(byte) = bytes.get(index) {
        match byte {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    index
}

/// Where a raw string's opening quote is, and how many hashes it has.
fn raw_hashes(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut index = start;
    if bytes.get(index) != Some(&b'r') {
        index += 1;
    }
    if bytes.get(index) != Some(&b'r') {
        return None;
    }
    let hashes = bytes[index + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let quote = index + 1 + hashes;
    (bytes.get(quote) == Some(&b'"')).then_some((quote, hashes))
}
