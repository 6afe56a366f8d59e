//! Times as people write them.

use std::time::Duration;

/// Seconds, or a number with `s`, `m`, `h` or `d`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    Some(Duration::from_secs(seconds))
}

/// The two largest parts of it: `3 d 4 h`.
pub(super) fn shown(secs: u64) -> String {
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "min"),
        (secs % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2);
    let shown = shown.filter(|(count, unit)| *count > 0 || (secs == 0 && *unit == "s"));
    let shown: Vec<_> = shown
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("1", 1),
            ("90s", 90),
            ("5m", 300),
            ("24h", 86_400),
            ("366d", 31_622_400),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "h",
            "-1",
            "1.5h",
            "1w",
            "1 h",
            "5분",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_is_shown_by_its_two_largest_parts() {
        for (secs, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_661, "1 h 1 min"),
            (3_601, "1 h"),
            (277_000, "3 d 4 h"),
        ] {
            assert_eq!(shown(secs), text, "{secs}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
