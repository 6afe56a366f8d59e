//! What holds for any text.

use hanok::media::sdp::{
    CodecPolicy, Track, accept_answer, answer_publisher, answer_subscriber, offer_subscriber,
};
use hanok::units::{Bitrate, Codec, Extension, ExtensionIds, Feedback, PayloadType, Random, Ssrc};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{CNAME, local, media_lines, publish, read};

const RECORDED: [&str; 12] = [
    "chromium/publisher_audio_video.sdp",
    "chromium/publisher_data_channel.sdp",
    "chromium/publisher_simulcast.sdp",
    "chromium/publisher_two_videos.sdp",
    "chromium/subscriber_audio_video.sdp",
    "chromium/answer_to_chromium_vp8.sdp",
    "firefox/publisher_openh264.sdp",
    "firefox/publisher_max_bundle.sdp",
    "firefox/subscriber_audio_video.sdp",
    "firefox/answer_to_chromium_h264.sdp",
    "safari/publisher_video_first.sdp",
    "safari/subscriber_audio_video.sdp",
];

/// One change of a text, by line.
#[derive(Debug, Clone)]
enum Mutation {
    Delete(Index),
    Repeat(Index, usize),
    Swap(Index, Index),
    /// Replaces what follows a word boundary of a line.
    Value(Index, Index, String),
    Byte(Index, u8),
    Truncate(Index),
    /// Appends the sections of another description.
    Splice(&'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let value = select(vec![
        "",
        "0",
        "1",
        "-1",
        "96",
        "127",
        "128",
        "255",
        "256",
        "65536",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "*",
        "/",
        ":",
        "=",
        " ",
        "a=",
        "m=",
        "é",
        "\u{2028}",
        "sendrecv",
        "inactive",
        "actpass",
        "passive",
        "BUNDLE",
        "FID",
        "apt=96",
        "rtx/90000",
        "opus/48000/2",
        "VP8/90000",
        "profile-level-id=é",
        "0/0",
        "9/2",
    ]);
    prop_oneof![
        1 => any::<Index>().prop_map(Mutation::Delete),
        1 => (any::<Index>(), 1_usize..40).prop_map(|(at, times)| Mutation::Repeat(at, times)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        4 => (any::<Index>(), any::<Index>(), value)
            .prop_map(|(line, at, value)| Mutation::Value(line, at, value.to_owned())),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
        1 => select(RECORDED.to_vec()).prop_map(Mutation::Splice),
    ]
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for mutation in mutations {
        if lines.is_empty() {
            break;
        }
        match mutation {
            Mutation::Delete(at) => {
                lines.remove(at.index(lines.len()));
            }
            Mutation::Repeat(at, times) => {
                let at = at.index(lines.len());
                let line = lines[at].clone();
                lines.splice(at..at, std::iter::repeat_n(line, *times));
            }
            Mutation::Swap(a, b) => {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
            }
            Mutation::Value(line, at, value) => {
                let at_line = line.index(lines.len());
                let line = &lines[at_line];
                let ends: Vec<usize> = line
                    .char_indices()
                    .filter(|(_, c)| !c.is_alphanumeric())
                    .map(|(index, c)| index + c.len_utf8())
                    .collect();
                if !ends.is_empty() {
                    let from = ends[at.index(ends.len())];
                    let to = ends
                        .iter()
                        .map(|end| end - 1)
                        .find(|end| *end > from && line.is_char_boundary(*end))
                        .unwrap_or(line.len());
                    lines[at_line] = format!("{}{value}{}", &line[..from], &line[to..]);
                }
            }
            Mutation::Byte(at, byte) => {
                let mut bytes = lines.concat().into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = *byte;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                lines = text.split_inclusive('\n').map(str::to_owned).collect();
            }
            Mutation::Truncate(at) => {
                let text = lines.concat();
                let at = at.index(text.len());
                let text: String = text.chars().take(at).collect();
                lines = text.split_inclusive('\n').map(str::to_owned).collect();
            }
            Mutation::Splice(name) => {
                let other = read(name);
                let sections = other.find("\r\nm=").map_or("", |at| &other[at + 2..]);
                lines.extend(sections.split_inclusive('\n').map(str::to_owned));
            }
        }
    }
    lines.concat()
}

/// What every answer of ours has in common.
fn check_answer(offer: &str, answer: &str) {
    let offered = media_lines(offer);
    let answered = media_lines(answer);
    assert_eq!(offered.len(), answered.len(), "{offer}\n---\n{answer}");
    for (offered, answered) in offered.iter().zip(&answered) {
        let kind = |line: &str| line.split([' ', '\t']).next().map(str::to_owned);
        assert_eq!(kind(offered), kind(answered), "{offer}\n---\n{answer}");
    }
    assert!(
        answer
            .lines()
            .all(|line| line.as_bytes().get(1) == Some(&b'='))
    );
    assert!(answer.ends_with("\r\n"));
    assert_eq!(answer.matches('\n').count(), answer.matches("\r\n").count());
    // Every accepted section has one codec and at most its retransmissions.
    for section in answer.split("\r\nm=").skip(1) {
        let accepted = section.contains("\r\na=ice-ufrag:");
        let codecs = section.matches("\r\na=rtpmap:").count();
        let repairs = section.matches(" rtx/90000\r\n").count();
        assert_eq!(codecs - repairs, usize::from(accepted), "{section}");
        assert!(repairs <= 1, "{section}");
    }
}

