//! `hanok loadtest` against a daemon: what it says of a server that loses nothing.

use std::time::Duration;

use hanok::config::values::SubscribeOffer;
use hanok::loadtest::{Error, Options, Progress, Report, SrtpProfile, Trust, Video, measure};
use hanok::units::Secret;
use tokio_util::sync::CancellationToken;

use crate::house::House;

/// A small test of `house`.
fn options(house: &House) -> Options {
    Options {
        url: format!("http://{}", house.plain()),
        secret: Secret::new("MY_SECRET"),
        trust: Trust::System,
        sessions: 1,
        publishers: 1,
        subscribers: 3,
        mesh: false,
        burst: 0,
        duration: Duration::from_millis(800),
        warm_up: Duration::from_millis(200),
        video: Some(Video {
            kbps: 250,
            fps: 15,
            pace: Duration::ZERO,
        }),
        audio: true,
        rtx: true,
        profile: None,
        offer: None,
        pid: Some(std::process::id()),
        poll: Duration::from_micros(500),
        playout_delay: Duration::from_millis(200),
        join_rate: 0,
        seed: 1,
    }
}

async fn run(options: &Options) -> Result<Report, Error> {
    measure(options, &CancellationToken::new(), &mut |_| {}).await
}

/// What was sent has arrived, once. A machine that does other things besides may lose a little at the end of the
/// measurement, where there is no time to ask again; a server that forgets a stream or a track loses a quarter at least.
fn assert_flawless(report: &Report, subscriptions: usize) {
    let packets = &report.packets;
    assert_eq!(report.case.subscriptions, subscriptions);
    assert!(packets.expected > 20 * subscriptions as u64, "{report}");
    assert!(packets.lost * 20 <= packets.expected, "{report}");
    assert_eq!(packets.duplicates, 0, "{report}");
    assert_eq!((packets.unauthentic, packets.foreign), (0, 0), "{report}");
    assert_eq!((report.failed, report.silent), (0, 0), "{report}");
    assert_eq!(report.latency_ms.count, packets.received);
    if let Some(frames) = &report.frames {
        assert!(
            frames.expected > 0 && frames.shown_percent > 80.0,
            "{report}"
        );
    }
    assert_eq!(report.join_ms.count, subscriptions as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whoever_offers_and_under_every_profile() {
    let house = House::open().await;
    for (profile, name, offer) in [
        (
            SrtpProfile::Aes128CmSha1_80,
            "AES128_CM_SHA1_80",
            SubscribeOffer::Client,
        ),
        (
            SrtpProfile::AeadAes128Gcm,
            "AEAD_AES_128_GCM",
            SubscribeOffer::Server,
        ),
        (
            SrtpProfile::AeadAes256Gcm,
            "AEAD_AES_256_GCM",
            SubscribeOffer::Client,
        ),
        (
            SrtpProfile::Aes128CmSha1_80,
            "AES128_CM_SHA1_80",
            SubscribeOffer::Server,
        ),
    ] {
        let options = Options {
            profile: Some(profile),
            offer: Some(offer),
            ..options(&house)
        };
        let report = run(&options).await.unwrap();
        assert_flawless(&report, 3);
        assert_eq!(report.case.profile, Some(name));
        assert!(report.server.is_some_and(|server| server.cpu_seconds > 0.0));
        house.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meshes_of_several_sessions_keep_apart_and_servers_that_offer_are_believed() {
    let house =
        House::with(|config| config.sessions.subscribe_offer = SubscribeOffer::Server).await;
    let options = Options {
        sessions: 2,
        publishers: 3,
        subscribers: 1,
        mesh: true,
        rtx: false,
        ..options(&house)
    };
    let report = run(&options).await.unwrap();
    // Each of three receives two others, and the fourth receives all.
    assert_flawless(&report, 2 * (3 * 2 + 3));
    assert_eq!(
        report.case.profile,
        Some("AEAD_AES_256_GCM"),
        "the server's choice"
    );
    house.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_joins_is_told_apart_from_those_who_were_there() {
    let house = House::open().await;
    let options = Options {
        burst: 5,
        audio: false,
        ..options(&house)
    };
    let report = run(&options).await.unwrap();
    assert_flawless(&report, 3);
    let burst = report.burst.unwrap();
    assert_eq!(
        (burst.wanted, burst.failed, burst.join_ms.count),
        (5, 0, 5),
        "{report}"
    );
    house.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_that_is_stopped_leaves_its_rooms() {
    let house = House::open().await;
    let stop = CancellationToken::new();
    let options = Options {
        duration: Duration::from_secs(60),
        ..options(&house)
    };
    let mut has_measured = false;
    let mut once_it_measures = |progress| {
        if let Progress::Measuring { rate, .. } = progress
            && rate > 0
        {
            has_measured = true;
            stop.cancel();
        }
    };
    let report = measure(&options, &stop, &mut once_it_measures)
        .await
        .unwrap();
    assert!(has_measured && report.interrupted && report.seconds < 60.0);
    assert_eq!(report.packets.lost, 0);
    house.is_empty().await;

    let stop = CancellationToken::new();
    let mut at_once = |progress| {
        if let Progress::Joining(..) = progress {
            stop.cancel();
        }
    };
    let report = measure(&options, &stop, &mut at_once).await;
    assert!(matches!(report, Err(Error::Interrupted)));
    house.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_named_as_such() {
    let house = House::open().await;
    let options = Options {
        secret: Secret::new("another"),
        ..options(&house)
    };
    let error = run(&options).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("secret"), "{error}");
}
