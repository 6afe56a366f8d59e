//! Static files: what a path names, and what HTTP says about a file (RFC 9110 sections 13 and 14).

use std::ops::Range;

use axum::http::header::{
    ACCEPT, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method};

use super::http_date::http_date;

/// Longest name that a file system knows.
const MAX_NAME: usize = 255;

/// The names on the way from the folder to the file; empty for the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    names: Vec<String>,
    is_folder: bool,
}

impl FilePath {
    /// Reads what follows a route's prefix. `None` if it names nothing that may be served: an encoding that is none,
    /// a way out of the folder, or a hidden file (`.git`, `.env`) other than `.well-known`.
    pub fn parse(path: &str) -> Option<Self> {
        let mut names = Vec::new();
        for segment in path.split('/') {
            // A slash that was encoded is no separator, and no name contains one.
            let name = decoded(segment)?;
            if name.is_empty() {
                continue;
            }
            let hidden = name.starts_with('.') && name != ".well-known";
            if hidden || name.len() > MAX_NAME || name.contains(['/', '\\', '\0']) {
                return None;
            }
            names.push(name);
        }
        Some(Self {
            names,
            is_folder: path.ends_with('/'),
        })
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the path ends as a folder's does.
    pub const fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// Whether somebody who asks so wants a page of a single-page application, whose paths are no files.
    pub fn names_a_page(&self, headers: &HeaderMap) -> bool {
        let accepts_html = headers
            .get_all(ACCEPT)
            .iter()
            .any(|line| line.to_str().is_ok_and(|line| line.contains("text/html")));
        accepts_html || self.names.last().is_none_or(|name| !name.contains('.'))
    }
}

/// A segment without its percent-encoding (RFC 3986 section 2.1).
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// What identifies one version of a file: its length and when it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub len: u64,
    /// Seconds since the Unix epoch.
    pub modified: u64,
    /// Nanoseconds beside.
    pub modified_nanos: u32,
}

impl Version {
    /// A strong validator (RFC 9110 section 8.8.3).
    pub fn etag(&self) -> String {
        format!(
            "\"{:x}-{:x}-{:x}\"",
            self.modified, self.modified_nanos, self.len
        )
    }

    /// RFC 9110 section 8.8.2.
    pub fn last_modified(&self) -> String {
        http_date(self.modified)
    }
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 200.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    RangeNotSatisfiable,
}

/// Evaluates conditions and range, in the order of RFC 9110 section 13.2.2. Dates are compared as texts: clients send
/// back what we sent. Of several ranges none is served, which section 14.2 allows.
pub fn reply(method: &Method, headers: &HeaderMap, version: &Version) -> Reply {
    let etag = version.etag();
    let date = version.last_modified();
    let is_date = |value: Option<&HeaderValue>| value.map(|value| value == date.as_str());
    let matches = if headers.contains_key(IF_MATCH) {
        Some(names(headers, &IF_MATCH, &etag, false))
    } else {
        is_date(headers.get(IF_UNMODIFIED_SINCE))
    };
    if matches == Some(false) {
        return Reply::PreconditionFailed;
    }
    let is_known = if headers.contains_key(IF_NONE_MATCH) {
        names(headers, &IF_NONE_MATCH, &etag, true)
    } else {
        is_date(headers.get(IF_MODIFIED_SINCE)).unwrap_or(false)
    };
    if is_known {
        return Reply::NotModified;
    }
    let is_same = headers
        .get(IF_RANGE)
        .is_none_or(|value| value == etag.as_str() || value == date.as_str());
    let mut ranges = headers.get_all(RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) if is_same && method == Method::GET => range
            .to_str()
            .map_or(Reply::Whole, |range| part(range, version.len)),
        _ => Reply::Whole,
    }
}

/// Whether a list of entity tags names `etag`; by the weak comparison a `W/` is passed over (section 8.8.3.2).
fn names(headers: &HeaderMap, list: &axum::http::HeaderName, etag: &str, weak: bool) -> bool {
    headers
        .get_all(list)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|named| {
            let stripped = named.strip_prefix("W/").filter(|_| weak).unwrap_or(named);
            named == "*" || stripped == etag
        })
}

