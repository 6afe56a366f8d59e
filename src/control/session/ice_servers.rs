//! How connections show ICE servers (`openvidu-rest` section 4.9); the rules for those that a request names are
//! [`IceServer`]'s.

use crate::units::{IceCredentials, IceServer, Random, turn_credential};
use crate::views::openvidu as view;

/// What a connection shows and its client gets; credentials made from a shared secret live for a day from `now_secs`
/// since the epoch.
pub fn with_credentials(server: &IceServer, now_secs: u64, random: &mut Random) -> view::IceServer {
    let (username, credential) = match server.credentials() {
        IceCredentials::None => (String::new(), String::new()),
        IceCredentials::Fixed {
            username,
            credential,
        } => (username.clone(), credential.expose().to_owned()),
        IceCredentials::StaticAuthSecret(secret) => {
            let expiry = now_secs.saturating_add(turn_credential::LIFETIME_SECS);
            turn_credential::mint(secret, expiry, random)
        }
    };
    view::IceServer {
        url: server.url().to_owned(),
        username: Some(username).filter(|text| !text.is_empty()),
        credential: Some(credential).filter(|text| !text.is_empty()),
    }
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
        let secret = crate::units::Secret::new("north-wind");
        let credential = shown.credential.clone().unwrap();
        assert!(turn_credential::is_valid(
            &secret,
            &username,
            &credential,
            1_700_086_399
        ));
        let json = serde_json::to_string(&shown).unwrap();
        assert!(!json.contains("north-wind"));
        assert!(!format!("{server:?}").contains("north-wind"));
        assert!(!format!("{shown:?}").contains(&shown.credential.unwrap()));
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
