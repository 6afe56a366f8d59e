//! One file of a page, and what HTTP says about it.

use std::borrow::Cow;

use aws_lc_rs::digest;
use axum::body::Bytes;
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_embed::EmbeddedFile;

/// A file that can be served.
#[derive(Debug, Clone)]
pub(super) struct Asset {
    pub(super) bytes: Bytes,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    pub(super) etag: HeaderValue,
}

impl Asset {
    /// A file of the build output; `name` is its path below the page's folder.
    pub(super) fn embedded(name: &str, file: EmbeddedFile) -> Self {
        let hash = file.metadata.sha256_hash();
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Self::new(name, bytes, &hash)
    }

    /// A built-in text.
    pub(super) fn text(name: &str, text: &'static str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        Self::new(name, Bytes::from_static(text.as_bytes()), hash.as_ref())
    }

    fn new(name: &str, bytes: Bytes, hash: &[u8]) -> Self {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash));
        Self {
            bytes,
            content_type: content_type(name),
            // Vite puts a hash of the content into the names of what lies in `assets`.
            cache_control: if name.starts_with("assets/") {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
            etag: HeaderValue::from_str(&tag).expect("base64 in quotes is a header value"),
        }
    }

    /// Whether the client already has it (RFC 9110 section 13.1.2).
    pub(super) fn is_known_to(&self, if_none_match: Option<&HeaderValue>) -> bool {
        let Some(Ok(tags)) = if_none_match.map(HeaderValue::to_str) else {
            return false;
        };
        tags.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_files_are_kept_for_good_and_others_revalidated() {
        let page = Asset::text("index.html", "x");
        let script = Asset::text("assets/index-Ab12.js", "x");
        assert_eq!(page.cache_control, "no-cache");
        assert!(script.cache_control.ends_with("immutable"));
        assert_eq!(script.content_type, "text/javascript; charset=utf-8");
        assert_eq!(content_type("noextension"), "application/octet-stream");
    }

    #[test]
    fn a_client_that_has_the_file_is_recognised() {
        let page = Asset::text("index.html", "x");
        let tag = page.etag.to_str().unwrap();
        for known in [tag.to_owned(), format!("\"a\", W/{tag}"), "*".to_owned()] {
            let value = HeaderValue::from_str(&known).unwrap();
            assert!(page.is_known_to(Some(&value)), "{known}");
        }
        assert!(!page.is_known_to(Some(&HeaderValue::from_static("\"other\""))));
        assert!(!page.is_known_to(None));
    }
}
