//! Dates as HTTP and access logs write them.

/// The parts of a moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: usize,
    day: u64,
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// `secs` since the Unix epoch as an IMF-fixdate (RFC 9110 section 5.6.7).
pub fn http_date(secs: u64) -> String {
    let at = civil(secs);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS.get(at.weekday).unwrap_or(&""),
        at.day,
        MONTHS.get(at.month).unwrap_or(&""),
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}

/// `secs` since the Unix epoch as the common log format has it, in UTC.
pub fn log_date(secs: u64) -> String {
    let at = civil(secs);
    format!(
        "{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000",
        at.day,
        MONTHS.get(at.month).unwrap_or(&""),
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}

/// The Gregorian calendar, reckoned from 1 March 0000 in eras of 400 years, so that leap days come last in a year.
fn civil(secs: u64) -> Civil {
    let (days, second) = (secs / 86_400, secs % 86_400);
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let is_next_year = month_from_march >= 10;
    let month = if is_next_year {
        month_from_march - 10
    } else {
        month_from_march + 2
    };
    Civil {
        year: era * 400 + year_of_era + u64::from(is_next_year),
        month: usize::try_from(month).unwrap_or_default(),
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        weekday: usize::try_from(days % 7).unwrap_or_default(),
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
    }
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
        assert!(http_date(u64::MAX / 2).ends_with("GMT"));
    }
}
