use proptest::prelude::*;

use super::*;

/// 2026-11-20, in the middle of a day.
const T0: u64 = 1_795_176_000;
const HOUR: u64 = 3600;
const BOTH: [Challenge; 2] = [Challenge::Http01, Challenge::TlsAlpn01];

fn plan(offered: &[Challenge], held: Option<Validity>) -> Plan {
    Plan::new(offered.to_vec(), true, Progress::default(), held)
}

fn days(from: u64, days: u64) -> Validity {
    Validity {
        from,
        until: from + days * DAY,
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        reason: "because".to_owned(),
        retry_after: None,
    }
}

fn order(server: Server, challenge: Challenge) -> Step {
    Step::Order { server, challenge }
}

/// An authority in virtual time: what it is asked, and when.
struct Run {
    plan: Plan,
    random: Random,
    now: u64,
    orders: Vec<(u64, Server, Challenge)>,
}

impl Run {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            random: Random::seeded(1),
            now: T0,
            orders: Vec::new(),
        }
    }

    /// Lets time pass until `end`; `answer` decides each order.
    fn until(
        &mut self,
        end: u64,
        mut answer: impl FnMut(u64, Server, Challenge) -> Result<Validity, Failure>,
    ) {
        for _ in 0..100_000 {
            match self.plan.poll(self.now) {
                Step::Wait { until } => {
                    assert!(until > self.now, "a wait passes time");
                    self.now = until;
                }
                Step::AskRenewalInfo => self.plan.renewal_info(self.now, None, DAY),
                Step::Order { server, challenge } => {
                    self.orders.push((self.now, server, challenge));
                    match (server, answer(self.now, server, challenge)) {
                        (Server::Main, Ok(validity)) => {
                            self.plan.issued(self.now, validity, &mut self.random);
                        }
                        (Server::Staging, Ok(_)) => self.plan.rehearsed(self.now),
                        (_, Err(failure)) => {
                            self.plan.failed(self.now, failure, &mut self.random);
                        }
                    }
                    self.now += 1;
                }
            }
            if self.now >= end {
                self.now = end;
                return;
            }
        }
        panic!("it never rests: {:?}", &self.orders[..20]);
    }

    fn of(&self, server: Server) -> usize {
        self.orders.iter().filter(|order| order.1 == server).count()
    }
}

#[test]
fn without_a_certificate_it_is_ordered_at_once_and_renewed_within_two_thirds_of_its_life() {
    let mut run = Run::new(plan(&BOTH, None));
    run.until(T0 + 365 * DAY, |now, _, _| Ok(days(now - HOUR, 90)));
    assert_eq!(run.orders[0], (T0, Server::Main, Challenge::Http01));
    assert_eq!(run.orders.len(), 7);
    for pair in run.orders.windows(2) {
        let age = pair[1].0 - pair[0].0;
        assert!((57 * DAY..=60 * DAY + 1).contains(&age), "{age}");
    }
}

#[test]
fn certificates_of_two_minutes_and_of_six_days_are_renewed_in_time() {
    for life in [120, 6 * DAY] {
        let mut run = Run::new(plan(&BOTH, None));
        run.until(T0 + 50 * life, |now, _, _| {
            Ok(Validity {
                from: now,
                until: now + life,
            })
        });
        for pair in run.orders.windows(2) {
            let age = pair[1].0 - pair[0].0;
            assert!(age >= life / 2 && age <= life * 3 / 4, "{age} of {life}");
        }
    }
}

#[test]
fn challenges_are_tried_in_turn_and_what_worked_is_kept() {
    let mut run = Run::new(plan(&BOTH, None));
    let no_port_80 = |now, _, challenge| match challenge {
        Challenge::Http01 => Err(failure(FailureKind::Invalid)),
        Challenge::TlsAlpn01 => Ok(days(now, 90)),
    };
    run.until(T0 + 100 * DAY, no_port_80);
    let used: Vec<_> = run.orders.iter().map(|order| order.2).collect();
    assert_eq!(
        used,
        [
            Challenge::Http01,
            Challenge::TlsAlpn01,
            Challenge::TlsAlpn01
        ]
    );
    assert!(run.orders[1].0 <= T0 + 1, "the other way needs no wait");
}

#[test]
fn repeated_refusals_go_to_staging_and_a_success_there_comes_back_at_once() {
    let mut run = Run::new(plan(&BOTH, None));
    let repaired_at = T0 + 5 * HOUR;
    run.until(T0 + DAY, |now, _, _| {
        if now < repaired_at {
            Err(failure(FailureKind::Invalid))
        } else {
            Ok(days(now, 90))
        }
    });
    assert_eq!(run.of(Server::Main), 3, "{:?}", run.orders);
    let [.., rehearsal, last] = run.orders[..] else {
        panic!("{:?}", run.orders)
    };
    assert_eq!(rehearsal.1, Server::Staging);
    assert_eq!((last.1, last.2), (Server::Main, rehearsal.2));
    assert!(last.0 <= rehearsal.0 + 1);
    assert!(last.0 <= repaired_at + 2 * HOUR, "repairs are seen soon");
}

