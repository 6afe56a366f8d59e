//! What the workers count, as metrics (design section 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Counters;
use crate::media::plane::FailureReason;
use crate::media::sfu;
use crate::units::Count;
use crate::units::count::Observed;
use crate::views::metric::{Family, Label, Value, Word};

/// The metrics of all workers. Every sample says whose it is.
pub fn families(workers: &[Arc<Counters>]) -> Vec<Family> {
    let each: Vec<Numbers> = workers.iter().map(|counters| numbers(counters)).collect();
    let Some(first) = each.first() else {
        return Vec::new();
    };
    let of_worker = |index| vec![("worker", Word::Number(index))];
    // One family for each position, with a sample of each worker.
    let plain = first.plain.iter().enumerate().map(|(position, metric)| {
        let samples = each.iter().enumerate().filter_map(|(index, numbers)| {
            let value = numbers.plain.get(position)?.value;
            Some((of_worker(index), value))
        });
        match metric.kind {
            Plain::Counter => Family::counters(metric.name, metric.help, samples),
            Plain::Gauge => {
                let samples = samples.map(|(labels, value)| (labels, Value::Whole(value)));
                Family::gauges(metric.name, metric.help, samples)
            }
        }
    });
    let durations = first.durations.iter().enumerate();
    let durations = durations.map(|(position, (name, help, _))| {
        let samples = each.iter().enumerate().filter_map(|(index, numbers)| {
            let (.., observed) = numbers.durations.get(position)?;
            Some((of_worker(index), *observed))
        });
        Family::durations(name, help, samples)
    });
    plain
        .chain(durations)
        .chain([busy(workers), failed(workers)])
        .collect()
}

enum Plain {
    Counter,
    Gauge,
}

struct Metric {
    kind: Plain,
    name: &'static str,
    help: &'static str,
    value: u64,
}

struct Numbers {
    plain: Vec<Metric>,
    durations: [(&'static str, &'static str, Observed); 3],
}

