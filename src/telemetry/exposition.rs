//! Metrics as text: the Prometheus text format 0.0.4, and OpenMetrics 1.0 for those who ask for it.

use std::fmt::{self, Write as _};

use crate::units::Spread;
use crate::units::count::Observed;
use crate::views::metric::{Family, Kind, Label, Value, Word};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format 0.0.4, which everybody reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What `accept`, the header of a request, asks for: OpenMetrics if it is named and not declined.
    pub fn wanted(accept: &str) -> Self {
        let wants = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let declined = parts.any(|part| {
                let weight = part.strip_prefix("q=").map(str::parse::<f32>);
                weight.is_some_and(|weight| weight.is_ok_and(|weight| weight <= 0.0))
            });
            kind.eq_ignore_ascii_case("application/openmetrics-text") && !declined
        };
        if accept.split(',').any(wants) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` of such a text.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes `families` down, in their order.
pub fn exposition(families: &[Family], format: Format) -> String {
    let mut text = String::with_capacity(64 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a string does not fail.
        let _ = write_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &Family, format: Format) -> fmt::Result {
    let Family {
        name, help, kind, ..
    } = family;
    // OpenMetrics names a counter without its suffix, and one that has none is of no known kind to it.
    let (shown, word) = match (kind, format) {
        (Kind::Counter, Format::Prometheus) => (*name, "counter"),
        (Kind::Counter, Format::OpenMetrics) => match name.strip_suffix("_total") {
            Some(shown) => (shown, "counter"),
            None => (*name, "unknown"),
        },
        (Kind::Gauge, _) => (*name, "gauge"),
        (Kind::Histogram, _) => (*name, "histogram"),
    };
    writeln!(text, "# HELP {shown} {}", Escaped(help))?;
    writeln!(text, "# TYPE {shown} {word}")?;
    for sample in &family.samples {
        let labels = &sample.labels;
        match sample.value {
            Value::Whole(value) => writeln!(text, "{name}{} {value}", Labels(labels, None))?,
            Value::Real(value) => {
                writeln!(text, "{name}{} {}", Labels(labels, None), Number(value))?;
            }
            Value::Durations(observed) => write_durations(text, name, labels, &observed)?,
        }
    }
    Ok(())
}

fn write_durations(
    text: &mut String,
    name: &str,
    labels: &[Label],
    observed: &Observed,
) -> fmt::Result {
    let mut count = 0;
    for (bound, within) in Spread::BOUNDS.iter().zip(observed.within) {
        count += within;
        let labels = Labels(labels, Some(Bound::Us(*bound)));
        writeln!(text, "{name}_bucket{labels} {count}")?;
    }
    count += observed.longer;
    let (all, sum) = (Labels(labels, Some(Bound::None)), seconds(observed.sum_us));
    writeln!(text, "{name}_bucket{all} {count}")?;
    writeln!(text, "{name}_sum{} {}", Labels(labels, None), Number(sum))?;
    writeln!(text, "{name}_count{} {count}", Labels(labels, None))
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The label `le` of a histogram.
#[derive(Clone, Copy)]
enum Bound {
    Us(u64),
    None,
}

/// `{a="b",le="0.5"}`, or nothing if there is none.
struct Labels<'a>(&'a [Label], Option<Bound>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(labels, bound) = self;
        let mut separator = '{';
        for (name, value) in *labels {
            match value {
                Word::Text(value) => write!(f, "{separator}{name}=\"{}\"", Quoted(value))?,
                Word::Number(value) => write!(f, "{separator}{name}=\"{value}\"")?,
            }
            separator = ',';
        }
        match bound {
            Some(Bound::Us(us)) => write!(f, "{separator}le=\"{}\"}}", Number(seconds(*us))),
            Some(Bound::None) => write!(f, "{separator}le=\"+Inf\"}}"),
            None if separator == ',' => f.write_char('}'),
            None => Ok(()),
        }
    }
}

/// A number with a point, as OpenMetrics has bounds.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str("NaN")
        }
    }
}

/// The text of a HELP line.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The value of a label.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                other => write!(f, "{}", Escaped(other.encode_utf8(&mut [0; 4])))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn families() -> Vec<Family> {
        let spread = Spread::default();
        spread.observe(Duration::from_micros(40));
        spread.observe_many(Duration::from_secs(9), 2);
        let side = |side| vec![("side", Word::Text(side)), ("worker", Word::Number(3))];
        vec![
            Family::counters(
                "hanok_packets_total",
                "Packets.\nAll \\ of them.",
                [(side("in"), 5), (side("o\"ut"), 6)],
            ),
            Family::counter("turn_traffic_rcvp", "coturn's.", 7),
            Family::gauge("hanok_ready", "Whether it is.", true),
            Family::gauge("hanok_age_seconds", "How long.", 2.0),
            Family::counters("hanok_nothing_total", "Nobody has it.", []),
            Family::durations(
                "hanok_seconds",
                "How long.",
                [(vec![("a", Word::Text("b"))], spread.get())],
            ),
        ]
    }

    #[test]
    fn the_text_format_has_help_type_labels_and_cumulative_buckets() {
        let text = exposition(&families(), Format::Prometheus);
        let expected = "# HELP hanok_packets_total Packets.\\nAll \\\\ of them.\n\
             # TYPE hanok_packets_total counter\n\
             hanok_packets_total{side=\"in\",worker=\"3\"} 5\n\
             hanok_packets_total{side=\"o\\\"ut\",worker=\"3\"} 6\n\
             # HELP turn_traffic_rcvp coturn's.\n\
             # TYPE turn_traffic_rcvp counter\n\
             turn_traffic_rcvp 7\n\
             # HELP hanok_ready Whether it is.\n\
             # TYPE hanok_ready gauge\n\
             hanok_ready 1\n\
             # HELP hanok_age_seconds How long.\n\
             # TYPE hanok_age_seconds gauge\n\
             hanok_age_seconds 2.0\n\
             # HELP hanok_seconds How long.\n\
             # TYPE hanok_seconds histogram\n\
             hanok_seconds_bucket{a=\"b\",le=\"2.5e-5\"} 0\n\
             hanok_seconds_bucket{a=\"b\",le=\"5e-5\"} 1\n";
        assert!(text.starts_with(expected), "{text}");
        let end = "hanok_seconds_bucket{a=\"b\",le=\"5.0\"} 1\n\
             hanok_seconds_bucket{a=\"b\",le=\"+Inf\"} 3\n\
             hanok_seconds_sum{a=\"b\"} 18.00004\n\
             hanok_seconds_count{a=\"b\"} 3\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn openmetrics_names_counters_without_their_suffix_and_ends() {
        let text = exposition(&families(), Format::OpenMetrics);
        for line in [
            "# TYPE hanok_packets counter",
            "hanok_packets_total{side=\"in\",worker=\"3\"} 5",
            "# TYPE turn_traffic_rcvp unknown",
            "turn_traffic_rcvp 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn openmetrics_comes_only_to_those_who_ask() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text; q=0, text/plain",
                Format::Prometheus,
            ),
            (
                "text/html, Application/OpenMetrics-Text",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }
}
