//! The result of a test: one table for people, one line of JSON for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::engine::{MediaOutcome, Outcome};
use super::frames::FREEZE;
use super::histogram::Histogram;
use super::publisher::Sent;
use super::receiver::Received;
use super::scenario::{JoinTimes, Observed, Options};
use crate::media::transport::srtp::Profile;

/// A generator that looks at its sockets, or sends, later than this more than once in a hundred times measures itself.
const MOST_LAG: Duration = Duration::from_millis(10);

/// A whole result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub case: Case,
    /// Seconds that were measured.
    pub seconds: f64,
    /// It was stopped before its time.
    pub interrupted: bool,
    /// Whether the figures mean anything.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Vec<String>,
    /// RTP packets.
    pub packets: Packets,
    /// From the publisher's socket to the subscriber's, in milliseconds.
    pub latency_ms: Percentiles,
    /// Video, if there was any.
    pub frames: Option<Frames>,
    /// From the wish to the first packet, in milliseconds.
    pub join_ms: Percentiles,
    /// From the wish to the first whole key frame, in milliseconds.
    pub key_frame_ms: Percentiles,
    /// Subscriptions that never got a packet.
    pub silent: usize,
    /// Associations that failed.
    pub failed: usize,
    /// Those who joined while the others were measured.
    pub burst: Option<Burst>,
    /// What the server used, if its process is known.
    pub server: Option<Server>,
    /// What this program used, and how late it was.
    pub generator: Generator,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Sessions.
    pub sessions: usize,
    /// Publishers of each.
    pub publishers: usize,
    /// Subscribers of each.
    pub subscribers: usize,
    /// Publishers subscribe to each other.
    pub mesh: bool,
    /// Subscriptions in all.
    pub subscriptions: usize,
    /// The SRTP profile in use.
    pub profile: Option<&'static str>,
    /// Kilobits of video per second and publisher.
    pub video_kbps: Option<u32>,
    /// Frames per second.
    pub fps: Option<u32>,
    /// Milliseconds over which the packets of a frame leave.
    pub pace_ms: u64,
    /// Milliseconds by which subscribers delay the picture.
    pub playout_delay_ms: u64,
    /// Opus.
    pub audio: bool,
}

/// What became of the packets that were sent in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Packets {
    /// Received per second, by the time of their arrival.
    pub per_second: f64,
    /// Megabits per second, headers and tags included.
    pub mbps: f64,
    /// What all subscribers together should have got.
    pub expected: u64,
    /// What they got, by whatever way.
    pub received: u64,
    /// The rest.
    pub lost: u64,
    /// In percent.
    pub lost_percent: f64,
    /// What the first attempt did not deliver, in percent.
    pub lost_at_first_percent: f64,
    /// Came when they were asked for again.
    pub recovered: u64,
    /// Came behind later ones.
    pub reordered: u64,
    /// Came again.
    pub duplicates: u64,
    /// Could not be opened.
    pub unauthentic: u64,
    /// Belong to nobody here.
    pub foreign: u64,
    /// Asked for again by subscribers.
    pub nacked: u64,
    /// Sent again by publishers.
    pub retransmitted: u64,
    /// Key frames that publishers were asked for.
    pub key_frames_asked: u64,
}

/// How durations are spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// What 99 of 100 do not exceed.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What became of the frames that were sent in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Frames {
    /// What all subscribers together should have seen.
    pub expected: u64,
    /// What they saw.
    pub shown: u64,
    /// In percent.
    pub shown_percent: f64,
    /// Freezes per minute and subscription.
    pub freezes_per_minute: f64,
}

/// Those who joined while the others were measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Burst {
    /// How many wanted to.
    pub wanted: usize,
    /// Could not, or not in time.
    pub failed: usize,
    /// From their joining to their first packet.
    pub join_ms: Percentiles,
}

