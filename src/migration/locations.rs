//! What the operator's own nginx files mean: routes of `HANOK_PROXY_ROUTES`, or a quotation and what to do about it.
//!
//! OpenVidu's proxy puts `custom-nginx-locations/*.conf` into its HTTPS server and reads `custom-nginx-vhosts/*.conf`
//! beside it (`openvidu-deployment` section 6.5). A location becomes a route only if **every** directive in it is known
//! to change nothing that counts: one that restricts access must never become one that does not.

use std::collections::BTreeMap;
use std::path::Path;

use super::nginx::{self, Directive};
use super::report::Note;
use crate::config::report::shown;
use crate::config::validate;
use crate::front::proxy::routes::{Destination, Entrance, Origin, destination};

/// What was found in all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// What `HANOK_PROXY_ROUTES` has to say, in the order of the files.
    pub routes: Vec<Route>,
    /// What it cannot say.
    pub notes: Vec<Note>,
}

/// A location that has an equivalent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `FILE:LINE`.
    pub place: String,
    /// The path prefix.
    pub path: String,
    /// An origin or a folder.
    pub target: String,
}

impl Read {
    /// The value of `HANOK_PROXY_ROUTES`.
    pub fn value(&self) -> String {
        let pairs = self.routes.iter();
        let pairs: Vec<_> = pairs
            .map(|route| format!("{}={}", route.path, route.target))
            .collect();
        pairs.join(",")
    }
}

/// Where the proxy's files stand in its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Inside the HTTPS server.
    Locations,
    /// Beside it.
    VirtualHosts,
}

/// Folders of this machine as the proxy's container sees them: `(in the container, here)`.
pub type Mounts = [(String, String)];

/// Reads all files, given as their name and content.
pub fn read<'a>(
    files: impl IntoIterator<Item = (Kind, &'a Path, &'a [u8])>,
    mounts: &Mounts,
) -> Read {
    let mut reader = Reader {
        file: String::new(),
        mounts,
        upstreams: BTreeMap::from(
            [
                ("yourapp", "localhost:5442"),
                ("openviduserver", "localhost:5443"),
            ]
            .map(|(name, server)| (name.to_owned(), Some(server.to_owned()))),
        ),
        read: Read::default(),
    };
    let mut parsed = Vec::new();
    for (kind, path, bytes) in files {
        reader.file = path.display().to_string();
        match nginx::parse(bytes) {
            Ok(directives) => {
                reader.take_upstreams(&directives);
                parsed.push((kind, reader.file.clone(), directives));
            }
            Err(error) => reader.read.notes.push(Note::action(
                reader.file.clone(),
                format!("cannot be read as nginx's configuration ({error}): what it does is lost"),
            )),
        }
    }
    // nginx does not care which file an upstream stands in.
    for (kind, file, directives) in parsed {
        reader.file = file;
        for directive in &directives {
            match kind {
                Kind::Locations => reader.in_server(directive),
                Kind::VirtualHosts => reader.beside_server(directive),
            }
        }
    }
    reader.read
}

/// Directives that hanok does by itself, or that tune what it does otherwise, and that nothing depends on.
const WITHOUT_CONSEQUENCE: [&str; 39] = [
    "access_log",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_buffer_size",
    "error_log",
    "gzip",
    "gzip_comp_level",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_types",
    "gzip_vary",
    "keepalive_timeout",
    "large_client_header_buffers",
    "log_format",
    "log_not_found",
    "map_hash_bucket_size",
    "open_file_cache",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_cache_bypass",
    "proxy_connect_timeout",
    "proxy_headers_hash_bucket_size",
    "proxy_headers_hash_max_size",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_no_cache",
    "proxy_read_timeout",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "proxy_socket_keepalive",
    "proxy_ssl_server_name",
    "send_timeout",
    "sendfile",
    "server_tokens",
    "tcp_nodelay",
    "tcp_nopush",
];

