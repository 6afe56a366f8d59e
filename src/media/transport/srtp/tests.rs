use proptest::prelude::*;

use super::*;

const PROFILES: [Profile; 3] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::Aes128CmSha1_80,
];

pub(super) fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("pairs of hexadecimal digits"))
        .collect()
}

/// What the client sends with and what the server receives with.
fn association(profile: Profile) -> (Sender, Receiver) {
    let material: Vec<u8> = (0..profile.keying_material_len())
        .map(|i| i as u8)
        .collect();
    let (sender, _) = client_halves(profile, &material).expect("the length fits");
    let (_, receiver) = server_halves(profile, &material).expect("the length fits");
    (sender, receiver)
}

fn rtp(ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A sender report of `body.len() + 8` bytes.
fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(body);
    packet
}

fn protect_rtp(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, ProtectError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let len = sender.protect_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn protect_rtcp(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, ProtectError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let len = sender.protect_rtcp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn unprotect_rtp(receiver: &mut Receiver, sealed: &[u8]) -> Result<Vec<u8>, UnprotectError> {
    let mut packet = sealed.to_vec();
    let len = receiver.unprotect_rtp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

fn unprotect_rtcp(receiver: &mut Receiver, sealed: &[u8]) -> Result<Vec<u8>, UnprotectError> {
    let mut packet = sealed.to_vec();
    let len = receiver.unprotect_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

/// Sends the numbers in order and returns what the receiver says to each.
fn pass(sender: &mut Sender, receiver: &mut Receiver, seqs: impl IntoIterator<Item = u16>) {
    for seq in seqs {
        let packet = rtp(7, seq, b"payload");
        let sealed = protect_rtp(sender, &packet).expect("a new number");
        assert_eq!(unprotect_rtp(receiver, &sealed), Ok(packet), "number {seq}");
    }
}

/// The packets with which libsrtp checks itself (`test/srtp_driver.c`).
#[test]
fn libsrtp_validation_packets() {
    let mut material = hex("e1f97a0d3e018be0d64fa32c06de4139");
    material.extend([0; 16]);
    material.extend(hex("0ec675ad498afeebb6960b3aabe6"));
    material.extend([0; 14]);
    let profile = Profile::Aes128CmSha1_80;
    let (mut sender, _) = client_halves(profile, &material).expect("60 bytes");
    let (_, mut receiver) = server_halves(profile, &material).expect("60 bytes");

    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let sealed = protect_rtp(&mut sender, &plain).expect("a packet");
    assert_eq!(
        sealed,
        hex(concat!(
            "800f1234decafbadcafebabe",
            "4e55dc4ce79978d88ca4d215949d2402",
            "b78d6acc99ea179b8dbb",
        ))
    );
    assert_eq!(unprotect_rtp(&mut receiver, &sealed), Ok(plain));

    let plain = hex("81c8000bcafebabeabababababababababababababababab");
    let sealed = protect_rtcp(&mut sender, &plain).expect("a packet");
    assert_eq!(
        sealed,
        hex(concat!(
            "81c8000bcafebabe",
            "7128035be487b9bdbef89041f977a5a8",
            "80000001",
            "993e08cd54d6c1230798",
        ))
    );
    assert_eq!(unprotect_rtcp(&mut receiver, &sealed), Ok(plain));
}

#[test]
fn keying_material_of_another_length_gives_nothing() {
    for profile in PROFILES {
        let material = vec![0; profile.keying_material_len() + 1];
        assert!(server_halves(profile, &material).is_none());
        assert!(client_halves(profile, &material[2..]).is_none());
        assert!(server_halves(profile, &material[1..]).is_some());
    }
}

#[test]
fn what_the_server_sends_the_client_opens_and_the_server_itself_does_not() {
    for profile in PROFILES {
        let material: Vec<u8> = (0..profile.keying_material_len())
            .map(|i| i as u8)
            .collect();
        let (mut server_sends, mut server_receives) =
            server_halves(profile, &material).expect("the length fits");
        let (_, mut client_receives) = client_halves(profile, &material).expect("the length fits");
        let packet = rtp(1, 1, b"hello");
        let sealed = protect_rtp(&mut server_sends, &packet).expect("a packet");
        assert_eq!(
            unprotect_rtp(&mut server_receives, &sealed),
            Err(UnprotectError::NotAuthentic)
        );
        assert_eq!(unprotect_rtp(&mut client_receives, &sealed), Ok(packet));
    }
}

#[test]
fn a_replay_is_refused_and_the_stream_goes_on() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let first = protect_rtp(&mut sender, &rtp(7, 10, b"a")).expect("a packet");
        let second = protect_rtp(&mut sender, &rtp(7, 11, b"b")).expect("a packet");
        assert!(unprotect_rtp(&mut receiver, &second).is_ok());
        assert!(unprotect_rtp(&mut receiver, &first).is_ok());
        for sealed in [&first, &second] {
            assert_eq!(
                unprotect_rtp(&mut receiver, sealed),
                Err(UnprotectError::Replayed)
            );
        }
        let report = protect_rtcp(&mut sender, &rtcp(7, &[0; 20])).expect("a report");
        assert!(unprotect_rtcp(&mut receiver, &report).is_ok());
        assert_eq!(
            unprotect_rtcp(&mut receiver, &report),
            Err(UnprotectError::Replayed)
        );
        pass(&mut sender, &mut receiver, 12..20);
    }
}

#[test]
fn a_whole_capture_replayed_after_a_roll_over_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let mut capture = Vec::new();
        let mut seq = 64_000_u16;
        for _ in 0..4_000 {
            let sealed = protect_rtp(&mut sender, &rtp(7, seq, b"x")).expect("a packet");
            assert!(unprotect_rtp(&mut receiver, &sealed).is_ok());
            capture.push(sealed);
            seq = seq.wrapping_add(1);
        }
        for sealed in &capture {
            assert!(unprotect_rtp(&mut receiver, sealed).is_err());
        }
        pass(&mut sender, &mut receiver, seq..seq + 10);
    }
}

