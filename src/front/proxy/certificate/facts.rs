//! What a certificate says of itself (RFC 5280).

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;

use super::acme::plan::Validity;

/// What a certificate says of itself; nothing here is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// From when to when.
    pub validity: Validity,
    /// DNS names and IP addresses of the subject alternative names.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Its number, as it is encoded.
    pub serial: Vec<u8>,
    /// The identifier of the authority's key.
    pub authority_key: Option<Vec<u8>>,
}

impl Facts {
    /// Reads a certificate; `None` if it is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let mut facts = Self {
            validity: Validity {
                from: seconds(parsed.validity().not_before.timestamp()),
                until: seconds(parsed.validity().not_after.timestamp()),
            },
            names: Vec::new(),
            issuer: parsed.issuer().to_string(),
            serial: parsed.tbs_certificate.raw_serial().to_vec(),
            authority_key: None,
        };
        for extension in parsed.iter_extensions() {
            if let ParsedExtension::SubjectAlternativeName(alternative) =
                extension.parsed_extension()
            {
                let names = alternative.general_names.iter();
                facts.names.extend(names.filter_map(name));
            } else if let ParsedExtension::AuthorityKeyIdentifier(authority) =
                extension.parsed_extension()
            {
                facts.authority_key = authority.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
        }
        Some(facts)
    }

    /// Whether it is for all of `names`.
    pub fn covers(&self, names: &[String]) -> bool {
        let has = |name: &String| self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        names.iter().all(has)
    }

    /// The number as people write it.
    pub fn serial_hex(&self) -> String {
        self.serial
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// How the certificate is named when its renewal is asked about (RFC 9773 section 4.1).
    pub fn renewal_id(&self) -> Option<(String, String)> {
        let encode = |bytes: &Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Some((encode(self.authority_key.as_ref()?), encode(&self.serial)))
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(octets) = name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
    address.ok().map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SerialNumber,
        date_time_ymd,
    };

    use super::*;

    fn made() -> CertificateDer<'static> {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let names = ["call.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2023, 1, 1);
        params.not_after = date_time_ymd(2023, 4, 1);
        params.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65]));
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &ca).unwrap().der().clone()
    }

    #[test]
    fn names_times_and_numbers_are_read() {
        let facts = Facts::read(&made()).unwrap();
        assert_eq!(facts.names, ["call.example", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(facts.validity.from, 1_672_531_200);
        assert_eq!(facts.validity.lifetime(), 90 * 24 * 3600);
        assert_eq!(facts.serial_hex(), "008765");
        let (_, serial) = facts.renewal_id().unwrap();
        assert_eq!(
            serial, "AIdl",
            "as in RFC 9773 section 4.1: with the sign's zero"
        );
        assert!(facts.issuer.contains("CN="));
    }

    proptest! {
        #[test]
        fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut der = made().to_vec();
            let at = at.index(der.len());
            der[at] = byte;
            der.truncate(cut.index(der.len()) + 1);
            let _ = Facts::read(&der.into());
        }
    }
}