/// Header lines that hanok sends to every application anyway.
const HEADERS: [(&str, &[&str]); 10] = [
    (
        "host",
        &["$host", "$http_host", "$server_name", "$host:$server_port"],
    ),
    ("x-real-ip", &["$remote_addr"]),
    (
        "x-forwarded-for",
        &["$proxy_add_x_forwarded_for", "$remote_addr"],
    ),
    ("x-forwarded-proto", &["$scheme", "https"]),
    (
        "x-forwarded-host",
        &["$host", "$http_host", "$host:$server_port"],
    ),
    ("x-forwarded-ssl", &["on"]),
    ("x-nginx-proxy", &["true"]),
    ("upgrade", &["$http_upgrade"]),
    (
        "connection",
        &[
            "upgrade",
            "Upgrade",
            "$connection_upgrade",
            "$http_connection",
            "keep-alive",
            "",
        ],
    ),
    ("accept-encoding", &["", "$http_accept_encoding"]),
];

/// The largest body that hanok takes, as OpenVidu's proxy.
const BODY_LIMIT_MIB: u64 = 200;

struct Reader<'a> {
    file: String,
    mounts: &'a Mounts,
    /// Upstream blocks; `None` for those with more than one server.
    upstreams: BTreeMap<String, Option<String>>,
    read: Read,
}

/// What keeps a location from becoming a route.
struct Obstacle {
    line: usize,
    directive: String,
    what_to_do: String,
}