#[test]
fn a_server_without_a_twin_is_asked_ever_more_rarely() {
    let mut run = Run::new(Plan::new(BOTH.to_vec(), false, Progress::default(), None));
    run.until(T0 + 10 * DAY, |_, _, _| Err(failure(FailureKind::Invalid)));
    assert_eq!(run.of(Server::Staging), 0);
    let within = |time: u64| {
        run.orders
            .iter()
            .filter(|order| order.0 < T0 + time)
            .count()
    };
    assert!(within(HOUR) <= 5, "Let's Encrypt's limit: {:?}", run.orders);
    assert!(within(DAY) <= 6);
    assert!(
        (12..=16).contains(&within(10 * DAY)),
        "{}",
        within(10 * DAY)
    );
}

#[test]
fn no_hour_of_any_failure_sees_more_than_five_failed_validations_in_production() {
    for seed in 0..200 {
        let mut answers = Random::seeded(seed);
        let mut run = Run::new(plan(&BOTH, None));
        run.until(T0 + 3 * DAY, |_, server, _| {
            let luck = answers.u32() % 4;
            match (server, luck) {
                (Server::Staging, 0 | 1) => Ok(days(T0, 90)),
                (_, 2) => Err(failure(FailureKind::Unreachable)),
                _ => Err(failure(FailureKind::Invalid)),
            }
        });
        let main: Vec<u64> = run
            .orders
            .iter()
            .filter(|order| order.1 == Server::Main)
            .map(|order| order.0)
            .collect();
        for (index, at) in main.iter().enumerate() {
            let hour = main[index..].iter().filter(|other| **other < at + HOUR);
            assert!(hour.count() <= 5, "seed {seed}: {main:?}");
        }
    }
}

#[test]
fn an_authority_that_is_down_for_thirty_days_is_asked_about_daily_and_the_renewal_comes_when_it_is_back()
 {
    let held = days(T0 - 60 * DAY, 90);
    let mut run = Run::new(plan(&BOTH, Some(held)));
    let back_at = T0 + 29 * DAY;
    run.until(back_at, |_, _, _| Err(failure(FailureKind::Unreachable)));
    assert_eq!(run.of(Server::Staging), 0, "nothing was refused");
    let early = run.orders.iter().filter(|order| order.0 < T0 + DAY);
    assert!(early.count() <= 6);
    assert!(run.orders.len() < 60, "{}", run.orders.len());
    let before = run.orders.len();
    run.until(T0 + 35 * DAY, |now, _, _| Ok(days(now, 90)));
    assert_eq!(run.orders.len(), before + 1);
    assert!(run.orders[before].0 < held.until, "in time");
}

#[test]
fn a_server_that_says_when_to_come_back_is_obeyed_within_reason() {
    for (said, waited) in [(7200, 7200), (400 * DAY, 7 * DAY)] {
        let mut plan = plan(&BOTH, None);
        let limited = Failure {
            retry_after: Some(said),
            ..failure(FailureKind::Refused)
        };
        plan.failed(T0, limited, &mut Random::seeded(1));
        assert_eq!(plan.poll(T0), Step::Wait { until: T0 + waited });
    }
}

#[test]
fn restarts_change_nothing() {
    let mut plan = plan(&BOTH, None);
    let mut random = Random::seeded(3);
    let mut orders = 0;
    for restart in 0..100 {
        let now = T0 + restart;
        if let Step::Order { .. } = plan.poll(now) {
            orders += 1;
            plan.failed(now, failure(FailureKind::Unreachable), &mut random);
        }
        let text = serde_json::to_string(plan.progress()).unwrap();
        let kept = serde_json::from_str(&text).unwrap();
        assert_eq!(plan.progress(), &kept);
        plan = Plan::new(BOTH.to_vec(), true, kept, None);
    }
    assert_eq!(orders, 2, "100 seconds: at once, and after a minute");
}

#[test]
fn the_operator_need_not_wait() {
    let mut plan = plan(&BOTH, Some(days(T0, 90)));
    plan.failed(T0, failure(FailureKind::Refused), &mut Random::seeded(1));
    plan.want();
    assert_eq!(plan.poll(T0), order(Server::Main, Challenge::Http01));
    plan.failed(
        T0,
        failure(FailureKind::Unreachable),
        &mut Random::seeded(1),
    );
    assert!(!matches!(plan.poll(T0 + 1), Step::Order { .. }));
}

