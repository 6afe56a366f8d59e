//! How busy the media threads are, as the kernel tells (`/proc/self/task`, proc(5)).

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use crate::units::clock;

/// What each of so many media threads uses of a core during `window`, in percent; nothing where the kernel does not say.
pub(super) async fn load(workers: usize, window: Duration) -> Vec<Option<f64>> {
    let began = clock::now();
    let before = used(workers);
    sleep(window).await;
    let passed = clock::now().saturating_duration_since(began);
    let after = used(workers);
    let percent = |before: Option<u64>, after: Option<u64>| {
        let used = after?.checked_sub(before?)?;
        let share = Duration::from_nanos(used).as_secs_f64() / passed.as_secs_f64().max(1e-9);
        Some((share * 1000.0).round() / 10.0)
    };
    before
        .into_iter()
        .zip(after)
        .map(|(before, after)| percent(before, after))
        .collect()
}

/// Nanoseconds that each media thread has run.
fn used(workers: usize) -> Vec<Option<u64>> {
    let mut used = vec![None; workers];
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return used;
    };
    for task in tasks.flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        let worker = read("comm").and_then(|name| worker(&name));
        if let Some(slot) = worker.and_then(|worker| used.get_mut(worker)) {
            *slot = read("schedstat").and_then(|stat| ran(&stat));
        }
    }
    used
}

/// The number in a media thread's name.
fn worker(name: &str) -> Option<usize> {
    name.trim_end().strip_prefix("media-")?.parse().ok()
}

/// The first number of `schedstat`: nanoseconds on the processor.
fn ran(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_known_by_name_and_their_time_is_the_first_number() {
        assert_eq!(worker("media-0\n"), Some(0));
        assert_eq!(worker("media-17"), Some(17));
        for other in ["control", "media-", "media-x", "media", "media--1"] {
            assert_eq!(worker(other), None, "{other}");
        }
        assert_eq!(ran("123456 7 8\n"), Some(123_456));
        assert_eq!(ran(""), None);
        assert_eq!(ran("x 1 2"), None);
    }
}