#[test]
fn packets_as_old_as_the_window_pass_and_older_ones_do_not() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let old: Vec<_> = (0..1_985)
            .map(|seq| protect_rtp(&mut sender, &rtp(7, seq, b"x")).expect("a packet"))
            .collect();
        assert!(unprotect_rtp(&mut receiver, &old[1_984]).is_ok());
        assert_eq!(
            unprotect_rtp(&mut receiver, &old[0]),
            Err(UnprotectError::Replayed)
        );
        assert!(unprotect_rtp(&mut receiver, &old[1]).is_ok());
    }
}

#[test]
fn packets_cross_the_roll_over_in_any_order() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let seqs: Vec<u16> = (0..400).map(|step| 65_300_u16.wrapping_add(step)).collect();
        let sealed: Vec<_> = seqs
            .iter()
            .map(|seq| protect_rtp(&mut sender, &rtp(7, *seq, b"x")).expect("a packet"))
            .collect();
        // One packet from before the roll-over, the newest, then backwards over the roll-over.
        let (first, rest) = sealed.split_first().expect("400 packets");
        assert!(unprotect_rtp(&mut receiver, first).is_ok());
        for (seq, sealed) in seqs[1..].iter().zip(rest).rev().step_by(2) {
            assert!(unprotect_rtp(&mut receiver, sealed).is_ok(), "number {seq}");
        }
        for (seq, sealed) in seqs[1..].iter().zip(rest).rev().skip(1).step_by(2) {
            assert!(unprotect_rtp(&mut receiver, sealed).is_ok(), "number {seq}");
        }
    }
}

#[test]
fn three_roll_overs_keep_both_sides_in_step() {
    let (mut sender, mut receiver) = association(Profile::AeadAes128Gcm);
    let mut at = 0_u32;
    while at < 4 * 65_536 {
        pass(&mut sender, &mut receiver, [at as u16]);
        at += 997;
    }
}

#[test]
fn a_jump_of_almost_half_a_cycle_is_followed_over_the_roll_over() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        pass(
            &mut sender,
            &mut receiver,
            [40_000, 7_000, 39_000, 39_001, 6_000, 6_001],
        );
    }
}

#[test]
fn a_jump_that_no_receiver_can_follow_is_refused() {
    let (mut sender, mut receiver) = association(Profile::AeadAes256Gcm);
    pass(&mut sender, &mut receiver, [65_000, 100]);
    // 40,000 ahead, which reads as 25,536 behind.
    assert_eq!(
        protect_rtp(&mut sender, &rtp(7, 40_100, b"x")),
        Err(ProtectError::TooOld)
    );
    pass(&mut sender, &mut receiver, [101]);
}

