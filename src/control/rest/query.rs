//! Query parameters of the listing calls.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::error::ApiError;

/// `pendingConnections`; unknown parameters are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    pending_connections: Option<String>,
}

/// What the `Query` extractor yields for [`Listing`].
pub(super) type ListingQuery = Result<Query<Listing>, QueryRejection>;

/// Whether pending connections are asked for; the default differs by call (sections 5.2 and 6.5).
///
/// # Errors
/// 400 for a value that is no boolean in any of the spellings that upstream accepts.
pub(super) fn pending(query: ListingQuery, default: bool, path: &str) -> Result<bool, ApiError> {
    let Query(listing) = query.map_err(|error| ApiError::bad_request(error.body_text(), path))?;
    match listing.pending_connections.as_deref() {
        None | Some("") => Ok(default),
        Some(text) => boolean(text).ok_or_else(|| {
            ApiError::bad_request("Parameter 'pendingConnections' is not a boolean", path)
        }),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, default: bool) -> Result<bool, ApiError> {
        let uri = format!("/x?{query}").parse().unwrap();
        pending(Query::try_from_uri(&uri), default, "/x")
    }

    #[test]
    fn the_default_holds_unless_a_boolean_is_given() {
        for default in [true, false] {
            assert_eq!(ask("", default), Ok(default));
            assert_eq!(ask("pendingConnections=", default), Ok(default));
            assert_eq!(ask("webRtcStats=x&other=%ff", default), Ok(default));
            assert_eq!(ask("pendingConnections=true", default), Ok(true));
            assert_eq!(ask("pendingConnections=OFF", default), Ok(false));
            assert!(ask("pendingConnections=maybe", default).is_err());
        }
    }
}
