//! Any number of reloads of any files (`robustness` R14), and where the control socket is said to be meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::{GOOD, loaded, machine};
use crate::config::key::{AnyKey, Reload};
use crate::config::layers::OPENVIDU_FILE;
use crate::config::{Loaded, Options, control_socket, keys, load, reload};

/// A file in which some keys are set, mostly to values that they accept.
fn file() -> impl Strategy<Value = String> {
    let line = (any::<Index>(), any::<Index>(), 0..40_u8);
    prop::collection::vec(line, 0..12).prop_map(|lines| {
        let free: Vec<&dyn AnyKey> = keys::all()
            .filter(|key| !GOOD.contains(key.about().name))
            .collect();
        let mut set = BTreeMap::new();
        for (key, value, odds) in lines {
            let about = key.get(&free).about();
            let is_bad = odds == 0 && !about.refuses.is_empty();
            let values = if is_bad { about.refuses } else { about.accepts };
            set.insert(about.name, *value.get(values));
        }
        set.iter().fold(GOOD.to_owned(), |file, (name, value)| {
            format!("{file}{name}={value}\n")
        })
    })
}

fn values(loaded: &Loaded) -> Vec<(&'static str, Option<String>)> {
    keys::all()
        .map(|key| {
            let about = key.about();
            (about.name, loaded.merged.value(about).map(str::to_owned))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After every reload each key has the value that the file gives it if a reload may change it, else the one that the
    /// process began with; and if anything is wrong, each has the one that it had.
    #[test]
    fn the_effective_configuration_is_what_the_reloads_have_promised(
        start in file(), files in prop::collection::vec(file(), 1..40),
    ) {
        let options = Options::default();
        let Ok(start) = load(&machine(&start), &options) else { return Ok(()) };
        let (at_start, mut running) = (values(&start), start);
        for file in files {
            let before = (values(&running), format!("{:?}", running.config));
            let alone = load(&machine(&file), &options);
            match reload(&machine(&file), &options, &running) {
                Err(report) => {
                    // The reason names what to change.
                    prop_assert!(!report.problems.is_empty());
                    prop_assert_eq!(&before, &(values(&running), format!("{:?}", running.config)));
                }
                Ok(reloaded) => {
                    prop_assert!(alone.is_ok(), "what no start would take: {}", file);
                    let fresh = values(&alone.expect("it is"));
                    let now = values(&reloaded.loaded);
                    for (index, key) in keys::all().enumerate() {
                        let about = key.about();
                        let expected = match about.reload {
                            Reload::Live => &fresh[index],
                            Reload::Restart => &at_start[index],
                        };
                        prop_assert_eq!(&now[index], expected, "{}", file);
                        let has_changed = now[index] != before.0[index];
                        prop_assert_eq!(has_changed, reloaded.changed.contains(&about.name));
                    }
                    running = reloaded.loaded;
                }
            }
        }
    }
}

#[test]
fn a_thousand_reloads_later_a_process_is_as_if_it_had_just_begun() {
    let options = Options::default();
    let mut running = loaded(GOOD);
    for number in 0..1_000_u32 {
        let line = match number % 10 {
            // Every tenth is of no use.
            9 => "HANOK_TURN_USER_QUOTA=many".to_owned(),
            _ => format!(
                "HANOK_TURN_USER_QUOTA={number}\nHTTPS_PORT={}",
                10_000 + number
            ),
        };
        let file = format!("{GOOD}{line}\n");
        match reload(&machine(&file), &options, &running) {
            Ok(reloaded) => {
                assert_ne!(number % 10, 9);
                assert_eq!(reloaded.at_next_start, ["HTTPS_PORT"]);
                running = reloaded.loaded;
                assert_eq!(running.config.turn.limits.user_quota, number);
            }
            Err(report) => {
                assert_eq!(number % 10, 9, "{report}");
                let kept = running.config.turn.limits.user_quota;
                assert_eq!(kept, number - 1);
                assert!(report.to_string().contains("HANOK_TURN_USER_QUOTA=many"));
            }
        }
    }
    assert_eq!(running.config.web.https_port, 443);
    let last = format!("{GOOD}HANOK_TURN_USER_QUOTA=998\n");
    assert_eq!(
        format!("{:?}", running.config),
        format!("{:?}", loaded(&last).config)
    );
}

#[test]
fn the_control_socket_is_found_whatever_else_is_wrong() {
    let options = Options::default();
    let default = Path::new("/run/hanok/control.sock");
    for file in [
        "",
        "HTTPS_PORT=x\nno key at all\n",
        "HANOK_CONTROL_SOCKET=\n",
    ] {
        let found = control_socket(&machine(file), &options);
        assert_eq!(found.as_deref().ok(), Some(default), "{file}");
    }
    let file = "HTTPS_PORT=x\nHANOK_CONTROL_SOCKET=/run/other.sock\n";
    let found = control_socket(&machine(file), &options).expect("it is said");
    assert_eq!(found, Path::new("/run/other.sock"));
    // Only root and the daemon may read it.
    let mut unreadable = machine(file);
    unreadable.forbidden.push(PathBuf::from(OPENVIDU_FILE));
    let found = control_socket(&unreadable, &options).expect("the default");
    assert_eq!(found, default);
    // Who names a file means that one.
    let named = Options {
        env_file: Some("/none".into()),
        ..Options::default()
    };
    let report = control_socket(&machine(file), &named).expect_err("it is missing");
    assert!(report.to_string().contains("/none"), "{report}");
}