fn check_everything(text: &str, source: &[Track]) {
    let policies = [
        CodecPolicy::default(),
        CodecPolicy {
            forced_video: Some(Codec::H264),
            fall_back: true,
            max_receive: Some(Bitrate::from_kbps(1000)),
        },
    ];
    for policy in policies {
        if let Ok(publishing) = answer_publisher(text, &policy, &local()) {
            check_answer(text, &publishing.answer);
            assert!(!publishing.tracks.is_empty());
            assert!(!publishing.remote.fingerprints.is_empty());
            // What a publisher got can be offered and subscribed to.
            check_offer(&publishing.tracks);
        }
    }
    if let Ok(subscribing) =
        answer_subscriber(text, source, CNAME, &mut Random::seeded(3), &local())
    {
        check_answer(text, &subscribing.answer);
        assert!(subscribing.tracks.iter().all(|track| track.ssrc.is_some()));
    }
    if let Ok((remote, tracks)) = accept_answer(text, source) {
        assert!(tracks.len() <= source.len());
        assert!(!remote.fingerprints.is_empty());
    }
}

/// Our offer as a browser would answer it: everything accepted.
fn accepting(offer: &str) -> String {
    offer
        .replace("a=ice-lite\r\n", "")
        .replace("a=sendonly", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
}

fn check_offer(source: &[Track]) {
    let offering = offer_subscriber(source, CNAME, 0, &mut Random::seeded(4), &local());
    assert_eq!(offering.tracks.len(), source.len());
    let (remote, tracks) = accept_answer(&accepting(&offering.offer), &offering.tracks)
        .unwrap_or_else(|rejection| panic!("{rejection}\n{}", offering.offer));
    assert_eq!(tracks, offering.tracks);
    assert_eq!(remote.ice, local().ice);
    assert_eq!(remote.fingerprints, [local().fingerprint]);
    for (offered, source) in offering.tracks.iter().zip(source) {
        assert_eq!((offered.kind, offered.codec), (source.kind, source.codec));
    }
}

fn track() -> impl Strategy<Value = Track> {
    (
        select(Codec::ALL.to_vec()),
        0_u8..128,
        proptest::option::of(0_u8..128),
        "[ -~]{0,40}",
        vec((select(Extension::ALL.to_vec()), 1_u8..15), 0..8),
        any::<[bool; 5]>(),
    )
        .prop_map(|(codec, payload_type, rtx, fmtp, ids, feedback)| {
            let mut extensions = ExtensionIds::default();
            for (extension, id) in ids {
                extensions.set(extension, id);
            }
            let [nack, pli, fir, remb, transport_cc] = feedback;
            Track {
                kind: codec.kind(),
                mid: "x".to_owned(),
                codec,
                payload_type: PayloadType::new(payload_type).unwrap(),
                rtx_payload_type: rtx.and_then(PayloadType::new),
                fmtp,
                extensions,
                feedback: Feedback {
                    nack,
                    pli,
                    fir,
                    remb,
                    transport_cc,
                },
                ssrc: Some(Ssrc(1)),
                rtx_ssrc: None,
            }
        })
}

#[test]
fn every_recorded_text_keeps_the_properties_unchanged() {
    let source = publish("chromium/publisher_video_first.sdp", None).tracks;
    for name in RECORDED {
        check_everything(&read(name), &source);
    }
}

proptest! {
    #[test]
    fn mutated_descriptions_never_panic_and_answers_mirror_their_offers(
        name in select(RECORDED.to_vec()),
        mutations in vec(mutation(), 1..6),
    ) {
        let source = publish("chromium/publisher_video_first.sdp", None).tracks;
        check_everything(&mutate(&read(name), &mutations), &source);
    }

    #[test]
    fn mutated_answers_yield_only_what_was_offered(
        browser in select(vec!["chromium", "firefox"]),
        mutations in vec(mutation(), 0..3),
    ) {
        let source = publish("chromium/publisher_video_first.sdp", None).tracks;
        let offered =
            offer_subscriber(&source, CNAME, 0, &mut Random::seeded(1), &local()).tracks;
        let answer = mutate(&read(&format!("{browser}/answer_to_chromium_vp8.sdp")), &mutations);
        if let Ok((_, tracks)) = accept_answer(&answer, &offered) {
            for track in tracks {
                let offered = offered.iter().find(|offered| offered.mid == track.mid).unwrap();
                prop_assert_eq!(track.codec, offered.codec);
                prop_assert_eq!(track.payload_type, offered.payload_type);
                prop_assert_eq!(track.ssrc, offered.ssrc);
                prop_assert!(track.rtx_ssrc.is_none() || track.rtx_ssrc == offered.rtx_ssrc);
                prop_assert_eq!(track.rtx_ssrc.is_some(), track.rtx_payload_type.is_some());
                for (extension, id) in track.extensions.iter() {
                    prop_assert_eq!(offered.extensions.get(extension), Some(id));
                }
            }
        }
    }

    #[test]
    fn any_text_gives_a_result(text in "\\PC{0,200}|([vostamicb]=[ -~]{0,30}\r?\n){0,30}") {
        check_everything(&text, &[]);
    }

    #[test]
    fn our_offers_round_trip(tracks in vec(track(), 0..4)) {
        if !tracks.is_empty() {
            check_offer(&tracks);
        }
    }

    #[test]
    fn sources_are_never_zero_and_never_repeat(tracks in vec(track(), 1..10), seed in any::<u64>()) {
        let offering = offer_subscriber(&tracks, CNAME, 0, &mut Random::seeded(seed), &local());
        let mut ssrcs: Vec<Ssrc> = offering
            .tracks
            .iter()
            .flat_map(|track| [track.ssrc, track.rtx_ssrc])
            .flatten()
            .collect();
        let count = ssrcs.len();
        prop_assert!(count >= tracks.len());
        prop_assert!(!ssrcs.contains(&Ssrc(0)));
        ssrcs.sort();
        ssrcs.dedup();
        prop_assert_eq!(ssrcs.len(), count);
    }
}
