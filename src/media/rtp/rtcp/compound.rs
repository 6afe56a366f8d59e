//! Reading compound packets (RFC 3550 section 6.1; RFC 5506 allows any packet alone).

use crate::units::{Bitrate, SeqNo, Ssrc};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

const GENERIC_NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA_REQUEST: u8 = 4;
const APPLICATION_LAYER: u8 = 15;

const DELAY_SINCE_LAST_REFERENCE: u8 = 5;

const HEADER_LEN: usize = 4;
const BLOCK_LEN: usize = 24;

/// The packets of one datagram. Ends at the first one that is malformed.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// One RTCP packet. What is not listed is [`Packet::Other`].
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// SR (RFC 3550 section 6.4.1).
    SenderReport {
        /// Who reports.
        ssrc: Ssrc,
        /// What it has sent.
        info: SenderInfo,
        /// What it has received.
        blocks: ReportBlocks<'a>,
    },
    /// RR (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// Who reports.
        ssrc: Ssrc,
        /// What it has received.
        blocks: ReportBlocks<'a>,
    },
    /// SDES (RFC 3550 section 6.5): the first chunk's source and canonical name, if it has one.
    SourceDescription {
        /// The source described.
        ssrc: Ssrc,
        /// Its CNAME; any bytes that the peer chose.
        cname: Option<&'a [u8]>,
    },
    /// BYE (RFC 3550 section 6.6).
    Goodbye {
        /// The sources that leave.
        ssrcs: Ssrcs<'a>,
    },
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack {
        /// The source that is asked.
        media: Ssrc,
        /// What was lost.
        lost: NackedSequences<'a>,
    },
    /// PLI (RFC 4585 section 6.3.1).
    PictureLossIndication {
        /// The source that is asked.
        media: Ssrc,
    },
    /// FIR (RFC 5104 section 4.3.1).
    FullIntraRequest {
        /// The sources that are asked.
        sources: FirSources<'a>,
    },
    /// REMB.
    ReceiverEstimatedMaximumBitrate {
        /// The most that the receiver wants altogether.
        bitrate: Bitrate,
        /// The sources that share it.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide feedback, unread.
    TransportWide {
        /// From the base sequence number on.
        report: &'a [u8],
    },
    /// XR (RFC 3611): of its blocks, the answers to reference times.
    ExtendedReport {
        /// The answers.
        replies: ReferenceReplies<'a>,
    },
    /// Any other packet.
    Other {
        /// Its packet type.
        packet_type: u8,
    },
}

/// The sender information of an SR (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock of the sender: seconds since 1900, 32 bits before and 32 behind the point.
    pub ntp_time: u64,
    /// The same instant in units of the media clock.
    pub rtp_time: u32,
    /// RTP packets sent since the start.
    pub packet_count: u32,
    /// Payload octets sent since the start.
    pub octet_count: u32,
}

/// A reception report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that it is about.
    pub ssrc: Ssrc,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the start, signed 24 bits: duplicates make it negative.
    pub total_lost: i32,
    /// Highest sequence number received, with its cycles.
    pub extended_highest: u32,
    /// Interarrival jitter in units of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last SR, 0 without one.
    pub last_sender_report: u32,
    /// Time between that SR and this report, in 65536ths of a second.
    pub delay_since_last_sender_report: u32,
}

impl<'a> Compound<'a> {
    /// The packets in `datagram`.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn read(&mut self) -> Option<Packet<'a>> {
        let header = self.rest.first_chunk::<HEADER_LEN>()?;
        let len = HEADER_LEN + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (packet, rest) = self.rest.split_at_checked(len)?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let mut body = &packet[HEADER_LEN..];
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            // Only the last packet of a compound may be padded (RFC 3550 section 6.4.1). Every browser pads transport-wide
            // feedback by less than the multiple of four that section demands.
            if padding == 0 || padding > body.len() || !rest.is_empty() {
                return None;
            }
            body = &body[..body.len() - padding];
        }
        self.rest = rest;
        decode(header[1], header[0] & 0x1f, body)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let packet = self.read();
        if packet.is_none() {
            self.rest = &[];
        }
        packet
    }
}

