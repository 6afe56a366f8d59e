//! Time-limited TURN credentials: the user name says until when, the password is a MAC of it
//! (draft-uberti-behave-turn-rest-00 section 2.2, as OpenVidu and coturn's `use-auth-secret` have it).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{Random, Secret};

/// How long OpenVidu's credentials are good, in seconds (`openvidu-signalling` section 3.2).
pub const LIFETIME_SECS: u64 = 86_400;

/// Characters after the colon of a user name.
const NAME_LEN: usize = 8;

/// A user name `<expiry>:<8 alphanumerics>` and its password, good until `expiry_unix` (seconds since 1970).
pub fn mint(secret: &Secret, expiry_unix: u64, random: &mut Random) -> (String, String) {
    let username = format!("{expiry_unix}:{}", random.alphanumeric(NAME_LEN));
    let password = password(secret, &username);
    (username, password)
}

/// The password that belongs to `username`: base64 of HMAC-SHA1 under the secret.
pub fn password(secret: &Secret, username: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

/// Until when `username` is good, in seconds since 1970. A bare time stamp without a name is one, too.
pub fn expiry(username: &str) -> Option<u64> {
    let stamp = username
        .split_once(':')
        .map_or(username, |(stamp, _)| stamp);
    stamp
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| stamp.parse().ok())
        .flatten()
}

/// Whether the credential was minted under `secret` and is still good at `now_unix`; compares in constant time.
pub fn is_valid(secret: &Secret, username: &str, credential: &str, now_unix: u64) -> bool {
    let expected = password(secret, username);
    let authentic: bool = expected.as_bytes().ct_eq(credential.as_bytes()).into();
    authentic && expiry(username).is_some_and(|expiry| now_unix < expiry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new("north")
    }

    #[test]
    fn the_password_is_the_mac_that_coturn_computes() {
        // printf 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            password(&secret(), "1700000000:alice"),
            "Cd/49soE35ICqcJF/bCTn8Z4OyE="
        );
    }

    #[test]
    fn a_minted_credential_is_good_until_its_expiry_and_not_at_it() {
        let (username, credential) = mint(&secret(), 2_000, &mut Random::seeded(1));
        let (stamp, name) = username.split_once(':').unwrap();
        assert_eq!((stamp, name.len()), ("2000", 8));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(is_valid(&secret(), &username, &credential, 1_999));
        assert!(!is_valid(&secret(), &username, &credential, 2_000));
    }

    #[test]
    fn neither_another_secret_nor_another_name_nor_a_later_expiry_is_good() {
        let (username, credential) = mint(&secret(), 2_000, &mut Random::seeded(1));
        assert!(!is_valid(&Secret::new("south"), &username, &credential, 1));
        assert!(!is_valid(&secret(), "2000:mallory1", &credential, 1));
        assert!(!is_valid(
            &secret(),
            &username.replace("2000", "9000"),
            &credential,
            1
        ));
        assert!(!is_valid(&secret(), &username, "", 1));
    }

    #[test]
    fn two_mints_differ() {
        let mut random = Random::seeded(1);
        assert_ne!(
            mint(&secret(), 1, &mut random),
            mint(&secret(), 1, &mut random)
        );
    }

    #[test]
    fn a_name_that_is_no_time_never_becomes_one() {
        for name in [
            "",
            ":",
            "abc:def",
            "+12:x",
            "-1:x",
            "1 :x",
            "99999999999999999999:x",
        ] {
            assert_eq!(expiry(name), None, "{name:?}");
        }
        assert_eq!(expiry("17"), Some(17));
    }
}