#[test]
fn a_retransmission_is_the_same_packet_again_even_over_the_roll_over() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let lost = rtp(7, 65_530, b"lost");
        let first = protect_rtp(&mut sender, &lost).expect("a packet");
        pass(&mut sender, &mut receiver, [65_535, 0, 500, 1_000]);
        let again = protect_rtp(&mut sender, &lost).expect("young enough");
        assert_eq!(first, again);
        assert_eq!(unprotect_rtp(&mut receiver, &again), Ok(lost));
        pass(&mut sender, &mut receiver, [1_001]);
    }
}

#[test]
fn a_retransmission_ends_exactly_at_its_age() {
    let (mut sender, _) = association(Profile::AeadAes128Gcm);
    let oldest = 10_000 - MAX_RETRANSMISSION_AGE;
    for seq in [oldest - 1, oldest, 10_000] {
        protect_rtp(&mut sender, &rtp(7, seq, b"x")).expect("in order");
    }
    assert!(protect_rtp(&mut sender, &rtp(7, oldest, b"x")).is_ok());
    assert_eq!(
        protect_rtp(&mut sender, &rtp(7, oldest - 1, b"x")),
        Err(ProtectError::TooOld)
    );
}

#[test]
fn a_restarted_source_within_half_a_cycle_ahead_is_followed() {
    let (mut sender, mut receiver) = association(Profile::AeadAes256Gcm);
    pass(&mut sender, &mut receiver, [20_000, 20_001, 51_000, 51_001]);
}

#[test]
fn the_key_ends_with_the_last_index() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        pass(&mut sender, &mut receiver, [1]);
        sender.sources[0].newest_rtp_index = Some(MAX_RTP_INDEX - 1);
        receiver.sources[0].rtp.insert(MAX_RTP_INDEX - 1);
        pass(&mut sender, &mut receiver, [65_535]);
        assert_eq!(
            protect_rtp(&mut sender, &rtp(7, 0, b"x")),
            Err(ProtectError::KeyExhausted)
        );

        sender.sources[0].last_rtcp_index = MAX_RTCP_INDEX - 1;
        let report = rtcp(7, &[0; 20]);
        let sealed = protect_rtcp(&mut sender, &report).expect("the last one");
        assert_eq!(unprotect_rtcp(&mut receiver, &sealed), Ok(report.clone()));
        assert_eq!(
            protect_rtcp(&mut sender, &report),
            Err(ProtectError::KeyExhausted)
        );
    }
}

#[test]
fn every_source_has_its_own_counters() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        for seq in [65_534_u16, 65_535, 0, 1] {
            for ssrc in [1, 2, 3] {
                let packet = rtp(ssrc, seq.wrapping_add(ssrc as u16), b"x");
                let sealed = protect_rtp(&mut sender, &packet).expect("a packet");
                assert_eq!(unprotect_rtp(&mut receiver, &sealed), Ok(packet));
                let report = rtcp(ssrc, &[0; 20]);
                let sealed = protect_rtcp(&mut sender, &report).expect("a report");
                assert_eq!(unprotect_rtcp(&mut receiver, &sealed), Ok(report));
            }
        }
    }
}

#[test]
fn one_source_too_many_is_refused_on_both_sides_and_the_others_live_on() {
    let (mut sender, mut receiver) = association(Profile::AeadAes128Gcm);
    let (mut other_sender, _) = association(Profile::AeadAes128Gcm);
    for ssrc in 0..MAX_SSRCS as u32 {
        let sealed = protect_rtp(&mut sender, &rtp(ssrc, 1, b"x")).expect("a packet");
        assert!(unprotect_rtp(&mut receiver, &sealed).is_ok());
    }
    assert_eq!(
        protect_rtp(&mut sender, &rtp(9_999, 1, b"x")),
        Err(ProtectError::TooManySsrcs)
    );
    let sealed = protect_rtp(&mut other_sender, &rtp(9_999, 1, b"x")).expect("a packet");
    assert_eq!(
        unprotect_rtp(&mut receiver, &sealed),
        Err(UnprotectError::TooManySsrcs)
    );
    let sealed = protect_rtp(&mut sender, &rtp(5, 2, b"x")).expect("a packet");
    assert!(unprotect_rtp(&mut receiver, &sealed).is_ok());
}

