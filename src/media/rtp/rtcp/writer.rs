//! Writing compound packets into a buffer that is used again.

use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc_shared::marshal::Marshal;

use super::transport_wide::Report;
use super::{ReferenceReply, ReportBlock, SenderInfo};
use crate::units::{Bitrate, SeqNo, Ssrc};

/// The longest compound packet that we send, without protection.
pub const MAX_COMPOUND_LEN: usize = 1200;

/// Most sequence numbers that one NACK of ours names: with four bytes for each it still fits.
pub const MAX_NACKED: usize = 256;

/// Appends packets to a buffer. A packet that would exceed [`MAX_COMPOUND_LEN`] is left out.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Begins a compound packet in `out`, whose content is discarded.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Self { out }
    }

    /// Adds an SR without report blocks (RFC 3550 section 6.4.1).
    pub fn sender_report(&mut self, ssrc: Ssrc, info: SenderInfo) -> &mut Self {
        self.push(&SenderReport {
            ssrc: ssrc.0,
            ntp_time: info.ntp_time,
            rtp_time: info.rtp_time,
            packet_count: info.packet_count,
            octet_count: info.octet_count,
            ..SenderReport::default()
        })
    }

    /// Adds an RR (RFC 3550 section 6.4.2) with at most 31 blocks.
    pub fn receiver_report(
        &mut self,
        ssrc: Ssrc,
        blocks: impl Iterator<Item = ReportBlock>,
    ) -> &mut Self {
        self.push(&ReceiverReport {
            ssrc: ssrc.0,
            reports: blocks
                .take(31)
                .map(|block| ReceptionReport {
                    ssrc: block.ssrc.0,
                    fraction_lost: block.fraction_lost,
                    total_lost: block
                        .total_lost
                        .clamp(-0x80_0000, 0x7f_ffff)
                        .cast_unsigned()
                        & 0xff_ffff,
                    last_sequence_number: block.extended_highest,
                    jitter: block.jitter,
                    last_sender_report: block.last_sender_report,
                    delay: block.delay_since_last_sender_report,
                })
                .collect(),
            ..ReceiverReport::default()
        })
    }

    /// Adds an XR with a receiver reference time (RFC 3611 section 4.4), which the peer's next report answers.
    pub fn receiver_reference_time(&mut self, ssrc: Ssrc, ntp_time: u64) -> &mut Self {
        if self.out.len() + 20 <= MAX_COMPOUND_LEN {
            self.out.extend([0x80, 207, 0, 4]);
            self.out.extend(ssrc.0.to_be_bytes());
            self.out.extend([4, 0, 0, 2]);
            self.out.extend(ntp_time.to_be_bytes());
        }
        self
    }

    /// Adds an XR with an answer to a reference time (RFC 3611 section 4.5).
    pub fn reference_reply(&mut self, ssrc: Ssrc, reply: ReferenceReply) -> &mut Self {
        if self.out.len() + 24 <= MAX_COMPOUND_LEN {
            self.out.extend([0x80, 207, 0, 5]);
            self.out.extend(ssrc.0.to_be_bytes());
            self.out.extend([5, 0, 0, 3]);
            self.out.extend(reply.ssrc.0.to_be_bytes());
            self.out.extend(reply.last_reference_time.to_be_bytes());
            self.out
                .extend(reply.delay_since_last_reference_time.to_be_bytes());
        }
        self
    }

    /// Adds an SDES with a CNAME (RFC 3550 section 6.5.1), cut to 255 bytes.
    pub fn canonical_name(&mut self, ssrc: Ssrc, cname: &str) -> &mut Self {
        // Ours: rtc-rtcp ends a chunk with a padding count, where section 6.5 wants zeros.
        let cname = &cname.as_bytes()[..cname.len().min(255)];
        // Source, item header, text and at least one zero.
        let chunk = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        let start = self.out.len();
        if start + 4 + chunk > MAX_COMPOUND_LEN {
            return self;
        }
        self.out.extend([0x81, 202]);
        self.out.extend(((chunk / 4) as u16).to_be_bytes());
        self.out.extend(ssrc.0.to_be_bytes());
        self.out.extend([1, cname.len() as u8]);
        self.out.extend(cname);
        self.out.resize(start + 4 + chunk, 0);
        self
    }

    /// Adds a BYE (RFC 3550 section 6.6).
    pub fn goodbye(&mut self, ssrc: Ssrc) -> &mut Self {
        self.push(&Goodbye {
            sources: vec![ssrc.0],
            ..Goodbye::default()
        })
    }

    /// Adds a generic NACK (RFC 4585 section 6.2.1) for the first [`MAX_NACKED`] of `lost`, which ascend.
    pub fn nack(&mut self, sender: Ssrc, media: Ssrc, lost: &[SeqNo]) -> &mut Self {
        let lost: Vec<u16> = lost.iter().take(MAX_NACKED).map(|seq| seq.0).collect();
        if lost.is_empty() {
            return self;
        }
        self.push(&TransportLayerNack {
            sender_ssrc: sender.0,
            media_ssrc: media.0,
            nacks: nack_pairs_from_sequence_numbers(&lost),
        })
    }

    /// Adds a PLI (RFC 4585 section 6.3.1).
    pub fn picture_loss_indication(&mut self, sender: Ssrc, media: Ssrc) -> &mut Self {
        self.push(&PictureLossIndication {
            sender_ssrc: sender.0,
            media_ssrc: media.0,
        })
    }

    /// Adds a FIR (RFC 5104 section 4.3.1); `sequence_number` grows with every new request.
    pub fn full_intra_request(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        sequence_number: u8,
    ) -> &mut Self {
        self.push(&FullIntraRequest {
            sender_ssrc: sender.0,
            // Unused, and zero (section 4.3.1.2).
            media_ssrc: 0,
            fir: vec![FirEntry {
                ssrc: media.0,
                sequence_number,
            }],
        })
    }

    /// Adds a REMB (draft-alvestrand-rmcat-remb-03) for at most 64 sources.
    pub fn receiver_estimated_maximum_bitrate(
        &mut self,
        sender: Ssrc,
        bitrate: Bitrate,
        ssrcs: impl Iterator<Item = Ssrc>,
    ) -> &mut Self {
        self.push(&ReceiverEstimatedMaximumBitrate {
            sender_ssrc: sender.0,
            bitrate: bitrate.bps() as f32,
            ssrcs: ssrcs.take(64).map(|ssrc| ssrc.0).collect(),
        })
    }

    /// Adds transport-wide feedback.
    pub fn transport_wide(&mut self, sender: Ssrc, media: Ssrc, report: &Report) -> &mut Self {
        self.push(&report.packet(sender, media))
    }

    fn push(&mut self, packet: &impl Marshal) -> &mut Self {
        let start = self.out.len();
        let end = start + packet.marshal_size();
        if end <= MAX_COMPOUND_LEN {
            self.out.resize(end, 0);
            if packet.marshal_to(&mut self.out[start..]).is_err() {
                self.out.truncate(start);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::rtp::rtcp::{Compound, Packet};

    const SENDER: Ssrc = Ssrc(0x0102_0304);
    const MEDIA: Ssrc = Ssrc(0xa0b0_c0d0);

    #[test]
    fn a_sender_report_with_its_name_is_read_back() {
        let info = SenderInfo {
            ntp_time: 0x0123_4567_89ab_cdef,
            rtp_time: 9,
            packet_count: 10,
            octet_count: 11,
        };
        for name in ["a", "ab", "abc", "abcd", "abcde"] {
            let mut out = vec![1, 2, 3];
            Writer::new(&mut out)
                .sender_report(MEDIA, info)
                .canonical_name(MEDIA, name);

            let packets: Vec<_> = Compound::new(&out).collect();
            let [
                Packet::SenderReport {
                    ssrc,
                    info: read,
                    blocks,
                },
                Packet::SourceDescription {
                    ssrc: named,
                    cname: Some(cname),
                },
            ] = &packets[..]
            else {
                panic!("{packets:?}")
            };
            assert_eq!((*ssrc, *read, *named), (MEDIA, info, MEDIA));
            assert_eq!(blocks.clone().count(), 0);
            assert_eq!(*cname, name.as_bytes());
            assert_eq!(out.last(), Some(&0));
        }
    }

    #[test]
    fn a_receiver_report_is_read_back() {
        let block = ReportBlock {
            ssrc: MEDIA,
            fraction_lost: 7,
            total_lost: -2,
            extended_highest: 0x1_0005,
            jitter: 4,
            last_sender_report: 0x4567_89ab,
            delay_since_last_sender_report: 65_536,
        };
        let mut out = Vec::new();
        Writer::new(&mut out).receiver_report(SENDER, std::iter::once(block));
        let Some(Packet::ReceiverReport { ssrc, blocks }) = Compound::new(&out).next() else {
            panic!("{out:?}")
        };
        assert_eq!(ssrc, SENDER);
        assert_eq!(blocks.collect::<Vec<_>>(), [block]);
    }

    #[test]
    fn reference_times_and_their_answers_are_read_back() {
        let reply = ReferenceReply {
            ssrc: MEDIA,
            last_reference_time: 0x0123_4567,
            delay_since_last_reference_time: 65_536,
        };
        let mut out = Vec::new();
        Writer::new(&mut out)
            .receiver_reference_time(SENDER, 0x0123_4567_89ab_cdef)
            .reference_reply(SENDER, reply);
        let packets: Vec<_> = Compound::new(&out).collect();
        let [
            Packet::ExtendedReport { replies: none },
            Packet::ExtendedReport { replies },
        ] = &packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!(none.clone().count(), 0);
        assert_eq!(replies.clone().collect::<Vec<_>>(), [reply]);
        assert_eq!(out[12..20], 0x0123_4567_89ab_cdef_u64.to_be_bytes());
    }

    #[test]
    fn requests_and_limits_are_read_back() {
        let mut out = Vec::new();
        Writer::new(&mut out)
            .picture_loss_indication(SENDER, MEDIA)
            .full_intra_request(SENDER, MEDIA, 3)
            .receiver_estimated_maximum_bitrate(
                SENDER,
                Bitrate::from_kbps(1000),
                [MEDIA].into_iter(),
            )
            .goodbye(MEDIA);
        let packets: Vec<_> = Compound::new(&out).collect();
        let [
            Packet::PictureLossIndication { media },
            Packet::FullIntraRequest { sources },
            Packet::ReceiverEstimatedMaximumBitrate { bitrate, ssrcs },
            Packet::Goodbye { ssrcs: leaving },
        ] = &packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!(*media, MEDIA);
        assert_eq!(sources.clone().collect::<Vec<_>>(), [MEDIA]);
        assert_eq!(bitrate.kbps(), 1000);
        assert_eq!(ssrcs.clone().collect::<Vec<_>>(), [MEDIA]);
        assert_eq!(leaving.clone().collect::<Vec<_>>(), [MEDIA]);
    }

    #[test]
    fn a_compound_packet_never_outgrows_its_limit() {
        let mut out = Vec::new();
        let scattered: Vec<SeqNo> = (0..1000).map(|n| SeqNo(n * 40)).collect();
        let mut writer = Writer::new(&mut out);
        for _ in 0..10 {
            writer
                .nack(SENDER, MEDIA, &scattered)
                .canonical_name(MEDIA, &"x".repeat(300));
        }
        assert!(out.len() <= MAX_COMPOUND_LEN && out.len() > 1000);
        assert!(Compound::new(&out).count() > 1);
    }

    proptest! {
        #[test]
        fn a_nack_names_exactly_what_was_lost(start in any::<u16>(), steps in prop::collection::vec(1_u16..60, 1..MAX_NACKED)) {
            let mut seq = SeqNo(start);
            let lost: Vec<SeqNo> = steps.iter().map(|step| { seq = seq.plus(*step); seq }).collect();
            let mut out = Vec::new();
            Writer::new(&mut out).nack(SENDER, MEDIA, &lost);
            let Some(Packet::Nack { media, lost: read }) = Compound::new(&out).next() else {
                panic!("{out:?}")
            };
            prop_assert_eq!(media, MEDIA);
            prop_assert_eq!(read.collect::<Vec<_>>(), lost);
        }
    }
}