impl Reader<'_> {
    fn take_upstreams(&mut self, directives: &[Directive]) {
        for directive in directives {
            let (Some(block), Some(name)) = (&directive.block, directive.words.first()) else {
                continue;
            };
            if directive.name != "upstream" {
                continue;
            }
            let mut servers = block.iter().filter(|it| it.name == "server");
            let only = servers.next().filter(|_| servers.next().is_none());
            let server = only.and_then(|server| server.words.first().cloned());
            self.upstreams.insert(name.clone(), server);
        }
    }

    /// A directive of `custom-nginx-locations`.
    fn in_server(&mut self, directive: &Directive) {
        if directive.name == "location" {
            match self.route(directive) {
                Ok((path, target)) => self.take_route(directive, path, target),
                Err(obstacle) => self.quote(directive, &obstacle),
            }
        } else if let Err(obstacle) = self.without_consequence(directive) {
            self.quote(directive, &obstacle);
        }
    }

    /// A directive of `custom-nginx-vhosts`.
    fn beside_server(&mut self, directive: &Directive) {
        match directive.name.as_str() {
            "upstream" | "map" => {}
            "server" => {
                let names = directive.block.iter().flatten();
                let names = names.filter(|it| it.name == "server_name");
                let names: Vec<_> = names.flat_map(|it| it.words.iter().cloned()).collect();
                let of = match names.as_slice() {
                    [] => String::new(),
                    names => format!(" of {}", shortened(&names.join(", "))),
                };
                let what = format!(
                    "a virtual host{of}: hanok serves DOMAIN_OR_PUBLIC_IP alone. Keep an nginx of your own for both (HANOK_FRONT=off; \
                     it passes /openvidu and /dashboard to http://127.0.0.1:5443), or give that name another machine"
                );
                self.note(directive.line, what);
            }
            _ => {
                if let Err(obstacle) = self.without_consequence(directive) {
                    self.quote(directive, &obstacle);
                }
            }
        }
    }

    fn take_route(&mut self, directive: &Directive, path: String, target: String) {
        let place = self.place(directive.line);
        if self.read.routes.iter().any(|route| route.path == path) {
            let what = format!("{path} has a route already: the first one counts");
            self.read.notes.push(Note::action(place, what));
            return;
        }
        self.read.routes.push(Route {
            place,
            path,
            target,
        });
    }

    /// The route that does what this location does.
    fn route(&self, location: &Directive) -> Result<(String, String), Obstacle> {
        let path = self.path(location)?;
        if destination(Entrance::Https, &path) != Destination::Elsewhere {
            let what = "hanok answers this path itself, before any route";
            return Err(obstacle(location, what));
        }
        let mut target = None;
        let mut obstacle_found = None;
        for directive in location.block.iter().flatten() {
            let found = match directive.name.as_str() {
                "proxy_pass" => self.upstream(directive, &path).map(Some),
                "alias" => self.folder(directive, None).map(Some),
                "root" => self.folder(directive, Some(&path)).map(Some),
                _ => self.without_consequence(directive).map(|()| None),
            };
            match found {
                Ok(Some(found)) => target = Some(found),
                Ok(None) => {}
                // The first one is told.
                Err(obstacle) => obstacle_found = obstacle_found.or(Some(obstacle)),
            }
        }
        if let Some(mut obstacle) = obstacle_found {
            if let Some(target) = &target {
                let nearest =
                    format!(". Without it, {path}={target} in HANOK_PROXY_ROUTES is the same");
                obstacle.what_to_do.push_str(&nearest);
            }
            return Err(obstacle);
        }
        let nothing = "nothing in it says where requests go";
        let target = target.ok_or_else(|| obstacle(location, nothing))?;
        // What is written must be what is read.
        match validate::routes(&format!("{path}={target}")).as_deref() {
            Ok([_]) => Ok((path, target)),
            Ok(_) | Err(_) => Err(obstacle(
                location,
                "HANOK_PROXY_ROUTES has no way to write this",
            )),
        }
    }

    /// The prefix of the paths that a location is for.
    fn path(&self, location: &Directive) -> Result<String, Obstacle> {
        let (modifier, pattern) = match location.words.as_slice() {
            [pattern] => ["^~", "~*", "=", "~"]
                .into_iter()
                .find_map(|modifier| Some((modifier, pattern.strip_prefix(modifier)?)))
                .unwrap_or(("", pattern.as_str())),
            [modifier, pattern] => (modifier.as_str(), pattern.as_str()),
            _ => return Err(obstacle(location, "it has no path")),
        };
        let is_plain = |path: &str| {
            let forbidden =
                |c: char| c.is_whitespace() || c.is_control() || "$%=,\\*?\"'".contains(c);
            path.starts_with('/') && !path.contains(forbidden)
        };
        let path = match modifier {
            "" | "^~" => Some(pattern.to_owned()),
            "~" => literal_prefix(pattern),
            "=" => {
                let what = "it is for this one path, and a route is for everything below, too: let the application answer it, or write the \
                            route if it may";
                return Err(obstacle(location, what));
            }
            _ => None,
        };
        path.filter(|path| is_plain(path)).ok_or_else(|| {
            obstacle(
                location,
                "a route is for a path and everything below it, never for a pattern: write the paths one by one, or let the application \
                 sort them",
            )
        })
    }

    /// The origin of a `proxy_pass` that leaves the path as it is.
    fn upstream(&self, directive: &Directive, path: &str) -> Result<String, Obstacle> {
        let url = directive.word().unwrap_or_default();
        let parts = url
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].contains(scheme) && !url.contains('$'));
        let Some((scheme, rest)) = parts else {
            let what = "hanok sends requests to http://HOST:PORT or https://HOST:PORT";
            return Err(obstacle(directive, what));
        };
        let (authority, uri) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !uri.is_empty() && uri != path {
            let what = format!(
                "it changes the path ({path} becomes {}), and hanok passes paths as they are: let the application answer below {path}, or keep \
                 an nginx of your own",
                shortened(uri)
            );
            return Err(obstacle(directive, &what));
        }
        let authority = match self.upstreams.get(authority) {
            None => authority,
            Some(Some(server)) => server,
            Some(None) => {
                let what = "hanok shares no requests between several servers: name one of them";
                return Err(obstacle(directive, what));
            }
        };
        let origin: Result<Origin, _> = format!("{scheme}://{authority}").parse();
        match origin {
            Ok(origin) => Ok(origin.to_string()),
            Err(error) => {
                let what = format!("{} {error}", shortened(url));
                Err(obstacle(directive, &what))
            }
        }
    }

    /// The folder of this machine that an `alias`, or a `root` with the location's path, names.
    fn folder(&self, directive: &Directive, below: Option<&str>) -> Result<String, Obstacle> {
        let named = directive
            .word()
            .filter(|word| word.starts_with('/') && !word.contains('$'));
        let Some(named) = named else {
            return Err(obstacle(directive, "it names no folder by its whole path"));
        };
        let inside = match below {
            Some(path) => format!("{}{path}", named.trim_end_matches('/')),
            None => named.to_owned(),
        };
        let inside = inside.trim_end_matches('/');
        let is_below = |place: &str| {
            let place = place.trim_end_matches('/');
            let rest = inside.strip_prefix(place)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((place.len(), rest.to_owned()))
        };
        let here = self
            .mounts
            .iter()
            .filter_map(|(container, here)| Some((is_below(container)?, here)))
            .max_by_key(|((length, _), _)| *length);
        match here {
            Some(((_, rest), here)) if !inside.contains("/..") => {
                Ok(format!("{}{rest}", here.trim_end_matches('/')))
            }
            Some(_) | None => {
                let what = format!(
                    "{} lies in the proxy's container, not on this machine: copy it out (docker cp) and write PATH=/FOLDER into \
                     HANOK_PROXY_ROUTES",
                    shortened(inside)
                );
                Err(obstacle(directive, &what))
            }
        }
    }

    /// Whether nothing is lost without this directive.
    fn without_consequence(&self, directive: &Directive) -> Result<(), Obstacle> {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        let what = match (directive.name.as_str(), words.as_slice()) {
            (name, _) if directive.block.is_none() && WITHOUT_CONSEQUENCE.contains(&name) => {
                return Ok(());
            }
            ("proxy_redirect", ["off" | "default"]) | ("proxy_ssl_verify", ["on"]) => return Ok(()),
            ("index", ["index.html", ..]) => return Ok(()),
            ("try_files", words) if words.iter().all(|word| is_fallback(word)) => return Ok(()),
            ("proxy_set_header", [name, value]) if is_sent_anyway(name, value) => return Ok(()),
            ("client_max_body_size", [size])
                if mebibytes(size).is_some_and(|size| (1..=BODY_LIMIT_MIB).contains(&size)) =>
            {
                return Ok(());
            }
            ("client_max_body_size", _) => "hanok takes bodies of at most 200 MiB",
            ("proxy_set_header", _) => {
                "hanok sends Host, X-Real-IP and X-Forwarded-* and no header line of your own: let the application do without"
            }
            ("proxy_ssl_verify", _) => {
                "hanok checks the certificate of every https upstream that is not on this machine"
            }
            ("add_header" | "expires", _) => "let the application send this header line",
            ("allow" | "deny" | "satisfy", _) => {
                "hanok restricts the dashboard and the REST API (ALLOWED_ACCESS_TO_…), not your own paths: let the application or the firewall do it"
            }
            ("auth_basic" | "auth_basic_user_file" | "auth_request", _) => {
                "let the application ask who it is"
            }
            ("return", _) => "let the application answer so",
            ("rewrite" | "sub_filter", _) => {
                "hanok passes paths and bodies as they are: let the application do it, or keep an nginx of your own"
            }
            ("error_page", _) => {
                "put the page into a folder as 404.html or 50x.html and name that in HANOK_ERROR_PAGES"
            }
            ("include", _) => {
                "files that are included from here are not looked at: see what it says"
            }
            ("limit_req" | "limit_req_zone" | "limit_conn" | "limit_conn_zone", _) => {
                "hanok has limits of its own; let the application have further ones"
            }
            _ => "hanok has nothing like it: see whether the application does without",
        };
        Err(obstacle(directive, what))
    }

    fn quote(&mut self, directive: &Directive, obstacle: &Obstacle) {
        let what = if directive.line == obstacle.line && quoted(directive) == obstacle.directive {
            format!(
                "`{}` is not carried over: {}",
                obstacle.directive, obstacle.what_to_do
            )
        } else {
            format!(
                "`{}` is not carried over because of `{}` in line {}: {}",
                quoted(directive),
                obstacle.directive,
                obstacle.line,
                obstacle.what_to_do
            )
        };
        self.note(directive.line, what);
    }

    fn note(&mut self, line: usize, what: String) {
        self.read.notes.push(Note::action(self.place(line), what));
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.file)
    }
}