#[test]
fn every_changed_bit_is_noticed_and_changes_no_state() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let packet = rtp(7, 65_000, b"some payload");
        let sealed = protect_rtp(&mut sender, &packet).expect("a packet");
        let report = rtcp(7, &[3; 20]);
        let sealed_report = protect_rtcp(&mut sender, &report).expect("a report");
        for at in 0..8 * sealed.len() {
            let mut forged = sealed.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(
                unprotect_rtp(&mut receiver, &forged).is_err(),
                "{profile:?}, RTP bit {at}"
            );
        }
        for at in 0..8 * sealed_report.len() {
            let mut forged = sealed_report.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(
                unprotect_rtcp(&mut receiver, &forged).is_err(),
                "{profile:?}, RTCP bit {at}"
            );
        }
        assert!(receiver.sources.is_empty());
        assert_eq!(unprotect_rtp(&mut receiver, &sealed), Ok(packet));
        assert_eq!(unprotect_rtcp(&mut receiver, &sealed_report), Ok(report));
    }
}

#[test]
fn forgeries_do_not_move_the_window() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        pass(&mut sender, &mut receiver, [100]);
        for seq in (0..=u16::MAX).step_by(501) {
            let mut forged = rtp(7, seq, b"payload");
            forged.extend([0; 16]);
            assert!(unprotect_rtp(&mut receiver, &forged).is_err());
        }
        pass(&mut sender, &mut receiver, [101]);
    }
}

/// CVE-2013-2139 and its kin: lengths below the minimum.
#[test]
fn packets_of_0_to_40_bytes_are_refused_without_a_panic() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        for first in [0x80, 0x90, 0x8f, 0x9f, 0x00, 0xff] {
            for len in 0..=40 {
                let mut bytes = vec![first; len];
                assert!(receiver.unprotect_rtp(&mut bytes).is_err());
                let mut bytes = vec![first; len];
                assert!(receiver.unprotect_rtcp(&mut bytes).is_err());
            }
        }
        let sealed = protect_rtp(&mut sender, &rtp(7, 1, &[9; 40])).expect("a packet");
        let sealed_report = protect_rtcp(&mut sender, &rtcp(7, &[9; 40])).expect("a report");
        for len in 0..sealed.len() {
            assert!(unprotect_rtp(&mut receiver, &sealed[..len]).is_err());
        }
        for len in 0..sealed_report.len() {
            assert!(unprotect_rtcp(&mut receiver, &sealed_report[..len]).is_err());
        }
        assert!(unprotect_rtp(&mut receiver, &sealed).is_ok());
        assert!(unprotect_rtcp(&mut receiver, &sealed_report).is_ok());
    }
}

#[test]
fn nothing_is_protected_without_a_header_or_without_room() {
    for profile in PROFILES {
        let (mut sender, _) = association(profile);
        let overhead = profile_tag_len(profile);
        for len in 0..12 {
            let mut buffer = [0x80; 64];
            assert_eq!(
                sender.protect_rtp(&mut buffer, len),
                Err(ProtectError::Malformed)
            );
        }
        for len in 0..8 {
            let mut buffer = [0x80; 64];
            assert_eq!(
                sender.protect_rtcp(&mut buffer, len),
                Err(ProtectError::Malformed)
            );
        }
        let mut packet = rtp(7, 1, &[0; 20]);
        let len = packet.len();
        assert_eq!(
            sender.protect_rtp(&mut packet, len + 1),
            Err(ProtectError::Malformed)
        );
        packet.resize(len + overhead - 1, 0);
        assert_eq!(
            sender.protect_rtp(&mut packet, len),
            Err(ProtectError::Malformed)
        );
        packet.push(0);
        assert_eq!(sender.protect_rtp(&mut packet, len), Ok(len + overhead));
    }
}

fn profile_tag_len(profile: Profile) -> usize {
    match profile {
        Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 16,
        Profile::Aes128CmSha1_80 => 10,
    }
}

/// RFC 7714 section 17.3 authenticates such a packet; WebRTC has no use for it (RFC 8827 section 6.5).
#[test]
fn srtcp_without_the_encryption_flag_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = association(profile);
        let mut sealed = protect_rtcp(&mut sender, &rtcp(7, &[0; 20])).expect("a report");
        let word = match profile {
            Profile::Aes128CmSha1_80 => sealed.len() - 14,
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => sealed.len() - 4,
        };
        assert_eq!(sealed[word], 0x80);
        sealed[word] = 0;
        assert_eq!(
            unprotect_rtcp(&mut receiver, &sealed),
            Err(UnprotectError::NotAuthentic)
        );
    }
}

