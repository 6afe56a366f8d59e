//! The certificate that is served, as metrics.

use super::CertificateStore;
use super::facts::Facts;
use crate::views::metric::Family;

/// From when to when it is valid, and whether browsers take it.
pub fn families(store: &CertificateStore) -> Vec<Family> {
    let current = store.current();
    let mut families = vec![Family::gauge(
        "hanok_certificate_trusted",
        "Whether browsers accept the certificate that is served without asking: 1, or 0 for one of our own making.",
        current.is_trusted(),
    )];
    if let Some(facts) = current.chain().first().and_then(Facts::read) {
        families.push(Family::gauge(
            "hanok_certificate_not_before_timestamp_seconds",
            "From when on the certificate is valid, in seconds since 1970.",
            facts.validity.from,
        ));
        families.push(Family::gauge(
            "hanok_certificate_not_after_timestamp_seconds",
            "When the certificate expires, in seconds since 1970.",
            facts.validity.until,
        ));
    }
    families
}