/// One range of bytes (RFC 9110 section 14.1.2); what cannot be read is passed over.
fn part(range: &str, len: u64) -> Reply {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Reply::Whole;
    };
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        // A number that is too large is as good as the largest.
        is_number.then(|| digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => first..len,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
        (None, Some(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
        _ => return Reply::Whole,
    };
    if part.is_empty() {
        Reply::RangeNotSatisfiable
    } else {
        Reply::Part(part)
    }
}

/// The type of a file by its name; whatever is not known is bytes, and never guessed by browsers.
pub fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "xml" => "text/xml; charset=utf-8",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSION: Version = Version {
        len: 1000,
        modified: 1_700_000_000,
        modified_nanos: 5,
    };

    fn ask(lines: &[(&'static str, &str)]) -> Reply {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        reply(&Method::GET, &headers, &VERSION)
    }

    #[test]
    fn a_path_names_a_file_below_the_folder_or_nothing() {
        let names = |path| FilePath::parse(path).map(|path| path.names.join("|"));
        for (path, expected) in [
            ("", Some("")),
            ("/", Some("")),
            ("/a/b.txt", Some("a|b.txt")),
            ("//a///b/", Some("a|b")),
            ("/a%20b/%ED%95%9C.html", Some("a b|한.html")),
            ("/.well-known/x", Some(".well-known|x")),
            ("/%252e%252e/x", Some("%2e%2e|x")),
            ("/a..b", Some("a..b")),
            ("/..", None),
            ("/../etc/passwd", None),
            ("/a/../../b", None),
            ("/%2e%2e/x", None),
            ("/.%2e/x", None),
            ("/..%2fx", None),
            ("/a%2fb", None),
            ("/..%5cx", None),
            ("/a\\..\\b", None),
            ("/.", None),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/a%00b", None),
            ("/%", None),
            ("/%2", None),
            ("/%+1", None),
            ("/%zz", None),
            ("/%ff", None),
        ] {
            assert_eq!(names(path).as_deref(), expected, "{path}");
        }
        assert_eq!(names(&format!("/{}", "a".repeat(256))), None);
        assert!(FilePath::parse("/a/").unwrap().is_folder());
        assert!(!FilePath::parse("/a").unwrap().is_folder());
    }

    #[test]
    fn a_page_is_what_has_no_extension_or_is_asked_for_as_html() {
        let is_page = |path, accept| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            FilePath::parse(path).unwrap().names_a_page(&headers)
        };
        assert!(is_page("/users/7", "*/*"));
        assert!(is_page(
            "/users/john.doe",
            "text/html,application/xhtml+xml"
        ));
        assert!(!is_page("/missing.js", "*/*"));
        assert!(!is_page("/missing.png", "image/avif,image/webp"));
    }

    #[test]
    fn conditions_come_before_ranges() {
        let etag = VERSION.etag();
        let date = VERSION.last_modified();
        let weak = format!("\"x\", W/{etag}");
        for (lines, expected) in [
            (vec![], Reply::Whole),
            (vec![("if-none-match", etag.as_str())], Reply::NotModified),
            (vec![("if-none-match", &weak)], Reply::NotModified),
            (vec![("if-none-match", "*")], Reply::NotModified),
            (vec![("if-none-match", "\"x\"")], Reply::Whole),
            (vec![("if-modified-since", &date)], Reply::NotModified),
            (
                vec![("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
                Reply::Whole,
            ),
            // A tag says more than a date.
            (
                vec![("if-none-match", "\"x\""), ("if-modified-since", &date)],
                Reply::Whole,
            ),
            (vec![("if-match", &etag)], Reply::Whole),
            (vec![("if-match", "\"x\"")], Reply::PreconditionFailed),
            (vec![("if-match", &weak)], Reply::PreconditionFailed),
            (
                vec![("if-unmodified-since", "yesterday")],
                Reply::PreconditionFailed,
            ),
            (
                vec![("if-unmodified-since", &date), ("range", "bytes=0-0")],
                Reply::Part(0..1),
            ),
            (
                vec![("if-range", &etag), ("range", "bytes=0-0")],
                Reply::Part(0..1),
            ),
            (
                vec![("if-range", &date), ("range", "bytes=0-0")],
                Reply::Part(0..1),
            ),
            (
                vec![("if-range", "\"x\""), ("range", "bytes=0-0")],
                Reply::Whole,
            ),
            (
                vec![("if-none-match", &etag), ("range", "bytes=0-0")],
                Reply::NotModified,
            ),
        ] {
            assert_eq!(ask(&lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn one_range_is_served_and_nonsense_passed_over() {
        for (range, expected) in [
            ("bytes=0-99", Reply::Part(0..100)),
            ("bytes=900-", Reply::Part(900..1000)),
            ("bytes=900-5000", Reply::Part(900..1000)),
            ("bytes=900-99999999999999999999", Reply::Part(900..1000)),
            ("bytes=-100", Reply::Part(900..1000)),
            ("bytes=-5000", Reply::Part(0..1000)),
            ("bytes=1000-", Reply::RangeNotSatisfiable),
            ("bytes=-0", Reply::RangeNotSatisfiable),
            ("bytes=5-1", Reply::Whole),
            ("bytes=0-1,5-6", Reply::Whole),
            ("bytes=a-b", Reply::Whole),
            ("bytes=-", Reply::Whole),
            ("bytes=+1-2", Reply::Whole),
            ("lines=0-1", Reply::Whole),
            ("bytes", Reply::Whole),
        ] {
            assert_eq!(ask(&[("range", range)]), expected, "{range}");
        }
        assert_eq!(
            ask(&[("range", "bytes=0-0"), ("range", "bytes=1-1")]),
            Reply::Whole
        );
    }

    #[test]
    fn types_go_by_the_last_extension() {
        assert_eq!(content_type("a.tar.GZ"), "application/gzip");
        assert_eq!(content_type("INDEX.HTML"), "text/html; charset=utf-8");
        assert_eq!(content_type("noextension"), "application/octet-stream");
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "(/|\\.|%2e|%2f|%5c|\\\\|%00|a|%|\u{e9}){0,12}") {
            if let Some(path) = FilePath::parse(&path) {
                for name in path.names() {
                    prop_assert!(!name.is_empty() && name != "." && name != "..");
                    prop_assert!(!name.contains(['/', '\\', '\0']));
                }
            }
        }

        #[test]
        fn a_part_lies_in_the_file(range in "(bytes=)?[0-9,-]{0,25}", len in 0u64..5000) {
            if let Reply::Part(part) = part(&range, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }
    }
}
