//! `hanok loadtest turn` against a daemon: what it says of a server that loses nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hanok::config::Config;
use hanok::loadtest::turn::{Case, Error, Login, Options, Pace, Refusal, Report, measure};
use hanok::units::Secret;

use crate::house::House;

const SECRET: &str = "a secret for this test";

/// Clients and peers live at another address than the daemon, whose own one it does not relay to.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn relaying(config: &mut Config) {
    config.turn.secrets = vec![Secret::new(SECRET)];
    config.turn.allowed_peers = vec!["127.0.0.0/8".parse().unwrap()];
}

/// A small test of `house`.
fn options(house: &House, case: Case) -> Options {
    Options {
        server: SocketAddr::from((Ipv4Addr::LOCALHOST, house.config.turn.port)),
        login: Some(Login::Secret(Secret::new(SECRET))),
        case,
        allocations: 4,
        size: 172,
        run: 1,
        pace: Pace::PerSecond(1_000),
        duration: Duration::from_millis(300),
        warm_up: Duration::from_millis(50),
        bind: Some(ELSEWHERE.into()),
        sources: None,
        peer: None,
        upper_peer: None,
        merge: false,
        pid: Some(std::process::id()),
        poll: Duration::from_micros(200),
    }
}

async fn run(options: Options) -> Result<Report, Error> {
    let never = AtomicBool::new(false);
    tokio::task::spawn_blocking(move || measure(&options, &never))
        .await
        .expect("it does not panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_relayed_arrives_whole_whichever_way_it_goes() {
    let house = House::with(relaying).await;
    for case in [Case::Up, Case::Down, Case::Pair] {
        for (size, run) in [(172, 1), (1_200, 8)] {
            let report = self::run(Options {
                size,
                run,
                ..options(&house, case)
            })
            .await
            .unwrap();
            let datagrams = report.datagrams.unwrap();
            assert!(datagrams.sent >= 200, "{case:?} {size}: {report}");
            // A machine that does other things besides may lose a little.
            assert!(
                datagrams.lost * 20 <= datagrams.sent,
                "{case:?} {size}: {report}"
            );
            let strange = (datagrams.damaged, datagrams.duplicates);
            assert_eq!(strange, (0, 0), "{case:?} {size}: {report}");
            assert_eq!(report.latency_ms.count, datagrams.received);
            assert!(report.server.is_some_and(|server| server.cpu_seconds > 0.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_many_addresses_are_answered_and_allocations_made_for_each() {
    let house = House::with(relaying).await;
    let sources = Some("127.9.0.0/24".parse().unwrap());
    let report = run(Options {
        sources,
        ..options(&house, Case::Binding)
    })
    .await
    .unwrap();
    let answers = report.datagrams.unwrap();
    assert!(answers.sent >= 200 && answers.damaged == 0, "{report}");
    assert!(answers.lost * 20 <= answers.sent, "{report}");

    for case in [Case::Allocate, Case::Idle] {
        let report = run(Options {
            sources,
            allocations: 50,
            ..options(&house, case)
        })
        .await
        .unwrap();
        assert_eq!(report.counted.count, 50, "{report}");
        assert_eq!(report.latency_ms.count, 50, "{report}");
    }

    let flood = run(Options {
        sources,
        ..options(&house, Case::Flood)
    })
    .await
    .unwrap();
    let answers = flood.datagrams.unwrap();
    assert!(answers.received > 0 && answers.damaged == 0, "{flood}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused_by_its_code() {
    let house = House::with(relaying).await;
    let error = run(Options {
        login: Some(Login::Secret(Secret::new("another"))),
        ..options(&house, Case::Up)
    })
    .await
    .unwrap_err();
    let refusal = Refusal::Code {
        method: "Allocate",
        code: 401,
    };
    let Error::Refused {
        failed,
        wanted,
        first,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((failed, wanted, first), (4, 4, refusal));
}
