//! The log: lines on standard error, for people on a terminal and for programs otherwise.
//!
//! What is never in it: the secret, tokens, passwords, keys. Types that hold one do not print (`units::Secret`), queries
//! of URLs are left out of the access log, and the libraries beneath us, which know nothing of that, say nothing below
//! their warnings unless `HANOK_LOG` names them.

mod json;

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::service::{is_journal, thread_name};
use crate::units::{Count, LogFormat};
use crate::views::metric::{Family, Label, Word};

/// The levels of the log that has been started.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Our own targets: what a level without a module is for.
const OURS: [&str; 3] = ["hanok", "access", PANIC];

/// The target of panics.
const PANIC: &str = "panic";

/// The HTTP/2 library warns of what clients do wrong, once for every connection; its errors are enough unless
/// `HANOK_LOG` names it.
const HTTP2: &str = "h2";

/// Starts the process's log with `levels`: directives of `HANOK_LOG`, which were validated when they were read; wrong
/// ones mean `info`. Does nothing if the log was started before.
///
/// Text on a terminal has colours. Lines for the journal, which keeps its own times, begin with their priority
/// (sd-daemon(3)), so that `journalctl -p warning` finds what it should.
pub fn init(levels: &str, format: LogFormat) {
    let (levels, handle) = reload::Layer::new(targets(levels));
    let is_terminal = io::stderr().is_terminal();
    let is_json = match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let is_journal = is_journal();
    let lines = tracing_subscriber::fmt::layer();
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if is_json {
        let lines = lines.with_writer(Lines { is_journal });
        let lines = lines.event_format(json::Lines).fmt_fields(json::Fields);
        lines.boxed()
    } else if is_terminal {
        lines.with_writer(Lines { is_journal }).boxed()
    } else if is_journal {
        let lines = lines.with_writer(Lines { is_journal });
        lines.without_time().with_ansi(false).compact().boxed()
    } else {
        let lines = lines.with_writer(Lines { is_journal });
        lines.with_ansi(false).compact().boxed()
    };
    let layer = lines.and_then(Counting).with_filter(levels);
    // A second start is refused by the registry; the first log goes on.
    if tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .is_ok()
    {
        let _ = LEVELS.set(handle);
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// From now on the log that [`init`] has started has these levels.
pub fn set_levels(levels: &str) {
    if let Some(handle) = LEVELS.get() {
        // It fails only for a log that is gone, and this one lives as long as the process.
        let _ = handle.reload(targets(levels));
    }
}

/// Whether the log has been started: what ends the process belongs into it then.
pub fn is_started() -> bool {
    LEVELS.get().is_some()
}

/// The lines that were written, by level, as a metric.
pub fn family() -> Family {
    let samples = LEVEL_WORDS.iter().zip(&WRITTEN).map(|(level, count)| {
        let labels: Vec<Label> = vec![("level", Word::Text(level))];
        (labels, count.get())
    });
    Family::counters(
        "hanok_log_lines_total",
        "Lines of the log that were written, by level; those of the access log are of level info.",
        samples,
    )
}

/// Levels of [`family`], in the order of [`WRITTEN`].
const LEVEL_WORDS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// How many lines were written.
static WRITTEN: [Count; 5] = [const { Count::new() }; 5];

/// The place of a level in [`WRITTEN`].
fn place(level: Level) -> usize {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

/// Counts lines.
struct Counting;

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        WRITTEN[place(*event.metadata().level())].one();
    }
}

/// Standard error, line by line.
#[derive(Debug, Clone, Copy)]
struct Lines {
    is_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: "" }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line {
            priority: if self.is_journal {
                priority(*metadata.level())
            } else {
                ""
            },
        }
    }
}

/// One line; it is written at once.
struct Line {
    priority: &'static str,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        out.write_all(self.priority.as_bytes())?;
        self.priority = "";
        out.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// How the journal is told a level (sd-daemon(3)); its `notice` is for what must be seen without being a problem.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// A bug: where it is and what it says, as one line like any other.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = thread_name();
    let location = panic.location().map(ToString::to_string);
    let location = location.as_deref().unwrap_or("an unknown place");
    let said = panic.payload_as_str().unwrap_or("nothing");
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| backtrace.to_string());
    tracing::error!(
        target: PANIC,
        backtrace,
        "thread '{thread}' panicked at {location}: {said}"
    );
}

/// What `levels` mean. A level without a module is for us; libraries get what they are named for, and their warnings.
fn targets(levels: &str) -> Targets {
    let mut chosen =
        Targets::from_str(levels).unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    let most = chosen.default_level().unwrap_or(LevelFilter::OFF);
    let named = |chosen: &Targets, name: &str| chosen.iter().any(|(target, _)| target == name);
    for ours in OURS {
        if !named(&chosen, ours) {
            chosen = chosen.with_target(ours, most);
        }
    }
    if !chosen.iter().any(|(target, _)| target.starts_with(HTTP2)) {
        chosen = chosen.with_target(HTTP2, most.min(LevelFilter::ERROR));
    }
    chosen.with_default(most.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_fill_the_log_with_warnings_of_the_http2_library() {
        let stream = "h2::proto::streams::recv";
        for (levels, warns) in [
            ("info", false),
            ("debug", false),
            ("warn,hanok=debug", false),
            ("info,h2=warn", true),
            ("info,h2::proto=debug", true),
            ("nonsense=nonsense", false),
        ] {
            let targets = targets(levels);
            assert_eq!(
                targets.would_enable(stream, &Level::WARN),
                warns,
                "{levels}"
            );
            assert!(targets.would_enable(stream, &Level::ERROR), "{levels}");
            assert!(targets.would_enable("hanok", &Level::WARN), "{levels}");
        }
        assert!(!targets("off").would_enable(stream, &Level::ERROR));
    }

    #[test]
    fn a_level_for_all_is_for_us_and_libraries_speak_when_they_are_named() {
        let of = |levels: &str, target: &str| {
            let targets = targets(levels);
            let levels = [
                Level::TRACE,
                Level::DEBUG,
                Level::INFO,
                Level::WARN,
                Level::ERROR,
            ];
            levels
                .into_iter()
                .find(|level| targets.would_enable(target, level))
        };
        let session = "hanok::control::session";
        for (levels, target, most) in [
            ("trace", session, Some(Level::TRACE)),
            ("trace", "access", Some(Level::TRACE)),
            ("trace", PANIC, Some(Level::TRACE)),
            ("trace", "hyper_util::client", Some(Level::WARN)),
            (
                "trace,hyper_util=trace",
                "hyper_util::client",
                Some(Level::TRACE),
            ),
            ("error", "hyper_util::client", Some(Level::ERROR)),
            ("info,access=off", "access", None),
            ("info,access=off", session, Some(Level::INFO)),
            ("warn,hanok::media=debug", session, Some(Level::WARN)),
            (
                "warn,hanok::media=debug",
                "hanok::media::worker",
                Some(Level::DEBUG),
            ),
            ("hanok=debug", session, Some(Level::DEBUG)),
            ("hanok=debug", "access", None),
            ("off", session, None),
        ] {
            assert_eq!(of(levels, target), most, "{target} with {levels}");
        }
    }

    #[test]
    fn every_level_has_its_place_and_its_priority() {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        for (level, word) in levels.into_iter().zip(LEVEL_WORDS) {
            assert!(level.as_str().eq_ignore_ascii_case(word));
            assert_eq!(LEVEL_WORDS[place(level)], word);
        }
        assert_eq!(levels.map(priority), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }
}
