//! The log: lines on standard error, for people on a terminal and for the journal otherwise.

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The levels of the log that has been started.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The HTTP/2 library warns of what clients do wrong, once for every connection; its errors are enough unless
/// `HANOK_LOG` names it.
const HTTP2: &str = "h2";

/// Starts the process's log with `levels`: directives of `HANOK_LOG`, which were validated when they were read; wrong
/// ones mean `info`. Does nothing if the log was started before.
///
/// A terminal gets colours and times; the journal, which keeps its own times, gets neither; anything else gets times.
pub fn init(levels: &str) {
    let (levels, handle) = reload::Layer::new(targets(levels));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if io::stderr().is_terminal() {
        lines.with_filter(levels).boxed()
    } else if std::env::var_os("JOURNAL_STREAM").is_some() {
        let lines = lines.without_time().with_ansi(false).compact();
        lines.with_filter(levels).boxed()
    } else {
        lines.with_ansi(false).compact().with_filter(levels).boxed()
    };
    // A second start is refused by the registry; the first log goes on.
    if tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .is_ok()
    {
        let _ = LEVELS.set(handle);
    }
}

/// From now on the log that [`init`] has started has these levels.
pub fn set_levels(levels: &str) {
    if let Some(handle) = LEVELS.get() {
        // It fails only for a log that is gone, and this one lives as long as the process.
        let _ = handle.reload(targets(levels));
    }
}

fn targets(levels: &str) -> Targets {
    let chosen =
        Targets::from_str(levels).unwrap_or_else(|_| Targets::new().with_default(Level::INFO));
    if chosen.iter().any(|(target, _)| target.starts_with(HTTP2)) {
        return chosen;
    }
    let most = chosen.default_level().unwrap_or(LevelFilter::OFF);
    chosen.with_target(HTTP2, most.min(LevelFilter::ERROR))
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
}
