//! One JSON object in each line:
//!
//! ```json
//! {"time":"2026-11-21T03:10:00.123456Z","level":"INFO","target":"hanok::control::session::service::actor",
//!  "message":"joined","fields":{"connection":"con_A"},"spans":{"session":{"id":"ses_1"}}}
//! ```
//!
//! `fields` and `spans` are left out where there are none. Of spans with one name the innermost counts.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The field that a macro's text is in.
const MESSAGE: &str = "message";

/// Writes events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines;

/// Writes the fields of spans, as an object that [`Lines`] reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut fields = Collected::default();
        event.record(&mut fields);
        let message = fields.0.remove(MESSAGE).unwrap_or_default();
        let mut spans = Map::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|it| it.from_root())
        {
            let extensions = span.extensions();
            let fields = extensions
                .get::<FormattedFields<N>>()
                .and_then(|fields| serde_json::from_str(&fields.fields).ok());
            spans.insert(span.name().to_owned(), fields.unwrap_or(Value::Null));
        }
        let mut line = Map::new();
        line.insert("time".to_owned(), time.into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        line.insert(MESSAGE.to_owned(), message);
        if !fields.0.is_empty() {
            line.insert("fields".to_owned(), fields.0.into());
        }
        if !spans.is_empty() {
            line.insert("spans".to_owned(), spans.into());
        }
        writeln!(writer, "{}", Value::from(line))
    }
}

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut collected = Collected::default();
        fields.record(&mut collected);
        write!(writer, "{}", Value::from(collected.0))
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let mut collected = Collected(serde_json::from_str(&current.fields).unwrap_or_default());
        fields.record(&mut collected);
        current.fields = Value::from(collected.0).to_string();
        Ok(())
    }
}

/// Fields by name, in the order in which they were given.
#[derive(Debug, Default)]
struct Collected(Map<String, Value>);

impl Collected {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        // Raw identifiers are an affair of the language's.
        let name = field.name().trim_start_matches("r#");
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Collected {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let paper = Paper::default();
        let writer = {
            let paper = paper.clone();
            move || paper.clone()
        };
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .event_format(Lines)
            .fmt_fields(Fields);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn a_line_has_time_level_target_message_fields_and_spans() {
        let [line] = lines(|| {
            let outer = tracing::info_span!("session", id = "ses_1");
            let inner = outer.in_scope(
                || tracing::info_span!("socket", id = 7_u64, session = tracing::field::Empty),
            );
            inner.record("session", "ses_1");
            inner.in_scope(|| {
                tracing::warn!(target: "hanok::here", count = 3, ok = true, reason = ?Some(1), "it \"said\"\nso");
            });
        })
        .try_into()
        .unwrap();
        let time = line["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 27, "{time}");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "hanok::here");
        assert_eq!(line["message"], "it \"said\"\nso");
        let fields = json!({"count": 3, "ok": true, "reason": "Some(1)"});
        assert_eq!(line["fields"], fields);
        let spans = json!({"session": {"id": "ses_1"}, "socket": {"id": 7, "session": "ses_1"}});
        assert_eq!(line["spans"], spans);
    }

    #[test]
    fn whatever_is_logged_stays_one_line() {
        let lines = lines(|| {
            for text in [
                "a\nb",
                "{\"level\":\"ERROR\"}",
                "\u{1b}[31m",
                "\u{2028}",
                "\0",
            ] {
                tracing::info!(text, "{text}");
            }
            tracing::info!("nothing beside");
        });
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0]["fields"]["text"], "a\nb");
        assert_eq!(lines[1]["level"], "INFO");
        assert!(lines[5].get("fields").is_none() && lines[5].get("spans").is_none());
    }
}