fn obstacle(directive: &Directive, what_to_do: &str) -> Obstacle {
    Obstacle {
        line: directive.line,
        directive: quoted(directive),
        what_to_do: what_to_do.to_owned(),
    }
}

/// A directive as it may be shown: header lines, variables and passwords keep their values to themselves.
fn quoted(directive: &Directive) -> String {
    const KEEPS_TO_ITSELF: [&str; 6] = [
        "proxy_set_header",
        "add_header",
        "set",
        "return",
        "if",
        "map",
    ];
    let name = directive.name.as_str();
    let shown_words = match name {
        _ if KEEPS_TO_ITSELF.contains(&name)
            || name.contains("param")
            || name.contains("password") =>
        {
            1
        }
        _ => directive.words.len(),
    };
    let mut text = name.to_owned();
    for word in directive.words.iter().take(shown_words) {
        text.push(' ');
        text.push_str(word);
    }
    if shown_words < directive.words.len() {
        text.push_str(" …");
    }
    shortened(&text)
}

/// At most 80 characters in one line, without the credentials of a URL.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    let text = shown(text, false);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The path prefix that a regular expression stands for: `^/path`, and behind it nothing but "whatever follows".
fn literal_prefix(pattern: &str) -> Option<String> {
    let literal = pattern.strip_prefix('^')?;
    let literal = ["(.*)$", "(.*)", ".*$", ".*"]
        .into_iter()
        .find_map(|rest| literal.strip_suffix(rest))
        .unwrap_or(literal);
    let ends_a_segment = literal.ends_with('/');
    let is_literal = |c: char| c.is_ascii_alphanumeric() || "/-_".contains(c);
    (ends_a_segment && literal.chars().all(is_literal)).then(|| literal.to_owned())
}

