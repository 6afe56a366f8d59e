//! A test as a program: a runtime, signals, a progress bar, the result.

use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::scenario::{Error, Options, Progress, measure};

/// Characters of the bar.
const BAR: usize = 30;

/// Where a test prints to.
pub struct Printing<'a> {
    /// The result.
    pub out: &'a mut dyn Write,
    /// Progress and problems.
    pub err: &'a mut dyn Write,
    /// Whether progress is wanted.
    pub bar: bool,
    /// The line of JSON and nothing else.
    pub json_only: bool,
}

/// Runs a test and prints its result; true if there is a valid one. SIGINT and SIGTERM end it early but cleanly.
///
/// # Errors
/// Printing failed.
pub fn run(options: &Options, printing: Printing<'_>) -> io::Result<bool> {
    let Printing {
        out,
        err,
        bar,
        json_only,
    } = printing;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut tell = |progress: Progress| {
            if bar {
                // A terminal that has gone away does not stop a measurement.
                let _ = write!(err, "\r\x1b[K{}", line(progress)).and_then(|()| err.flush());
            }
        };
        let measuring = measure(options, &stop, &mut tell);
        tokio::pin!(measuring);
        Ok::<_, io::Error>(tokio::select! {
            result = &mut measuring => result,
            _ = interrupt.recv() => {
                stop.cancel();
                finish(measuring, &mut interrupt).await
            }
            _ = terminate.recv() => {
                stop.cancel();
                finish(measuring, &mut interrupt).await
            }
        })
    })?;
    if bar {
        write!(err, "\r\x1b[K")?;
    }
    match result {
        Ok(report) => {
            if !json_only {
                writeln!(out, "{report}")?;
            }
            writeln!(out, "{}", report.to_json())?;
            Ok(report.valid)
        }
        Err(error) => {
            writeln!(err, "hanok loadtest: {error}")?;
            Ok(false)
        }
    }
}

/// Goodbyes are said, unless somebody asks a second time.
async fn finish<R>(
    measuring: impl Future<Output = Result<R, Error>>,
    interrupt: &mut tokio::signal::unix::Signal,
) -> Result<R, Error> {
    tokio::select! {
        result = measuring => result,
        _ = interrupt.recv() => Err(Error::Interrupted),
    }
}

fn line(progress: Progress) -> String {
    match progress {
        Progress::Joining(done, all) => {
            format!(
                "{} {done} of {all} have joined",
                drawn(done as f64, all as f64)
            )
        }
        Progress::Measuring {
            passed,
            whole,
            rate,
        } => format!(
            "{} {:.0} of {:.0} s, {rate} packets/s",
            drawn(passed.as_secs_f64(), whole.as_secs_f64()),
            passed.as_secs_f64(),
            whole.max(Duration::from_secs(1)).as_secs_f64()
        ),
        Progress::Leaving => "leaving".to_owned(),
    }
}

fn drawn(part: f64, whole: f64) -> String {
    let full = ((part / whole.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0) * BAR as f64) as usize;
    format!("[{}{}]", "#".repeat(full), " ".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_and_never_overflows() {
        assert_eq!(drawn(0.0, 0.0), format!("[{}]", " ".repeat(BAR)));
        assert_eq!(drawn(5.0, 1.0), format!("[{}]", "#".repeat(BAR)));
        assert_eq!(drawn(1.0, 2.0).matches('#').count(), BAR / 2);
    }
}
