//! PEM files (RFC 7468): certificate chains, and keys as PKCS#8, SEC1 or PKCS#1.

use std::fmt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a PEM file should have held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// One certificate or more.
    Chain,
    /// A key without a pass phrase.
    Key,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => {
                "no certificate in PEM form (-----BEGIN CERTIFICATE-----) is in it: put the server's certificate \
                 first and the authority's intermediate certificates after it"
            }
            Self::Key => {
                "no private key in PEM form (-----BEGIN PRIVATE KEY-----, EC or RSA) without a pass phrase is in it: \
                 remove a pass phrase with `openssl pkey`"
            }
        })
    }
}

/// Every certificate in the order of the file.
///
/// # Errors
/// There is none, or one of them is cut short.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Expected> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Expected::Chain)?;
    if chain.is_empty() {
        return Err(Expected::Chain);
    }
    Ok(chain)
}

/// The first key of the file.
///
/// # Errors
/// There is none that can be read without a pass phrase.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Expected> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Expected::Key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_contents_are_named_for_what_is_missing() {
        let encrypted =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(key(encrypted).unwrap_err(), Expected::Key);
        assert_eq!(key(b"").unwrap_err(), Expected::Key);
        assert_eq!(chain(encrypted).unwrap_err(), Expected::Chain);
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert_eq!(chain(cut).unwrap_err(), Expected::Chain);
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = chain(&bytes);
            let _ = key(&bytes);
        }
    }
}
