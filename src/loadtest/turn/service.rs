//! A test as a program: signals, the result.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::{Options, measure};

/// Where a test prints to.
pub struct Printing<'a> {
    /// The result.
    pub out: &'a mut dyn Write,
    /// Problems.
    pub err: &'a mut dyn Write,
    /// The line of JSON and nothing else.
    pub json_only: bool,
}

/// Runs a test and prints its result; true if there is a valid one. SIGINT and SIGTERM end it early but cleanly.
///
/// # Errors
/// Printing failed.
pub fn run(options: Options, printing: Printing<'_>) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let result = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let asked = stop.clone();
        let mut measuring = tokio::task::spawn_blocking(move || measure(&options, &asked));
        let result = tokio::select! {
            result = &mut measuring => result,
            _ = interrupt.recv() => {
                stop.store(true, Ordering::Relaxed);
                measuring.await
            }
            _ = terminate.recv() => {
                stop.store(true, Ordering::Relaxed);
                measuring.await
            }
        };
        // Its panic was printed where it happened.
        result.map_err(io::Error::other)
    })?;
    match result {
        Ok(report) => {
            if !printing.json_only {
                writeln!(printing.out, "{report}")?;
            }
            writeln!(printing.out, "{}", report.to_json())?;
            Ok(report.valid)
        }
        Err(error) => {
            writeln!(printing.err, "hanok loadtest turn: {error}")?;
            Ok(false)
        }
    }
}