fn decode(packet_type: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    let packet = match (packet_type, count) {
        (SENDER_REPORT, _) => {
            let (info, blocks) = body.split_first_chunk::<24>()?;
            Packet::SenderReport {
                ssrc: Ssrc(word(info, 0)),
                info: SenderInfo {
                    ntp_time: u64::from(word(info, 4)) << 32 | u64::from(word(info, 8)),
                    rtp_time: word(info, 12),
                    packet_count: word(info, 16),
                    octet_count: word(info, 20),
                },
                blocks: ReportBlocks::new(blocks, count)?,
            }
        }
        (RECEIVER_REPORT, _) => {
            let (ssrc, blocks) = body.split_first_chunk::<4>()?;
            Packet::ReceiverReport {
                ssrc: Ssrc(u32::from_be_bytes(*ssrc)),
                blocks: ReportBlocks::new(blocks, count)?,
            }
        }
        (SOURCE_DESCRIPTION, 1..) => {
            let (ssrc, items) = body.split_first_chunk::<4>()?;
            Packet::SourceDescription {
                ssrc: Ssrc(u32::from_be_bytes(*ssrc)),
                cname: canonical_name(items),
            }
        }
        (GOODBYE, _) => Packet::Goodbye {
            ssrcs: Ssrcs(body.get(..4 * usize::from(count))?),
        },
        (TRANSPORT_FEEDBACK, GENERIC_NACK) => {
            let (ssrcs, items) = body.split_first_chunk::<8>()?;
            Packet::Nack {
                media: Ssrc(word(ssrcs, 4)),
                lost: NackedSequences {
                    base: SeqNo(0),
                    mask: 0,
                    items,
                },
            }
        }
        (TRANSPORT_FEEDBACK, TRANSPORT_WIDE) => Packet::TransportWide {
            report: body.get(8..)?,
        },
        (PAYLOAD_FEEDBACK, PICTURE_LOSS) => Packet::PictureLossIndication {
            media: Ssrc(word(body.first_chunk::<8>()?, 4)),
        },
        (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST) => Packet::FullIntraRequest {
            sources: FirSources(body.get(8..)?),
        },
        (PAYLOAD_FEEDBACK, APPLICATION_LAYER) => decode_remb(body)?,
        (EXTENDED_REPORT, _) => Packet::ExtendedReport {
            replies: ReferenceReplies {
                items: &[],
                blocks: body.get(4..)?,
            },
        },
        _ => Packet::Other { packet_type },
    };
    Some(packet)
}

/// draft-alvestrand-rmcat-remb-03 section 2.2; other application layer feedback is passed over.
fn decode_remb(body: &[u8]) -> Option<Packet<'_>> {
    let (fixed, ssrcs) = body.split_first_chunk::<16>()?;
    if fixed[8..12] != *b"REMB" {
        return Some(Packet::Other {
            packet_type: PAYLOAD_FEEDBACK,
        });
    }
    let exponent = u32::from(fixed[13] >> 2);
    let mantissa = u64::from(word(fixed, 12) & 0x3_ffff);
    Some(Packet::ReceiverEstimatedMaximumBitrate {
        bitrate: Bitrate::from_bps(if mantissa.leading_zeros() < exponent {
            u64::MAX
        } else {
            mantissa << exponent
        }),
        ssrcs: Ssrcs(ssrcs.get(..4 * usize::from(fixed[12]))?),
    })
}

/// Finds the CNAME among the items of a chunk (RFC 3550 section 6.5.1).
fn canonical_name(mut items: &[u8]) -> Option<&[u8]> {
    while let Some((&[kind, len], rest)) = items.split_first_chunk::<2>() {
        let (text, rest) = rest.split_at_checked(usize::from(len))?;
        match kind {
            0 => return None,
            1 => return Some(text),
            _ => items = rest,
        }
    }
    None
}

/// The four bytes at `at`, which lie inside `bytes` for every caller: both are constants.
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The report blocks of an SR or RR.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    fn new(bytes: &'a [u8], count: u8) -> Option<Self> {
        bytes.get(..BLOCK_LEN * usize::from(count)).map(Self)
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<BLOCK_LEN>()?;
        self.0 = rest;
        Some(ReportBlock {
            ssrc: Ssrc(word(block, 0)),
            fraction_lost: block[4],
            // Sign-extends 24 bits.
            total_lost: (word(block, 4) << 8).cast_signed() >> 8,
            extended_highest: word(block, 8),
            jitter: word(block, 12),
            last_sender_report: word(block, 16),
            delay_since_last_sender_report: word(block, 20),
        })
    }
}

/// An answer to a reference time (RFC 3611 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceReply {
    /// Who sent the reference time.
    pub ssrc: Ssrc,
    /// Its middle 32 bits.
    pub last_reference_time: u32,
    /// How long ago it arrived, in 65536ths of a second.
    pub delay_since_last_reference_time: u32,
}

/// The answers to reference times in an XR.
#[derive(Debug, Clone)]
pub struct ReferenceReplies<'a> {
    items: &'a [u8],
    blocks: &'a [u8],
}

impl Iterator for ReferenceReplies<'_> {
    type Item = ReferenceReply;

    fn next(&mut self) -> Option<ReferenceReply> {
        loop {
            if let Some((item, rest)) = self.items.split_first_chunk::<12>() {
                self.items = rest;
                return Some(ReferenceReply {
                    ssrc: Ssrc(word(item, 0)),
                    last_reference_time: word(item, 4),
                    delay_since_last_reference_time: word(item, 8),
                });
            }
            let (&[kind, _, high, low], rest) = self.blocks.split_first_chunk::<4>()?;
            let len = 4 * usize::from(u16::from_be_bytes([high, low]));
            let Some((content, rest)) = rest.split_at_checked(len) else {
                self.blocks = &[];
                return None;
            };
            self.blocks = rest;
            if kind == DELAY_SINCE_LAST_REFERENCE {
                self.items = content;
            }
        }
    }
}