/// A word of `try_files` that hanok's folders do: the file, the folder's index, the page of a single-page application.
fn is_fallback(word: &str) -> bool {
    ["$uri", "$uri/", "=404"].contains(&word) || word.ends_with("/index.html")
}

fn is_sent_anyway(name: &str, value: &str) -> bool {
    HEADERS
        .iter()
        .any(|(header, values)| name.eq_ignore_ascii_case(header) && values.contains(&value))
}

/// nginx's sizes in MiB, rounded up; 0 is unlimited there and nothing here.
fn mebibytes(size: &str) -> Option<u64> {
    let (digits, unit) = match size.char_indices().next_back()? {
        (at, 'k' | 'K') => (size.get(..at)?, 1 << 10),
        (at, 'm' | 'M') => (size.get(..at)?, 1 << 20),
        (at, 'g' | 'G') => (size.get(..at)?, 1 << 30),
        _ => (size, 1_u64),
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (bytes > 0).then(|| bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn read_kind(kind: Kind, text: &str) -> Read {
        let path = PathBuf::from("my.conf");
        let mounts = [("/srv/site".to_owned(), "/home/me/site".to_owned())];
        read([(kind, path.as_path(), text.as_bytes())], &mounts)
    }

    fn locations(text: &str) -> Read {
        read_kind(Kind::Locations, text)
    }

    #[test]
    fn locations_that_pass_on_what_they_get_become_routes() {
        for (text, value) in [
            (
                "location /api/ { proxy_pass http://127.0.0.1:8080; }",
                "/api/=http://127.0.0.1:8080",
            ),
            (
                "location ^~ /api { proxy_pass http://localhost:8080/api; }",
                "/api=http://localhost:8080",
            ),
            (
                "location ~ ^/ws/(.*)$ { proxy_pass http://10.0.0.2:9000; }",
                "/ws/=http://10.0.0.2:9000",
            ),
            (
                "location /x { proxy_pass http://yourapp; }",
                "/x=http://localhost:5442",
            ),
            (
                "location /s/ { alias /srv/site/; index index.html; try_files $uri $uri/ /s/index.html; }",
                "/s/=/home/me/site",
            ),
            ("location /img { root /srv/site/; expires 0; }", ""),
            (
                "location /img { root /srv/site/; }",
                "/img=/home/me/site/img",
            ),
            (
                "location /chat/ {\n proxy_pass https://app.internal:8443;\n proxy_http_version 1.1;\n proxy_set_header Upgrade $http_upgrade;\n \
                 proxy_set_header Connection \"upgrade\";\n proxy_set_header Host $host;\n client_max_body_size 100m;\n proxy_read_timeout 3600s;\n \
                 proxy_redirect off;\n}\nlocation /b { proxy_pass http://b:1; }",
                "/chat/=https://app.internal:8443,/b=http://b:1",
            ),
        ] {
            assert_eq!(locations(text).value(), value, "{text}");
        }
        let upstream = "upstream one { server 127.0.0.1:7000 ; keepalive 8; }";
        let path = PathBuf::from("x");
        let both = [
            (
                Kind::Locations,
                path.as_path(),
                b"location /a { proxy_pass http://one; }".as_slice(),
            ),
            (Kind::VirtualHosts, path.as_path(), upstream.as_bytes()),
        ];
        assert_eq!(read(both, &[]).value(), "/a=http://127.0.0.1:7000");
    }

    #[test]
    fn what_a_route_cannot_say_is_quoted_with_its_line_and_what_to_do() {
        for (text, line, parts) in [
            (
                "\nlocation /a { proxy_pass http://b:1/; }",
                2,
                ["changes the path", "proxy_pass http://b:1/"],
            ),
            (
                "location /a { proxy_pass http://b:1; deny all; }",
                1,
                [
                    "`deny all`",
                    "/a=http://b:1 in HANOK_PROXY_ROUTES is the same",
                ],
            ),
            (
                "location /a { proxy_pass http://b:1; auth_basic x; }",
                1,
                ["auth_basic", "ask who it is"],
            ),
            (
                "location /a { proxy_pass http://b:1; if ($x) { return 403; } }",
                1,
                ["`if ($x)`", "nothing like it"],
            ),
            (
                "location = /a { proxy_pass http://b:1; }",
                1,
                ["= /a", "one path"],
            ),
            (
                "location ~ \\.php$ { proxy_pass http://b:1; }",
                1,
                ["\\.php$", "pattern"],
            ),
            (
                "location /a { proxy_pass http://$x; }",
                1,
                ["proxy_pass http://$x", "HOST:PORT"],
            ),
            (
                "location /a { alias /usr/share/nginx/html; }",
                1,
                ["container", "docker cp"],
            ),
            (
                "location /a { alias /srv/site/../../etc; }",
                1,
                ["container", "docker cp"],
            ),
            (
                "location /openvidu/api/x { proxy_pass http://b:1; }",
                1,
                ["/openvidu/api/x", "answers this path itself"],
            ),
            (
                "location /a { return 301 https://elsewhere; }",
                1,
                ["return 301 …", "answer so"],
            ),
            ("location /a { }", 1, ["location /a", "where requests go"]),
            (
                "location /a,b { proxy_pass http://b:1; }",
                1,
                ["/a,b", "pattern"],
            ),
            (
                "add_header X-Frame-Options DENY;",
                1,
                ["add_header X-Frame-Options …", "header line"],
            ),
            (
                "client_max_body_size 0;",
                1,
                ["client_max_body_size 0", "200 MiB"],
            ),
            (
                "error_page 404 /404.html;",
                1,
                ["error_page", "HANOK_ERROR_PAGES"],
            ),
            ("include /etc/more;", 1, ["include", "not looked at"]),
            (
                "location /a { proxy_pass",
                1,
                ["cannot be read", "semicolon"],
            ),
        ] {
            let read = locations(text);
            assert_eq!(read.routes, [], "{text}");
            let [note] = read.notes.as_slice() else {
                panic!("{text}: {:?}", read.notes);
            };
            assert!(
                note.place == format!("my.conf:{line}") || note.place == "my.conf",
                "{note:?}"
            );
            for part in parts {
                assert!(
                    note.text.contains(part),
                    "{part:?} is not in {:?}",
                    note.text
                );
            }
        }
        let several = "upstream two { server a:1; server b:1; }";
        let path = PathBuf::from("x");
        let both = [
            (Kind::VirtualHosts, path.as_path(), several.as_bytes()),
            (
                Kind::Locations,
                path.as_path(),
                b"location /a { proxy_pass http://two; }".as_slice(),
            ),
        ];
        let read = read(both, &[]);
        assert!(read.routes.is_empty() && read.notes[0].text.contains("several servers"));
    }

    #[test]
    fn virtual_hosts_are_named_and_what_only_helps_them_is_not() {
        let text = "map $http_upgrade $connection_upgrade { default upgrade; }\nserver { listen 443 ssl; server_name shop.example www.shop.example; }\nallow 10.0.0.0/8;";
        let read = read_kind(Kind::VirtualHosts, text);
        assert_eq!(read.routes, []);
        let places: Vec<_> = read.notes.iter().map(|note| note.place.as_str()).collect();
        assert_eq!(places, ["my.conf:2", "my.conf:3"]);
        assert!(
            read.notes[0]
                .text
                .contains("shop.example, www.shop.example")
        );
        assert!(read.notes[0].text.contains("HANOK_FRONT=off"));
    }

    #[test]
    fn header_values_and_credentials_are_not_repeated() {
        let read = locations(
            "location /a { proxy_pass http://b:1; proxy_set_header Authorization \"Basic aHVzaA==\"; }\n\
             location /b { proxy_pass http://me:hush@b:1; }",
        );
        assert_eq!(read.notes.len(), 2);
        for note in read.notes {
            assert!(
                !note.text.contains("aHVzaA") && !note.text.contains("hush"),
                "{}",
                note.text
            );
        }
    }

    #[test]
    fn the_same_path_twice_is_one_route() {
        let read = locations(
            "location /a { proxy_pass http://b:1; } location ^~ /a { proxy_pass http://b:2; }",
        );
        assert_eq!(read.value(), "/a=http://b:1");
        assert_eq!(read.notes.len(), 1);
    }

    #[test]
    fn sizes_are_rounded_up() {
        for (size, expected) in [
            ("100m", Some(100)),
            ("1", Some(1)),
            ("1k", Some(1)),
            ("1025K", Some(2)),
            ("2G", Some(2048)),
            ("0", None),
            ("m", None),
            ("é", None),
            ("99999999999999999g", None),
        ] {
            assert_eq!(mebibytes(size), expected, "{size}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_files_say_the_value_is_one_that_hanok_reads(
            text in "((location |proxy_pass |alias |root |/|/a|/b|http://|https://|h:1|[=~,$^]|;|\\{|\\}|\n| ){0,30})"
        ) {
            let read = locations(&text);
            let value = read.value();
            let routes = validate::routes(&value);
            prop_assert!(routes.as_ref().is_ok_and(|routes| routes.len() == read.routes.len()), "{value}: {routes:?}");
        }

        #[test]
        fn a_location_with_a_word_that_is_not_known_is_never_a_route(name in "[a-z_]{1,20}", word in "[a-z0-9.]{0,10}") {
            let known = ["proxy_pass", "alias", "root"].contains(&name.as_str()) || WITHOUT_CONSEQUENCE.contains(&name.as_str());
            prop_assume!(!known && !["index", "proxy_redirect", "proxy_ssl_verify", "client_max_body_size", "try_files"].contains(&name.as_str()));
            let read = locations(&format!("location /a {{ proxy_pass http://b:1; {name} {word}; }}"));
            prop_assert_eq!(read.routes, []);
            prop_assert_eq!(read.notes.len(), 1);
        }
    }
}
