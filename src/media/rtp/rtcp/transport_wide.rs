//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): which packets of a transport arrived,
//! and when.

use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk,
    SymbolSizeTypeTcc, SymbolTypeTcc, TYPE_TCC_DELTA_SCALE_FACTOR, TransportLayerCc,
};

use crate::units::{SeqNo, Ssrc};

/// Most packets that one report covers: with a chunk for every seven and two bytes for each it still fits a datagram.
pub const MAX_REPORTED: usize = 400;

/// Symbols in a status vector of two-bit symbols.
const VECTOR_LEN: usize = 7;
/// The reference time counts multiples of this.
const REFERENCE_TICK_US: i64 = 64_000;

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    packet: TransportLayerCc,
}

impl Report {
    /// Reports on the packets `base`, `base + 1`, …: each with the time of its arrival in microseconds since any epoch
    /// that stays the same, or `None`. `count` is the running number of the report. Returns the report and how many
    /// packets it covers; `None` if none of the first [`MAX_REPORTED`] arrived.
    pub fn new(base: SeqNo, arrivals: &[Option<i64>], count: u8) -> Option<(Self, usize)> {
        let first = *arrivals.iter().take(MAX_REPORTED).flatten().next()?;
        let reference = first.div_euclid(REFERENCE_TICK_US);
        // Times are kept in the ticks that the wire has, so that rounding does not accumulate.
        let mut last_tick = reference * (REFERENCE_TICK_US / TYPE_TCC_DELTA_SCALE_FACTOR);
        let mut symbols = Vec::with_capacity(arrivals.len().min(MAX_REPORTED));
        let mut recv_deltas = Vec::new();
        for arrival in arrivals.iter().take(MAX_REPORTED) {
            let Some(at) = arrival else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            let tick = at.div_euclid(TYPE_TCC_DELTA_SCALE_FACTOR);
            let delta = tick - last_tick;
            let symbol = if (0..=255).contains(&delta) {
                SymbolTypeTcc::PacketReceivedSmallDelta
            } else if i16::try_from(delta).is_ok() {
                SymbolTypeTcc::PacketReceivedLargeDelta
            } else {
                // More than 8 s apart: the next report begins here.
                break;
            };
            last_tick = tick;
            symbols.push(symbol);
            recv_deltas.push(RecvDelta {
                type_tcc_packet: symbol,
                delta: delta * TYPE_TCC_DELTA_SCALE_FACTOR,
            });
        }
        let covered = symbols.len();
        let packet = TransportLayerCc {
            base_sequence_number: base.0,
            packet_status_count: covered as u16,
            // Modulo 2^24, by definition.
            reference_time: (reference & 0xff_ffff) as u32,
            fb_pkt_count: count,
            packet_chunks: chunks(&symbols),
            recv_deltas,
            ..TransportLayerCc::default()
        };
        Some((Self { packet }, covered))
    }

    pub(super) fn packet(&self, sender: Ssrc, media: Ssrc) -> TransportLayerCc {
        TransportLayerCc {
            sender_ssrc: sender.0,
            media_ssrc: media.0,
            ..self.packet.clone()
        }
    }
}