/// Names every field, so that none is forgotten.
fn numbers(counters: &Counters) -> Numbers {
    let Counters {
        turns,
        rooms,
        transports,
        received,
        received_bytes,
        sent,
        sent_bytes,
        rtp_received,
        rtp_received_bytes,
        rtp_sent,
        rtp_sent_bytes,
        connected,
        failed: _,
        handshakes,
        busy_us: _,
        latency,
        sfu,
        send_dropped,
        gso_runs,
        gso_refused,
        receive_dropped,
        streams,
        turn_streams,
        streams_refused,
        stream_dropped,
        relay_sockets,
        relay_dropped,
        crossing_dropped,
        panics,
    } = counters;
    let sfu::Counts {
        lost,
        recovered,
        refused,
        nacks_sent,
        key_frame_requests_sent,
        key_frames,
        nacks_received,
        retransmissions,
        key_frame_requests_received,
        lost_downstream,
        unsent,
        round_trips_up,
        round_trips_down,
    } = &**sfu;
    let plain = vec![
        gauge(
            "hanok_rooms",
            "Sessions with media that a worker holds.",
            rooms,
        ),
        gauge(
            "hanok_transports",
            "WebRTC transports: one for each stream that somebody sends, and one for each that somebody receives.",
            transports,
        ),
        counter(
            "hanok_transports_connected_total",
            "Transports on which ICE and DTLS came up.",
            connected,
        ),
        counter(
            "hanok_network_received_packets_total",
            "Datagrams received, over UDP and TCP, those of TURN included.",
            received,
        ),
        counter(
            "hanok_network_received_bytes_total",
            "Bytes of the datagrams received.",
            received_bytes,
        ),
        counter(
            "hanok_network_sent_packets_total",
            "Datagrams sent, over UDP and TCP, those of TURN included.",
            sent,
        ),
        counter(
            "hanok_network_sent_bytes_total",
            "Bytes of the datagrams sent.",
            sent_bytes,
        ),
        counter(
            "hanok_network_receive_dropped_packets_total",
            "Datagrams dropped on arrival: of unknown senders, not authentic, malformed, or one handshake too many.",
            receive_dropped,
        ),
        counter(
            "hanok_network_send_dropped_packets_total",
            "Datagrams that the kernel did not take: its buffer was full, or there was no way.",
            send_dropped,
        ),
        counter(
            "hanok_network_gso_runs_total",
            "Runs of datagrams sent at once.",
            gso_runs,
        ),
        counter(
            "hanok_network_gso_refused_total",
            "Runs that a network device refused; from then on datagrams leave one by one.",
            gso_refused,
        ),
        counter(
            "hanok_rtp_received_packets_total",
            "Media packets of publishers, decrypted.",
            rtp_received,
        ),
        counter(
            "hanok_rtp_received_bytes_total",
            "Bytes of the media packets received, headers included, before encryption.",
            rtp_received_bytes,
        ),
        counter(
            "hanok_rtp_sent_packets_total",
            "Media packets to subscribers, those sent again included.",
            rtp_sent,
        ),
        counter(
            "hanok_rtp_sent_bytes_total",
            "Bytes of the media packets sent, headers included, before encryption.",
            rtp_sent_bytes,
        ),
        count(
            "hanok_rtp_lost_packets_total",
            "Packets of publishers that had not come when later ones did.",
            lost,
        ),
        count(
            "hanok_rtp_recovered_packets_total",
            "Of those, packets that came after all, late or sent again.",
            recovered,
        ),
        count(
            "hanok_rtp_refused_packets_total",
            "Packets of publishers refused: duplicates, too old, or of another format.",
            refused,
        ),
        count(
            "hanok_rtp_unsent_packets_total",
            "Packets that a subscriber's transport could not take.",
            unsent,
        ),
        count(
            "hanok_rtp_subscriber_lost_packets_total",
            "Packets that subscribers reported as lost on their way.",
            lost_downstream,
        ),
        count(
            "hanok_rtp_retransmitted_packets_total",
            "Packets sent to subscribers again.",
            retransmissions,
        ),
        count(
            "hanok_rtcp_nacks_sent_total",
            "Packets that publishers were asked for again, once for each time.",
            nacks_sent,
        ),
        count(
            "hanok_rtcp_nacks_received_total",
            "Packets that subscribers asked for again.",
            nacks_received,
        ),
        count(
            "hanok_rtcp_key_frame_requests_sent_total",
            "Key frames that publishers were asked for (PLI, FIR).",
            key_frame_requests_sent,
        ),
        count(
            "hanok_rtcp_key_frame_requests_received_total",
            "Key frames that subscribers asked for (PLI, FIR).",
            key_frame_requests_received,
        ),
        count(
            "hanok_rtp_key_frames_total",
            "Key frames that publishers sent.",
            key_frames,
        ),
        gauge(
            "hanok_ice_tcp_connections",
            "TCP connections for media.",
            streams,
        ),
        gauge(
            "hanok_turn_stream_connections",
            "TCP and TLS connections of TURN clients.",
            turn_streams,
        ),
        counter(
            "hanok_tcp_refused_connections_total",
            "TCP connections for media and TURN that were closed without having proved themselves, or for want of room.",
            streams_refused,
        ),
        counter(
            "hanok_tcp_dropped_packets_total",
            "Media packets lost because a TCP connection had no room for them.",
            stream_dropped,
        ),
        gauge(
            "hanok_turn_relay_sockets",
            "Sockets towards foreign peers of TURN clients.",
            relay_sockets,
        ),
        counter(
            "hanok_turn_relay_send_dropped_packets_total",
            "Datagrams to foreign peers of TURN clients that the kernel did not take.",
            relay_dropped,
        ),
        counter(
            "hanok_turn_crossing_dropped_packets_total",
            "Relayed packets lost because another worker did not keep up.",
            crossing_dropped,
        ),
        counter(
            "hanok_worker_turns_total",
            "How often a worker's loop has gone round.",
            turns,
        ),
        gauge(
            "hanok_worker_handshakes_waiting",
            "DTLS handshake datagrams that wait for their turn.",
            handshakes,
        ),
        counter(
            "hanok_worker_panics_total",
            "Bugs that ended a transport, a room or an allocation and nothing else.",
            panics,
        ),
    ];
    let durations = [
        (
            "hanok_packet_latency_seconds",
            "For each datagram sent, how long before the worker had begun to receive what it answers or passes on.",
            latency.get(),
        ),
        (
            "hanok_rtcp_publisher_round_trip_seconds",
            "Round trips to publishers, as their replies to our reports tell.",
            round_trips_up.get(),
        ),
        (
            "hanok_rtcp_subscriber_round_trip_seconds",
            "Round trips to subscribers, as their reports tell.",
            round_trips_down.get(),
        ),
    ];
    Numbers { plain, durations }
}