/// The sequence numbers that a NACK names: 17 at most for each four bytes.
#[derive(Debug, Clone)]
pub struct NackedSequences<'a> {
    base: SeqNo,
    mask: u16,
    items: &'a [u8],
}

impl Iterator for NackedSequences<'_> {
    type Item = SeqNo;

    fn next(&mut self) -> Option<SeqNo> {
        if self.mask != 0 {
            let bit = self.mask.trailing_zeros() as u16;
            self.mask &= self.mask - 1;
            return Some(self.base.plus(bit + 1));
        }
        let (item, rest) = self.items.split_first_chunk::<4>()?;
        self.items = rest;
        self.base = SeqNo(u16::from_be_bytes([item[0], item[1]]));
        self.mask = u16::from_be_bytes([item[2], item[3]]);
        Some(self.base)
    }
}

/// A list of sources.
#[derive(Debug, Clone)]
pub struct Ssrcs<'a>(&'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        let (ssrc, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(Ssrc(u32::from_be_bytes(*ssrc)))
    }
}

/// The sources that a FIR asks.
#[derive(Debug, Clone)]
pub struct FirSources<'a>(&'a [u8]);

impl Iterator for FirSources<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        let (entry, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(Ssrc(word(entry, 0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(bytes: &[u8]) -> usize {
        Compound::new(bytes)
            .map(|packet| match packet {
                Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                    blocks.count()
                }
                Packet::Nack { lost, .. } => lost.count(),
                Packet::Goodbye { ssrcs }
                | Packet::ReceiverEstimatedMaximumBitrate { ssrcs, .. } => ssrcs.count(),
                Packet::FullIntraRequest { sources } => sources.count(),
                Packet::ExtendedReport { replies } => replies.count(),
                Packet::SourceDescription { .. }
                | Packet::PictureLossIndication { .. }
                | Packet::TransportWide { .. }
                | Packet::Other { .. } => 1,
            })
            .sum()
    }

    #[test]
    fn a_length_beyond_the_datagram_ends_reading() {
        assert_eq!(Compound::new(&[0x80, 201, 0, 2, 0, 0, 0, 1]).count(), 0);
        assert_eq!(Compound::new(&[0x80, 201, 0]).count(), 0);
    }

    #[test]
    fn more_blocks_than_bytes_are_refused() {
        assert_eq!(Compound::new(&[0x81, 201, 0, 1, 0, 0, 0, 1]).count(), 0);
        assert_eq!(Compound::new(&[0x9f, 203, 0, 1, 0, 0, 0, 1]).count(), 0);
    }

    #[test]
    fn padding_belongs_to_the_last_packet_only() {
        let padded = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        assert_eq!(Compound::new(&padded).count(), 1);
        let mut followed = padded.to_vec();
        followed.extend([0x80, 201, 0, 1, 0, 0, 0, 1]);
        assert_eq!(Compound::new(&followed).count(), 0);
        assert_eq!(
            Compound::new(&[0xa0, 201, 0, 1, 0, 0, 0, 9]).count(),
            0,
            "padding beyond the packet"
        );
    }

    #[test]
    fn a_huge_remb_saturates() {
        let mut remb = vec![0x8f, 206, 0, 4];
        remb.extend([0; 8]);
        remb.extend(b"REMB");
        remb.extend([0, 0xff, 0xff, 0xff]);
        let Some(Packet::ReceiverEstimatedMaximumBitrate { bitrate, .. }) =
            Compound::new(&remb).next()
        else {
            panic!("no REMB")
        };
        assert_eq!(bitrate.bps(), u64::MAX);
    }

    #[test]
    fn negative_total_loss_keeps_its_sign() {
        let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0xff, 0xff, 0xff];
        report.extend([0; 16]);
        let Some(Packet::ReceiverReport { mut blocks, .. }) = Compound::new(&report).next() else {
            panic!("no report")
        };
        assert_eq!(blocks.next().map(|block| block.total_lost), Some(-1));
    }

    proptest! {
        #[test]
        fn reading_any_bytes_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(drain(&bytes) <= 17 * bytes.len());
        }

        #[test]
        fn reading_any_bytes_behind_a_likely_header_is_bounded(
            packet_type in 198_u8..208,
            count in 0_u8..32,
            body in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = vec![0x80 | count, packet_type, 0, (body.len() / 4) as u8];
            bytes.extend(&body);
            prop_assert!(drain(&bytes) <= 17 * bytes.len());
        }
    }
}