/// Packs the symbols: a run wherever it covers more than a vector of two-bit symbols would.
fn chunks(mut symbols: &[SymbolTypeTcc]) -> Vec<PacketStatusChunk> {
    let mut chunks = Vec::new();
    while let Some(&first) = symbols.first() {
        let run = symbols
            .iter()
            .take_while(|symbol| **symbol == first)
            .count();
        let taken = if run >= VECTOR_LEN || run == symbols.len() {
            chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: first,
                // At most MAX_REPORTED, far below the 13 bits.
                run_length: run as u16,
            }));
            run
        } else {
            let taken = symbols.len().min(VECTOR_LEN);
            let mut symbol_list = symbols[..taken].to_vec();
            symbol_list.resize(VECTOR_LEN, SymbolTypeTcc::PacketNotReceived);
            chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list,
            }));
            taken
        };
        symbols = &symbols[taken..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::rtp::rtcp::{Compound, Packet, Writer};

    /// Reads a report as a sender would: the arrivals in microseconds, rounded to the wire's 250.
    fn read(report: &[u8]) -> (u16, Vec<Option<i64>>) {
        let base = u16::from_be_bytes([report[0], report[1]]);
        let count = usize::from(u16::from_be_bytes([report[2], report[3]]));
        let reference = i64::from(u32::from_be_bytes([0, report[4], report[5], report[6]]));
        let mut at = 8;
        let mut symbols = Vec::new();
        while symbols.len() < count {
            let chunk = u16::from_be_bytes([report[at], report[at + 1]]);
            at += 2;
            if chunk & 0x8000 == 0 {
                let run = usize::from(chunk & 0x1fff);
                symbols.resize(symbols.len() + run, chunk >> 13 & 3);
            } else if chunk & 0x4000 == 0 {
                symbols.extend((0..14).rev().map(|bit| chunk >> bit & 1));
            } else {
                symbols.extend((0..7).rev().map(|pair| chunk >> (2 * pair) & 3));
            }
        }
        symbols.truncate(count);
        let mut time = reference * REFERENCE_TICK_US;
        let arrivals = symbols
            .into_iter()
            .map(|symbol| match symbol {
                0 => None,
                1 => {
                    time += i64::from(report[at]) * 250;
                    at += 1;
                    Some(time)
                }
                _ => {
                    time += i64::from(i16::from_be_bytes([report[at], report[at + 1]])) * 250;
                    at += 2;
                    Some(time)
                }
            })
            .collect();
        (base, arrivals)
    }

    fn write_and_read(base: u16, arrivals: &[Option<i64>]) -> (Vec<Option<i64>>, usize) {
        let (report, covered) = Report::new(SeqNo(base), arrivals, 5).unwrap();
        let mut out = Vec::new();
        Writer::new(&mut out).transport_wide(Ssrc(1), Ssrc(2), &report);
        let Some(Packet::TransportWide { report }) = Compound::new(&out).next() else {
            panic!("{out:?}")
        };
        let (read_base, read) = read(report);
        assert_eq!(read_base, base);
        assert_eq!(report[7], 5);
        (read, covered)
    }

    #[test]
    fn a_report_needs_one_packet_that_arrived() {
        assert_eq!(Report::new(SeqNo(0), &[], 0), None);
        assert_eq!(Report::new(SeqNo(0), &[None; 3], 0), None);
        assert_eq!(
            write_and_read(7, &[None, Some(64_250)]),
            (vec![None, Some(64_250)], 2)
        );
    }

    #[test]
    fn a_pause_of_more_than_eight_seconds_ends_a_report() {
        let (read, covered) = write_and_read(0, &[Some(0), None, Some(9_000_000)]);
        assert_eq!(covered, 2);
        assert_eq!(read, [Some(0), None]);
    }

    proptest! {
        #[test]
        fn a_report_is_read_back_to_the_quarter_millisecond(
            base in any::<u16>(),
            start in 0_i64..10_000_000_000,
            steps in prop::collection::vec(prop::option::weighted(0.8, -20_000_i64..200_000), 0..500),
        ) {
            let mut at = start;
            let mut arrivals = vec![None, Some(start)];
            arrivals.extend(steps.into_iter().map(|step| step.map(|step| { at = (at + step).max(start); at })));
            let (read, covered) = write_and_read(base, &arrivals);
            prop_assert_eq!(covered, arrivals.len().min(MAX_REPORTED));
            let epoch = (start.div_euclid(REFERENCE_TICK_US) & !0xff_ffff) * REFERENCE_TICK_US;
            for (read, sent) in read.iter().zip(&arrivals) {
                prop_assert_eq!(read.map(|at| at + epoch), sent.map(|at| at.div_euclid(250) * 250));
            }
        }
    }
}