#[test]
fn renewal_follows_the_authoritys_window_within_reason() {
    let held = days(T0, 90);
    let at = |window| {
        let mut plan = plan(&BOTH, None);
        plan.issued(T0, held, &mut Random::seeded(5));
        assert_eq!(plan.poll(T0), Step::AskRenewalInfo);
        plan.renewal_info(T0, Some(window), 6 * HOUR);
        assert_eq!(
            plan.poll(T0),
            Step::Wait {
                until: T0 + 6 * HOUR
            }
        );
        assert_eq!(plan.poll(T0 + 6 * HOUR), Step::AskRenewalInfo);
        plan.renew_at(T0).unwrap()
    };
    let inside = at((T0 + 50 * DAY, T0 + 52 * DAY));
    assert!((T0 + 50 * DAY..T0 + 52 * DAY).contains(&inside));
    assert_eq!(at((0, 1)), T0 + DAY, "revoked: soon, but never in a loop");
    let after_its_end = at((T0 + 100 * DAY, T0 + 101 * DAY));
    assert_eq!(after_its_end, T0 + 75 * DAY);
    let nonsense = at((T0 + 3 * DAY, T0 + 2 * DAY));
    assert!((T0 + 57 * DAY..=T0 + 60 * DAY).contains(&nonsense));
}

#[test]
fn a_clock_far_ahead_orders_once_and_not_again_and_again() {
    // Ours says T0, the authority lives a year earlier: what it gives has expired by our clock.
    let mut run = Run::new(plan(&BOTH, None));
    run.until(T0 + 30 * DAY, |now, _, _| Ok(days(now - 365 * DAY, 90)));
    assert_eq!(run.orders.len(), 1);
}

#[test]
fn a_clock_that_is_set_right_again_neither_forgets_nor_delays_the_renewal() {
    // It was a year ahead when the certificate came.
    let mut plan = plan(&BOTH, None);
    let right = T0 - 365 * DAY;
    plan.issued(T0, days(right, 90), &mut Random::seeded(1));
    let due = plan.renew_at(right + DAY).unwrap();
    assert!((right + 57 * DAY..=right + 60 * DAY).contains(&due));
    // A failure that lies in what became the future delays no longer than its wait.
    plan.failed(
        T0,
        failure(FailureKind::Unreachable),
        &mut Random::seeded(1),
    );
    let now = right + 80 * DAY;
    let Step::Wait { until } = plan.poll(now) else {
        panic!("the wait begins anew")
    };
    assert!(until <= now + DAY + DAY / 10);
    assert!(matches!(plan.poll(until), Step::Order { .. }));
}

#[test]
fn without_a_challenge_that_can_reach_us_nothing_is_ordered() {
    let mut plan = plan(&[], None);
    plan.want();
    assert_eq!(plan.poll(T0), Step::Wait { until: T0 + DAY });
    let mut one = Plan::new(
        vec![Challenge::TlsAlpn01],
        true,
        Progress {
            challenge: Some(Challenge::Http01),
            ..Progress::default()
        },
        None,
    );
    assert_eq!(one.poll(T0), order(Server::Main, Challenge::TlsAlpn01));
}

#[test]
fn what_an_authority_says_is_kept_in_one_line_that_ends() {
    let mut plan = plan(&BOTH, None);
    let reason = "a\r\nb\u{1b}".to_owned() + &"한".repeat(10_000);
    let hostile = Failure {
        reason,
        ..failure(FailureKind::Refused)
    };
    plan.failed(T0, hostile, &mut Random::seeded(1));
    let kept = plan.progress().problem.as_deref().unwrap();
    assert!(kept.chars().count() <= LONGEST_REASON + 1);
    assert!(kept.starts_with("a  b ") && !kept.contains(char::is_control));
}

proptest! {
    #[test]
    fn no_history_and_no_clock_panics_or_orders_without_pause(
        times in proptest::collection::vec((any::<u32>(), 0_u8..6), 1..60),
        from in any::<u32>(),
        life in any::<u32>(),
        seed in any::<u64>(),
    ) {
        let mut random = Random::seeded(seed);
        let held = Validity { from: from.into(), until: u64::from(from) + u64::from(life) };
        let mut plan = plan(&BOTH, Some(held));
        for (now, what) in times {
            let now = u64::from(now);
            let step = plan.poll(now);
            if let Step::Wait { until } = step {
                prop_assert!(until > now);
            }
            match what {
                0 => plan.failed(now, failure(FailureKind::Invalid), &mut random),
                1 => plan.failed(now, failure(FailureKind::Unreachable), &mut random),
                2 => plan.issued(now, held, &mut random),
                3 => plan.renewal_info(now, Some((now, now + 5)), u64::MAX),
                4 => plan.rehearsed(now),
                _ => plan.want(),
            }
            if what == 1 {
                let is_order = matches!(plan.poll(now), Step::Order { .. });
                prop_assert!(!is_order, "a failure is followed by a pause");
            }
        }
    }
}