/// What the server used in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Server {
    /// Processor seconds.
    pub cpu_seconds: f64,
    /// Share of one processor, in percent.
    pub cpu_percent: f64,
    /// Packets received here for each of them.
    pub packets_per_cpu_second: f64,
    /// Resident memory before anybody joined.
    pub rss_before_kib: u64,
    /// And at the end.
    pub rss_after_kib: u64,
    /// The difference for each subscription.
    pub rss_per_subscription_kib: f64,
    /// Datagrams that its media sockets could not hold.
    pub dropped: u64,
}

/// What this program used in the window, and how late it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Generator {
    /// Share of one processor, in percent.
    pub cpu_percent: f64,
    /// Time between two looks at the sockets.
    pub gap_ms: Percentiles,
    /// How late packets left.
    pub lateness_ms: Percentiles,
    /// Datagrams that its sockets could not hold.
    pub dropped: u64,
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Self {
        Self {
            count: histogram.len(),
            p50: ms(histogram.p50()),
            p99: ms(histogram.p99()),
            max: ms(histogram.max()),
        }
    }
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn percent(part: u64, whole: u64) -> f64 {
    100.0 * ratio(part as f64, whole as f64)
}

pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Sums over all subscriptions that count.
#[derive(Debug, Default)]
struct Sum {
    received: Received,
    expected: u64,
    frames_expected: u64,
    shown: u64,
    freezes: u64,
    subscriptions: u64,
    with_video: bool,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        observed: &Observed,
        outcome: &Outcome,
        joins: &JoinTimes,
    ) -> Self {
        let seconds = observed.duration.as_secs_f64();
        let sent = sent_by_stream(outcome);
        let mut sum = Sum::default();
        let (mut unauthentic, mut foreign, mut nacked) = (0, 0, 0);
        for (_, peer) in &outcome.peers {
            unauthentic += peer.unauthentic;
            let MediaOutcome::Received {
                stream,
                late,
                audio,
                video,
                shown,
                freezes,
                foreign: strange,
                nacked: asked,
            } = &peer.media
            else {
                continue;
            };
            foreign += strange;
            nacked += asked;
            if *late {
                continue;
            }
            let sent = sent(*stream);
            sum.subscriptions += 1;
            for (received, sent) in [(audio, sent.audio), (video, sent.video)] {
                let Some(received) = received else { continue };
                sum.expected += sent;
                sum.received.unique += received.unique;
                sum.received.recovered += received.recovered;
                sum.received.reordered += received.reordered;
                sum.received.duplicates += received.duplicates;
            }
            if video.is_some() {
                sum.with_video = true;
                sum.frames_expected += sent.frames;
                sum.shown += shown;
                sum.freezes += freezes;
            }
        }
        let published = outcome
            .peers
            .iter()
            .filter_map(|(_, peer)| match &peer.media {
                MediaOutcome::Published { sent, .. } => Some(sent),
                MediaOutcome::Received { .. } => None,
            });
        let lost = sum.expected.saturating_sub(sum.received.unique);
        let packets = Packets {
            per_second: ratio(outcome.arrived as f64, seconds),
            mbps: ratio(outcome.arrived_bytes as f64 * 8e-6, seconds),
            expected: sum.expected,
            received: sum.received.unique,
            lost,
            lost_percent: percent(lost, sum.expected),
            lost_at_first_percent: percent(lost + sum.received.recovered, sum.expected),
            recovered: sum.received.recovered,
            reordered: sum.received.reordered,
            duplicates: sum.received.duplicates,
            unauthentic,
            foreign,
            nacked,
            retransmitted: published.clone().map(|sent| sent.retransmitted).sum(),
            key_frames_asked: published.map(|sent| sent.key_frame_requests).sum(),
        };
        let [own_before, own_after] = &observed.own;
        let own_seconds = own_after.cpu_since(own_before).as_secs_f64();
        let generator = Generator {
            cpu_percent: 100.0 * ratio(own_seconds, seconds),
            gap_ms: (&outcome.gaps).into(),
            lateness_ms: (&outcome.lateness).into(),
            dropped: outcome.dropped,
        };
        let mut invalid_because = flaws(options, observed, outcome, joins);
        let stood_still = outcome.gaps.max().max(outcome.lateness.max());
        if sum.freezes > 0 && stood_still >= FREEZE {
            invalid_because.push(format!(
                "this program stood still for {:.0} ms, so that freezes may be its own",
                ms(stood_still)
            ));
        }
        Self {
            case: Case {
                sessions: options.sessions,
                publishers: options.publishers,
                subscribers: options.subscribers,
                mesh: options.mesh,
                subscriptions: observed.subscriptions,
                profile: observed.profile.map(profile_name),
                video_kbps: options.video.map(|video| video.kbps),
                fps: options.video.map(|video| video.fps),
                pace_ms: options
                    .video
                    .map_or(0, |video| video.pace.as_millis() as u64),
                playout_delay_ms: options.playout_delay.as_millis() as u64,
                audio: options.audio,
            },
            seconds,
            interrupted: observed.interrupted,
            valid: invalid_because.is_empty(),
            invalid_because,
            packets,
            latency_ms: (&outcome.latency).into(),
            frames: sum.with_video.then(|| Frames {
                expected: sum.frames_expected,
                shown: sum.shown,
                shown_percent: percent(sum.shown, sum.frames_expected),
                freezes_per_minute: ratio(
                    sum.freezes as f64 * 60.0,
                    seconds * sum.subscriptions as f64,
                ),
            }),
            join_ms: (&joins.to_media).into(),
            key_frame_ms: (&joins.to_key_frame).into(),
            silent: joins.silent,
            failed: outcome
                .peers
                .iter()
                .filter(|(_, peer)| peer.failure.is_some())
                .count(),
            burst: (options.burst > 0).then(|| Burst {
                wanted: options.burst,
                failed: observed.burst_failed,
                join_ms: (&joins.burst_to_media).into(),
            }),
            server: server(observed, packets.per_second * seconds),
            generator,
        }
    }

    /// The result as one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What each stream's publisher has sent.
