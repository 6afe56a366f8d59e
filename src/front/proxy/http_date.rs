//! Dates as HTTP and access logs write them.

use std::time::{Duration, UNIX_EPOCH};

/// `secs` since the Unix epoch as an IMF-fixdate (RFC 9110 section 5.6.7).
pub fn http_date(secs: u64) -> String {
    // Later ones cannot be written, and do not come.
    const END_OF_YEAR_9999: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs.min(END_OF_YEAR_9999)))
}

/// `secs` since the Unix epoch as the common log format has it, in UTC.
pub fn log_date(secs: u64) -> String {
    let text = http_date(secs);
    // The day of the week stands before, the zone behind.
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    format!("{}/{}/{}:{} +0000", word(), word(), word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 9110 section 5.6.7.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(secs), expected);
        }
        assert_eq!(log_date(784_111_777), "06/Nov/1994:08:49:37 +0000");
    }

    #[test]
    fn no_moment_is_out_of_reach() {
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
