//! HTTP Basic credentials (RFC 7617).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::units::Secret;

/// Longest `Authorization` value that is decoded; a secret is far shorter.
const MAX_ENCODED_LEN: usize = 4096;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The part of an `Authorization` value after `Basic`, or `None` for another scheme. The scheme's case does not matter.
pub fn encoded_credentials(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(b"Basic".len())?;
    let begins_token = rest.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(b"Basic") && begins_token).then(|| rest.trim_ascii())
}

/// A user name and the password that came with it.
#[derive(Debug)]
pub struct Credentials {
    user: String,
    password: Secret,
}

impl Credentials {
    /// Decodes `base64(user ":" password)`; `None` if it is not that, or absurdly long.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        if encoded.len() > MAX_ENCODED_LEN {
            return None;
        }
        let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    /// The user name, up to the first colon.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, which may contain colons.
    pub fn password(&self) -> &str {
        self.password.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_scheme_is_a_whole_word_in_any_case() {
        assert_eq!(encoded_credentials(b"Basic QQ=="), Some(b"QQ==".as_slice()));
        assert_eq!(
            encoded_credentials(b"bASIC  QQ== "),
            Some(b"QQ==".as_slice())
        );
        assert_eq!(encoded_credentials(b"Basic"), Some(b"".as_slice()));
        assert_eq!(encoded_credentials(b"BasicQQ=="), None);
        assert_eq!(encoded_credentials(b"Bearer QQ=="), None);
        assert_eq!(encoded_credentials(b""), None);
    }

    #[test]
    fn the_password_may_contain_colons_and_padding_may_be_missing() {
        let credentials = Credentials::decode(b"QTpiOmM").unwrap();
        assert_eq!((credentials.user(), credentials.password()), ("A", "b:c"));
        assert!(Credentials::decode(b"QQ==").is_none());
        assert!(Credentials::decode(b"%%%").is_none());
        assert!(Credentials::decode(&[b'A'; MAX_ENCODED_LEN + 4]).is_none());
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(encoded) = encoded_credentials(&value) {
                let _ = Credentials::decode(encoded);
            }
        }
    }
}
