//! What a text must satisfy before a parser sees it (RFC 8866 section 9).

use super::Rejection;

/// The longest description that is read.
pub const MAX_BYTES: usize = 256 * 1024;
/// The most media sections in one description.
pub const MAX_SECTIONS: usize = 256;
/// The most lines in one description: 256 sections of 64 lines.
pub const MAX_LINES: usize = 16 * 1024;
/// The longest line; identity assertions are the longest that browsers write.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Checks size, line count, line lengths, section count and that every line is `x=value` without control characters.
///
/// # Errors
/// The first bound that `text` breaks, with its line number.
pub(super) fn check(text: &str) -> Result<(), Rejection> {
    if text.len() > MAX_BYTES {
        return Err(malformed(format!(
            "it has {} bytes, the limit is {MAX_BYTES}",
            text.len()
        )));
    }
    let mut sections = 0;
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        if number > MAX_LINES {
            return Err(malformed(format!("it has more than {MAX_LINES} lines")));
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(malformed(format!(
                "line {number} has {} bytes, the limit is {MAX_LINE_BYTES}",
                line.len()
            )));
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(malformed(format!(
                "line {number} contains a control character"
            )));
        }
        let &[kind, b'=', ..] = line.as_bytes() else {
            return Err(malformed(format!(
                "line {number} is not of the form x=value"
            )));
        };
        if !kind.is_ascii_lowercase() {
            return Err(malformed(format!(
                "line {number} does not begin with a lower-case letter"
            )));
        }
        if kind == b'm' {
            sections += 1;
            if sections > MAX_SECTIONS {
                return Err(malformed(format!(
                    "it has more than {MAX_SECTIONS} media sections"
                )));
            }
        }
    }
    Ok(())
}

fn malformed(what: String) -> Rejection {
    Rejection::Malformed(format!("the session description is not accepted: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        check(text).expect_err("refused").to_string()
    }

    #[test]
    fn every_bound_holds_exactly() {
        assert_eq!(check("v=0\r\no=x\ns=-\r\n\r\n"), Ok(()));

        let line = format!("a={}\n", "x".repeat(MAX_LINE_BYTES - 2));
        assert_eq!(check(&line), Ok(()));
        assert!(reason(&format!("v=0\na=x{}", &line[2..])).starts_with(
            "the session description is not accepted: line 2 has 8193 bytes, the limit is 8192"
        ));

        assert_eq!(check(&"a=x\n".repeat(MAX_LINES - 1)), Ok(()));
        assert!(reason(&"a=x\n".repeat(MAX_LINES)).contains("more than 16384 lines"));

        assert_eq!(check(&"m=x\n".repeat(MAX_SECTIONS)), Ok(()));
        assert!(reason(&"m=x\n".repeat(MAX_SECTIONS + 1)).contains("more than 256 media sections"));

        let full = "a=xxxxx\n".repeat(MAX_BYTES / 8);
        assert!(!reason(&full).contains("bytes"));
        assert!(reason(&format!("{full}\n")).contains("262145 bytes"));
    }

    #[test]
    fn lines_of_another_shape_are_named() {
        assert!(reason("v=0\n{}").contains("line 2 is not of the form"));
        assert!(reason("v=0\nA=x").contains("line 2 does not begin"));
        assert!(reason("v=0\ra=x").contains("line 1 contains a control character"));
        assert!(reason("v=0\na=\0").contains("line 2 contains a control character"));
        assert!(reason("é=x").contains("line 1 is not of the form"));
    }
}