fn sent_by_stream(outcome: &Outcome) -> impl Fn(u32) -> Sent {
    let sent: std::collections::BTreeMap<u32, Sent> = outcome
        .peers
        .iter()
        .filter_map(|(_, peer)| match &peer.media {
            MediaOutcome::Published { stream, sent } => Some((*stream, *sent)),
            MediaOutcome::Received { .. } => None,
        })
        .collect();
    move |stream| sent.get(&stream).copied().unwrap_or_default()
}

fn server(observed: &Observed, packets: f64) -> Option<Server> {
    let [begin, end] = observed.server.as_ref()?;
    let before = observed.server_before_joins.as_ref()?;
    let cpu_seconds = end.cpu_since(begin).as_secs_f64();
    let grown = end.rss_kib.saturating_sub(before.rss_kib);
    Some(Server {
        cpu_seconds,
        cpu_percent: 100.0 * ratio(cpu_seconds, observed.duration.as_secs_f64()),
        packets_per_cpu_second: ratio(packets, cpu_seconds),
        rss_before_kib: before.rss_kib,
        rss_after_kib: end.rss_kib,
        rss_per_subscription_kib: ratio(grown as f64, observed.subscriptions_at_end as f64),
        dropped: observed.server_drops,
    })
}

/// Why the figures are not the server's.
fn flaws(
    options: &Options,
    observed: &Observed,
    outcome: &Outcome,
    joins: &JoinTimes,
) -> Vec<String> {
    let mut flaws = Vec::new();
    let gap = outcome.gaps.p99();
    if gap > MOST_LAG.max(4 * options.poll) {
        flaws.push(format!(
            "this program looked at its sockets too seldom: every {:.1} ms at the 99th percentile",
            ms(gap)
        ));
    }
    let lateness = outcome.lateness.p99();
    if lateness > MOST_LAG.max(4 * options.poll) {
        flaws.push(format!(
            "this program sent too late: by {:.1} ms at the 99th percentile",
            ms(lateness)
        ));
    }
    if outcome.dropped > 0 {
        flaws.push(format!(
            "this program's own sockets could not hold {} datagrams",
            outcome.dropped
        ));
    }
    if joins.silent > observed.burst_failed {
        flaws.push(format!("{} subscriptions got no packet", joins.silent));
    }
    if let (Some(wanted), Some(got)) = (options.profile, observed.profile)
        && wanted != got
    {
        flaws.push(format!("the server chose {}", profile_name(got)));
    }
    flaws
}

const fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Aes128CmSha1_80 => "AES128_CM_SHA1_80",
        Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        let case = &self.case;
        table.row(
            "case",
            format_args!(
                "{} of {} publishers{} and {} subscribers: {} subscriptions, {}",
                count(case.sessions, "session"),
                case.publishers,
                if case.mesh { " in a mesh" } else { "" },
                case.subscribers,
                case.subscriptions,
                case.profile.unwrap_or("not connected"),
            ),
        );
        let packets = &self.packets;
        table.row(
            "received",
            format_args!(
                "{:.0} packets/s, {:.1} Mbit/s over {:.1} s",
                packets.per_second, packets.mbps, self.seconds
            ),
        );
        table.row(
            "lost",
            format_args!(
                "{:.3} % ({} of {}); {:.3} % before {} came again",
                packets.lost_percent,
                packets.lost,
                packets.expected,
                packets.lost_at_first_percent,
                packets.recovered
            ),
        );
        table.row(
            "flaws",
            format_args!(
                "{} out of order, {} twice, {} not authentic, {} foreign",
                packets.reordered, packets.duplicates, packets.unauthentic, packets.foreign
            ),
        );
        if let Some(frames) = &self.frames {
            table.row("frames", format_args!(
                    "{:.2} % of {} shown, {:.2} freezes per minute and subscription; {} key frames asked for",
                    frames.shown_percent,
                    frames.expected,
                    frames.freezes_per_minute,
                    packets.key_frames_asked
                ));
        }
        table.row("latency", self.latency_ms);
        table.row("join to media", self.join_ms);
        if self.frames.is_some() {
            table.row("join to key frame", self.key_frame_ms);
        }
        if self.failed > 0 || self.silent > 0 {
            table.row(
                "failed",
                format_args!("{} associations, {} silent", self.failed, self.silent),
            );
        }
        if let Some(burst) = &self.burst {
            table.row(
                "burst",
                format_args!(
                    "{} joined, {} failed; to media {}",
                    burst.wanted - burst.failed.min(burst.wanted),
                    burst.failed,
                    burst.join_ms
                ),
            );
        }
        if let Some(server) = &self.server {
            table.row("server", format_args!(
                    "{:.3} CPU-s ({:.1} % of a core), {:.0} packets per CPU-s, {} datagrams dropped",
                    server.cpu_seconds,
                    server.cpu_percent,
                    server.packets_per_cpu_second,
                    server.dropped
                ));
            table.row(
                "server memory",
                format_args!(
                    "{} KiB before, {} KiB after, {:.1} KiB per subscription",
                    server.rss_before_kib, server.rss_after_kib, server.rss_per_subscription_kib
                ),
            );
        }
        let generator = &self.generator;
        table.row(
            "this program",
            format_args!(
                "{:.1} % of a core; looked at its sockets every {}; sent late by {}",
                generator.cpu_percent, generator.gap_ms, generator.lateness_ms
            ),
        );
        table.fmt(f)?;
        if self.interrupted {
            writeln!(f, "\nStopped before its time.")?;
        }
        for why in &self.invalid_because {
            writeln!(f, "\nNOT VALID: {why}.")?;
        }
        Ok(())
    }
}

/// Names and what is said of them, in two columns.
#[derive(Debug, Default)]
struct Table(Vec<(&'static str, String)>);

impl Table {
    fn row(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, value.to_string()));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            writeln!(f, "{name:<width$}  {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} / {:.2} / {:.2} ms (p50, p99, max)",
            self.p50, self.p99, self.max
        )
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
