//! Cipher suites of TLS 1.2, and OpenSSL's way to choose among them.

/// A suite that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsSuite {
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384`.
    EcdheEcdsaAes256,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`.
    EcdheEcdsaAes128,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256`.
    EcdheEcdsaChaCha20,
    /// `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384`.
    EcdheRsaAes256,
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
    EcdheRsaAes128,
    /// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256`.
    EcdheRsaChaCha20,
}

impl TlsSuite {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EcdheEcdsaAes256,
        Self::EcdheEcdsaAes128,
        Self::EcdheEcdsaChaCha20,
        Self::EcdheRsaAes256,
        Self::EcdheRsaAes128,
        Self::EcdheRsaChaCha20,
    ];

    /// The name that OpenSSL has for it.
    pub const fn openssl_name(self) -> &'static str {
        match self {
            Self::EcdheEcdsaAes256 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::EcdheEcdsaAes128 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::EcdheEcdsaChaCha20 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::EcdheRsaAes256 => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::EcdheRsaAes128 => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::EcdheRsaChaCha20 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }

    /// Whether OpenSSL's `word` stands for it, alone or as one of many.
    fn is_meant_by(self, word: &str) -> bool {
        let name = self.openssl_name();
        match word {
            "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => {
                true
            }
            "aECDSA" | "ECDSA" => name.contains("-ECDSA-"),
            "aRSA" => name.contains("-RSA-"),
            "AES" | "AESGCM" => name.contains("-GCM-"),
            "AES128" => name.contains("-AES128-"),
            "AES256" => name.contains("-AES256-"),
            "CHACHA20" => name.contains("-CHACHA20-"),
            "SHA256" | "SHA384" => name.ends_with(word),
            other => name == other,
        }
    }
}

/// Words of OpenSSL that stand for suites which are not spoken here, or for an order that clients decide.
const KNOWN_BUT_NOT_SPOKEN: [&str; 41] = [
    "3DES",
    "ADH",
    "AECDH",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIAGCM",
    "CAMELLIA",
    "CBC",
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "DES",
    "DH",
    "DHE",
    "DSS",
    "ECDH",
    "EDH",
    "EXP",
    "EXPORT",
    "IDEA",
    "LOW",
    "MD5",
    "MEDIUM",
    "NULL",
    "PSK",
    "RC2",
    "RC4",
    "RSA",
    "SEED",
    "SHA",
    "SHA1",
    "SRP",
    "SSLv2",
    "SSLv3",
    "TLSv1",
    "TLSv1.0",
    "TLSv1.1",
    "aDSS",
    "aNULL",
    "eNULL",
    "kRSA",
];

/// The suites of TLS 1.3, which no list takes away.
const OF_TLS_1_3: [&str; 3] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// A list of suites as OpenSSL's `ciphers(1)` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherList {
    /// What of it is spoken here.
    pub suites: Vec<TlsSuite>,
    /// Words that choose nothing here, such as suites that are not spoken.
    pub unknown: Vec<String>,
}

impl Default for CipherList {
    /// All suites.
    fn default() -> Self {
        Self::read("")
    }
}

impl CipherList {
    /// Reads a list; an empty one means all suites. `!` takes away for good, `-` until it is added again, `+` before a
    /// word and `@` only change the order, which is the client's here.
    pub fn read(text: &str) -> Self {
        let mut words = text
            .split([':', ',', ' ', '\t'])
            .filter(|word| !word.is_empty())
            .peekable();
        let mut list = Self {
            suites: Vec::new(),
            unknown: Vec::new(),
        };
        if words.peek().is_none() {
            list.suites = TlsSuite::ALL.to_vec();
        }
        let mut banned = Vec::new();
        for word in words {
            let (sign, name) = match word.split_at_checked(1) {
                Some((sign @ ("!" | "-" | "+" | "@"), name)) => (sign, name),
                _ => ("", word),
            };
            let meant: Vec<TlsSuite> = TlsSuite::ALL
                .into_iter()
                .filter(|suite| name.split('+').all(|part| suite.is_meant_by(part)))
                .collect();
            match sign {
                "" => {
                    if meant.is_empty() && !OF_TLS_1_3.contains(&name) {
                        list.unknown.push(name.to_owned());
                    }
                    let new = meant.into_iter().filter(|suite| !banned.contains(suite));
                    let missing: Vec<_> =
                        new.filter(|suite| !list.suites.contains(suite)).collect();
                    list.suites.extend(missing);
                }
                "!" | "-" => {
                    list.suites.retain(|suite| !meant.contains(suite));
                    let is_name = name.contains('-')
                        || name
                            .split('+')
                            .all(|part| KNOWN_BUT_NOT_SPOKEN.contains(&part));
                    if meant.is_empty() && !is_name {
                        list.unknown.push(name.to_owned());
                    }
                    if sign == "!" {
                        banned.extend(meant);
                    }
                }
                _ => {}
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TlsSuite::{
        EcdheEcdsaAes128, EcdheEcdsaAes256, EcdheEcdsaChaCha20, EcdheRsaAes128, EcdheRsaAes256,
        EcdheRsaChaCha20,
    };
    use super::*;

    #[test]
    fn lists_choose_as_openssl_does_among_what_is_spoken() {
        let all = TlsSuite::ALL.to_vec();
        for (text, suites, unknown) in [
            ("", all.clone(), vec![]),
            ("HIGH:!aNULL:!MD5", all.clone(), vec![]),
            ("DEFAULT:@SECLEVEL=2", all.clone(), vec![]),
            (
                "ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384",
                vec![EcdheEcdsaAes128, EcdheRsaAes256],
                vec!["DHE-RSA-AES128-GCM-SHA256"],
            ),
            (
                "EECDH+AESGCM:EDH+AESGCM",
                vec![
                    EcdheEcdsaAes256,
                    EcdheEcdsaAes128,
                    EcdheRsaAes256,
                    EcdheRsaAes128,
                ],
                vec!["EDH+AESGCM"],
            ),
            ("ECDHE+CHACHA20:!aRSA", vec![EcdheEcdsaChaCha20], vec![]),
            (
                "!CHACHA20:ALL",
                vec![
                    EcdheEcdsaAes256,
                    EcdheEcdsaAes128,
                    EcdheRsaAes256,
                    EcdheRsaAes128,
                ],
                vec![],
            ),
            (
                "ALL:-AES:ECDHE-RSA-AES128-GCM-SHA256",
                vec![EcdheEcdsaChaCha20, EcdheRsaChaCha20, EcdheRsaAes128],
                vec![],
            ),
            ("AES128-SHA", vec![], vec!["AES128-SHA"]),
            ("ALL:!NONSENSE:!DES-CBC3-SHA", all, vec!["NONSENSE"]),
            ("TLS_AES_128_GCM_SHA256", vec![], vec![]),
            (
                "ECDHE-RSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305",
                vec![EcdheRsaChaCha20],
                vec![],
            ),
        ] {
            let list = CipherList::read(text);
            assert_eq!(list.suites, suites, "{text}");
            assert_eq!(list.unknown, unknown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_without_repetitions(text in "[A-Z0-9a-z:+!@, -]{0,80}") {
            let list = CipherList::read(&text);
            for (index, suite) in list.suites.iter().enumerate() {
                prop_assert!(!list.suites[..index].contains(suite));
            }
        }
    }
}