fn gauge(name: &'static str, help: &'static str, value: &AtomicU64) -> Metric {
    Metric {
        kind: Plain::Gauge,
        name,
        help,
        value: value.load(Ordering::Relaxed),
    }
}

fn counter(name: &'static str, help: &'static str, value: &AtomicU64) -> Metric {
    Metric {
        kind: Plain::Counter,
        ..gauge(name, help, value)
    }
}

fn count(name: &'static str, help: &'static str, value: &Count) -> Metric {
    Metric {
        kind: Plain::Counter,
        name,
        help,
        value: value.get(),
    }
}

fn busy(workers: &[Arc<Counters>]) -> Family {
    let samples = workers.iter().enumerate().map(|(index, counters)| {
        let seconds = counters.busy_us.load(Ordering::Relaxed) as f64 / 1e6;
        (vec![("worker", Word::Number(index))], Value::Real(seconds))
    });
    Family {
        kind: crate::views::metric::Kind::Counter,
        ..Family::gauges(
            "hanok_worker_busy_seconds_total",
            "How long a worker's loop was not asleep: near one second per second it is at its end.",
            samples,
        )
    }
}

fn failed(workers: &[Arc<Counters>]) -> Family {
    let samples = FailureReason::ALL
        .iter()
        .enumerate()
        .map(|(position, reason)| {
            let failed = workers.iter().filter_map(|it| it.failed.get(position));
            let labels: Vec<Label> = vec![("reason", Word::Text(reason.as_str()))];
            let sum = failed.map(|failed| failed.load(Ordering::Relaxed)).sum();
            (labels, sum)
        });
    Family::counters(
        "hanok_transports_ended_total",
        "Transports that ended without their session's wish, by reason.",
        samples,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_worker_has_a_sample_in_every_family_and_no_name_is_used_twice() {
        let workers: Vec<Arc<Counters>> = vec![Arc::default(), Arc::default()];
        workers[1].rtp_sent.store(7, Ordering::Relaxed);
        workers[1].sfu.nacks_sent.add(3);
        workers[0].failed[4].store(2, Ordering::Relaxed);
        let families = families(&workers);
        let names: BTreeSet<_> = families.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), families.len());
        for family in &families {
            let expected = match family.name {
                "hanok_transports_ended_total" => FailureReason::ALL.len(),
                _ => 2,
            };
            assert_eq!(family.samples.len(), expected, "{}", family.name);
        }
        let value = |name: &str, index: usize| {
            let family = families.iter().find(|family| family.name == name);
            family.unwrap().samples[index].value
        };
        assert_eq!(value("hanok_rtp_sent_packets_total", 1), Value::Whole(7));
        assert_eq!(value("hanok_rtp_sent_packets_total", 0), Value::Whole(0));
        assert_eq!(value("hanok_rtcp_nacks_sent_total", 1), Value::Whole(3));
        let closed = &families
            .iter()
            .find(|family| family.name == "hanok_transports_ended_total");
        assert_eq!(
            closed.unwrap().samples[4],
            crate::views::metric::Sample {
                labels: vec![("reason", Word::Text("closed_by_peer"))],
                value: Value::Whole(2)
            }
        );
        assert!(super::families(&[]).is_empty());
    }
}
