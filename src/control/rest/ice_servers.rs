//! How connections show ICE servers (section 4.9); the rules for those that a request names are [`IceServer`]'s.

use aws_lc_rs::hmac;
use base64::Engine as _;

use crate::units::{IceCredentials, IceServer, Random, Secret};
use crate::views::openvidu as view;

/// How long credentials made from `staticAuthSecret` are valid, in seconds.
const CREDENTIAL_LIFETIME_SECS: u64 = 86_400;

/// What a connection shows and its client gets; credentials made from a shared secret live for a day from `now_secs`
/// since the epoch (the TURN REST API's form: `expiry:random`, HMAC-SHA1).
pub(super) fn with_credentials(
    server: &IceServer,
    now_secs: u64,
    random: &mut Random,
) -> view::IceServer {
    let (username, credential) = match server.credentials() {
        IceCredentials::None => (String::new(), String::new()),
        IceCredentials::Fixed {
            username,
            credential,
        } => (username.clone(), credential.expose().to_owned()),
        IceCredentials::StaticAuthSecret(secret) => {
            let expiry = now_secs.saturating_add(CREDENTIAL_LIFETIME_SECS);
            let username = format!("{expiry}:{}", random.alphanumeric(8));
            let credential = time_limited_credential(secret, &username);
            (username, credential)
        }
    };
    view::IceServer {
        url: server.url().to_owned(),
        username: Some(username).filter(|text| !text.is_empty()),
        credential: Some(credential).filter(|text| !text.is_empty()),
    }
}

fn time_limited_credential(secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    let tag = hmac::sign(&key, username.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_secret_becomes_time_limited_credentials_and_is_not_shown() {
        let server = IceServer::new("turn:1.2.3.4", None, None, Some("north-wind")).unwrap();
        let shown = with_credentials(&server, 1_700_000_000, &mut Random::seeded(1));
        let username = shown.username.clone().unwrap();
        assert!(username.starts_with("1700086400:"), "{username}");
        assert_eq!(username.len(), 19);
        let credential = base64::engine::general_purpose::STANDARD
            .decode(shown.credential.clone().unwrap())
            .unwrap();
        assert_eq!(credential.len(), 20);
        let json = serde_json::to_string(&shown).unwrap();
        assert!(!json.contains("north-wind"));
        assert!(!format!("{server:?}").contains("north-wind"));
        assert!(!format!("{shown:?}").contains(&shown.credential.unwrap()));
    }

    #[test]
    fn the_credential_is_hmac_sha1_of_the_user_name() {
        // RFC 2202 section 3, test case 2.
        assert_eq!(
            time_limited_credential(&Secret::new("Jefe"), "what do ya want for nothing?"),
            base64::engine::general_purpose::STANDARD.encode([
                0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74, 0x16, 0xd5, 0xf1, 0x84,
                0xdf, 0x9c, 0x25, 0x9a, 0x7c, 0x79
            ])
        );
    }

    #[test]
    fn empty_credentials_are_left_out() {
        let server = IceServer::new("turn:1.2.3.4", Some(""), Some("p"), None).unwrap();
        let shown = with_credentials(&server, 0, &mut Random::seeded(1));
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            r#"{"url":"turn:1.2.3.4","credential":"p"}"#
        );
    }
}