#[test]
fn keys_do_not_print() {
    let (sender, receiver) = association(Profile::Aes128CmSha1_80);
    assert_eq!(format!("{sender:?}"), "Sender { sources: [], .. }");
    assert_eq!(format!("{receiver:?}"), "Receiver { ssrcs: [], .. }");
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::sample::select(&PROFILES[..])
}

prop_compose! {
    /// A well-formed RTP packet: CSRCs, perhaps a header extension, any payload.
    fn rtp_packets()(
        csrcs in prop::collection::vec(any::<u32>(), 0..=15),
        extension in prop::option::of(prop::collection::vec(any::<u32>(), 0..20)),
        marker_and_type in any::<u8>(),
        seq in any::<u16>(),
        ssrc in any::<u32>(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) -> Vec<u8> {
        let flags = 0x80 | csrcs.len() as u8 | if extension.is_some() { 0x10 } else { 0 };
        let mut packet = vec![flags, marker_and_type];
        packet.extend(seq.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(csrcs.iter().flat_map(|csrc| csrc.to_be_bytes()));
        if let Some(words) = extension {
            packet.extend([0xbe, 0xde]);
            packet.extend((words.len() as u16).to_be_bytes());
            packet.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        packet.extend(payload);
        packet
    }
}

proptest! {
    #[test]
    fn any_rtp_packet_comes_back_and_only_its_header_stays_readable(
        profile in profiles(),
        packet in rtp_packets(),
    ) {
        let (mut sender, mut receiver) = association(profile);
        let sealed = protect_rtp(&mut sender, &packet).expect("well-formed");
        let header = RtpHeader::parse(&packet).expect("well-formed");
        prop_assert_eq!(sealed.len(), packet.len() + profile_tag_len(profile));
        prop_assert_eq!(&sealed[..header.len], &packet[..header.len]);
        if packet.len() >= header.len + 16 {
            prop_assert_ne!(&sealed[header.len..packet.len()], &packet[header.len..]);
        }
        prop_assert_eq!(unprotect_rtp(&mut receiver, &sealed), Ok(packet));
    }

    #[test]
    fn any_rtcp_packet_comes_back(
        profile in profiles(),
        ssrc in any::<u32>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut sender, mut receiver) = association(profile);
        let packet = rtcp(ssrc, &body);
        let sealed = protect_rtcp(&mut sender, &packet).expect("well-formed");
        prop_assert_eq!(sealed.len(), packet.len() + profile_tag_len(profile) + 4);
        prop_assert_eq!(unprotect_rtcp(&mut receiver, &sealed), Ok(packet));
    }

    /// Every packet that arrives within the window is delivered exactly once, wherever the wrap falls.
    #[test]
    fn loss_reordering_and_repetition_around_the_wrap_deliver_each_packet_once(
        profile in profiles(),
        first in any::<u16>(),
        arrivals in prop::collection::vec(0_usize..300, 1..400),
    ) {
        let (mut sender, mut receiver) = association(profile);
        let sealed: Vec<_> = (0..300)
            .map(|step| protect_rtp(&mut sender, &rtp(7, first.wrapping_add(step), b"x")).expect("in order"))
            .collect();
        // Without one early packet the receiver cannot know on which side of a wrap its first one lies.
        prop_assert!(unprotect_rtp(&mut receiver, &sealed[0]).is_ok());
        let mut delivered = std::collections::BTreeSet::from([0]);
        for arrival in arrivals {
            let is_new = delivered.insert(arrival);
            let outcome = unprotect_rtp(&mut receiver, &sealed[arrival]);
            prop_assert_eq!(outcome.is_ok(), is_new, "packet {}: {:?}", arrival, outcome);
        }
    }

    #[test]
    fn no_bytes_panic(
        profile in profiles(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (mut sender, mut receiver) = association(profile);
        prop_assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
        prop_assert!(receiver.unprotect_rtcp(&mut bytes.clone()).is_err());
        let len = bytes.len();
        let _ = sender.protect_rtp(&mut bytes.clone(), len);
        let _ = sender.protect_rtcp(&mut bytes.clone(), len / 2);
    }
}
