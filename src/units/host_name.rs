//! Names of hosts.

/// Whether `text` is a name of RFC 1123 section 2.1. A last label of digits alone is none: it would be a mistyped IPv4
/// address.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253
        && text.split('.').all(is_label)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_letters_digits_and_inner_hyphens_and_the_last_is_no_number() {
        for name in [
            "localhost",
            "a-b.example",
            "xn--bcher-kva.example",
            "1.2.3.4a",
        ] {
            assert!(is_host_name(name), "{name}");
        }
        let label = "a".repeat(64);
        let long = vec!["a"; 128].join(".");
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "1.2.3",
            "caf\u{e9}",
            "a b",
            &label,
            &long,
        ] {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
