//! Golden in, golden out.

use std::fs;

use hanok::media::sdp::{
    Offering, Rejection, accept_answer, answer_publisher, answer_publisher_with_loopback,
    answer_subscriber, offer_subscriber,
};
use hanok::units::{Codec, MediaKind, Random};

use super::{CNAME, local, media_lines, path, policy, publish, read, show};

const PUBLISHERS: [&str; 22] = [
    "chromium/publisher_audio_only",
    "chromium/publisher_audio_video",
    "chromium/publisher_data_channel",
    "chromium/publisher_max_bundle",
    "chromium/publisher_sendrecv",
    "chromium/publisher_simulcast",
    "chromium/publisher_two_videos",
    "chromium/publisher_video_first",
    "chromium/publisher_video_only",
    "firefox/publisher_audio_only",
    "firefox/publisher_audio_video",
    "firefox/publisher_data_channel",
    "firefox/publisher_max_bundle",
    "firefox/publisher_openh264",
    "firefox/publisher_sendrecv",
    "firefox/publisher_simulcast",
    "firefox/publisher_two_videos",
    "firefox/publisher_video_first",
    "firefox/publisher_video_only",
    "safari/publisher_audio_only",
    "safari/publisher_audio_video",
    "safari/publisher_video_first",
];

fn matches_golden(name: &str, actual: &str) {
    let file = path(&format!("golden/{name}"));
    if std::env::var_os("HANOK_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, actual).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        expected == actual,
        "{name} differs from the committed file; it is now:\n{actual}"
    );
}

#[test]
fn publishers_are_answered_as_committed() {
    for name in PUBLISHERS {
        let publishing = publish(&format!("{name}.sdp"), None);
        matches_golden(&format!("{name}.answer.sdp"), &publishing.answer);
        matches_golden(&format!("{name}.tracks"), &show(&publishing.tracks));
    }
}

#[test]
fn who_wants_its_own_media_back_gets_it_on_the_same_sections() {
    for browser in ["chromium", "firefox"] {
        let name = format!("{browser}/publisher_sendrecv");
        let offer = read(&format!("{name}.sdp"));
        let mut random = Random::seeded(1);
        let looped =
            answer_publisher_with_loopback(&offer, &policy(None), CNAME, &mut random, &local())
                .unwrap();
        matches_golden(&format!("{name}.loopback.sdp"), &looped.answer);
        matches_golden(&format!("{name}.loopback.tracks"), &show(&looped.loopback));

        let plain = publish(&format!("{name}.sdp"), None);
        assert_eq!(looped.tracks, plain.tracks);
        assert_eq!(plain.loopback, []);
        assert_eq!(looped.loopback.len(), 2);
        for (sent, received) in looped.loopback.iter().zip(&looped.tracks) {
            assert_eq!(sent.payload_type, received.payload_type);
            assert_eq!(sent.rtx_payload_type, received.rtx_payload_type);
            let sources = [sent.ssrc, sent.rtx_ssrc, received.ssrc, received.rtx_ssrc];
            let sources: Vec<_> = sources.into_iter().flatten().collect();
            let distinct: std::collections::BTreeSet<_> = sources.iter().collect();
            assert_eq!(sources.len(), distinct.len());
            assert_eq!(sent.rtx_ssrc.is_some(), received.rtx_ssrc.is_some());
            for (extension, id) in sent.extensions.iter() {
                assert_eq!(received.extensions.get(extension), Some(id));
            }
        }
        // But for the direction and our sources it is the same answer.
        let without_sources: String = looped
            .answer
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid"))
            .collect();
        let direction = without_sources.replace("a=sendrecv", "a=recvonly");
        assert_eq!(direction, plain.answer);
    }
}

#[test]
fn who_only_sends_gets_nothing_back_whatever_it_wants() {
    let offer = read("chromium/publisher_audio_video.sdp");
    let mut random = Random::seeded(1);
    let looped =
        answer_publisher_with_loopback(&offer, &policy(None), CNAME, &mut random, &local());
    let looped = looped.unwrap();
    assert_eq!(looped.loopback, []);
    assert_eq!(
        looped,
        answer_publisher(&offer, &policy(None), &local()).unwrap()
    );
}

#[test]
fn every_recorded_publisher_is_a_case() {
    let mut found = 0;
    for browser in ["chromium", "firefox", "safari"] {
        for file in fs::read_dir(path(browser)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            if file.starts_with("publisher_") {
                let name = format!("{browser}/{}", file.trim_end_matches(".sdp"));
                assert!(PUBLISHERS.contains(&name.as_str()), "{name}");
                found += 1;
            }
        }
    }
    assert_eq!(found, PUBLISHERS.len());
}

#[test]
fn a_forced_codec_is_the_only_one_answered() {
    for (name, codec, payload_type) in [
        ("chromium/publisher_audio_video", Codec::Vp8, 96),
        ("chromium/publisher_audio_video", Codec::Vp9, 98),
        ("chromium/publisher_audio_video", Codec::H264, 108),
        ("chromium/publisher_audio_video", Codec::Av1, 45),
        ("firefox/publisher_openh264", Codec::H264, 126),
        ("firefox/publisher_audio_video", Codec::Av1, 99),
        ("safari/publisher_audio_video", Codec::H264, 98),
        ("safari/publisher_audio_video", Codec::Vp8, 102),
        ("safari/publisher_audio_video", Codec::Vp9, 104),
    ] {
        let publishing = publish(&format!("{name}.sdp"), Some(codec));
        let [audio, video] = publishing.tracks.as_slice() else {
            panic!("{name}: {:?}", publishing.tracks);
        };
        assert_eq!(audio.codec, Codec::Opus);
        assert_eq!(
            (video.codec, video.payload_type.get()),
            (codec, payload_type)
        );
        let rtx = video.rtx_payload_type.unwrap();
        assert!(publishing.answer.contains(&format!(
            "m=video 9 UDP/TLS/RTP/SAVPF {payload_type} {rtx}\r\n"
        )));
        assert_eq!(publishing.answer.matches("a=rtpmap:").count(), 3);
    }
}

#[test]
fn without_forcing_the_clients_order_decides() {
    let codec = |name: &str| publish(name, None).tracks[1].codec;
    assert_eq!(codec("chromium/publisher_audio_video.sdp"), Codec::Vp8);
    assert_eq!(codec("firefox/publisher_audio_video.sdp"), Codec::Vp8);
    assert_eq!(codec("safari/publisher_audio_video.sdp"), Codec::H264);
}

#[test]
fn subscribers_of_every_browser_are_answered_as_committed() {
    for (source, forced) in [
        ("chromium", None),
        ("firefox", None),
        ("safari", Some(Codec::Vp8)),
    ] {
        let tracks = publish(&format!("{source}/publisher_audio_video.sdp"), forced).tracks;
        for subscriber in ["chromium", "firefox", "safari"] {
            let subscribing = answer_subscriber(
                &read(&format!("{subscriber}/subscriber_audio_video.sdp")),
                &tracks,
                CNAME,
                &mut Random::seeded(1),
                &local(),
            )
            .unwrap();
            let name = format!("{subscriber}/subscriber_of_{source}");
            matches_golden(&format!("{name}.answer.sdp"), &subscribing.answer);
            matches_golden(&format!("{name}.tracks"), &show(&subscribing.tracks));
        }
    }
}

#[test]
fn h264_reaches_whoever_decodes_constrained_baseline() {
    let source = publish("safari/publisher_audio_video.sdp", None).tracks;
    for (subscriber, payload_type) in [
        ("chromium/subscriber_audio_video.sdp", Some(108)),
        ("firefox/subscriber_openh264.sdp", Some(126)),
        ("firefox/subscriber_audio_video.sdp", None),
        ("safari/subscriber_audio_video.sdp", Some(98)),
    ] {
        let subscribing = answer_subscriber(
            &read(subscriber),
            &source,
            CNAME,
            &mut Random::seeded(1),
            &local(),
        );
        match payload_type {
            Some(expected) => {
                assert_eq!(subscribing.unwrap().tracks[1].payload_type.get(), expected);
            }
            None => assert_eq!(
                subscribing.unwrap_err().to_string(),
                "codec H264 is not in the session description"
            ),
        }
    }
}

#[test]
fn kinds_that_the_source_lacks_are_answered_inactive() {
    let source = publish("chromium/publisher_audio_only.sdp", None).tracks;
    let subscribing = answer_subscriber(
        &read("firefox/subscriber_audio_video.sdp"),
        &source,
        CNAME,
        &mut Random::seeded(1),
        &local(),
    )
    .unwrap();
    assert_eq!(subscribing.tracks.len(), 1);
    assert_eq!(subscribing.tracks[0].kind, MediaKind::Audio);
    matches_golden(
        "firefox/subscriber_of_audio_only.answer.sdp",
        &subscribing.answer,
    );
}

#[test]
fn single_sections_are_answered_in_their_kind() {
    for browser in ["chromium", "firefox", "safari"] {
        let source = publish(
            &format!("{browser}/publisher_video_first.sdp"),
            Some(Codec::Vp8),
        )
        .tracks;
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let name = format!("{browser}/subscriber_{}_only.sdp", kind.as_str());
            let subscribing = answer_subscriber(
                &read(&name),
                &source,
                CNAME,
                &mut Random::seeded(1),
                &local(),
            )
            .unwrap();
            assert_eq!(media_lines(&subscribing.answer).len(), 1, "{name}");
            assert_eq!(subscribing.tracks.len(), 1, "{name}");
            assert_eq!(subscribing.tracks[0].kind, kind, "{name}");
            assert_eq!(subscribing.tracks[0].mid, "0", "{name}");
            assert!(
                subscribing.answer.contains("a=group:BUNDLE 0\r\n"),
                "{name}"
            );
        }
    }
}

/// Publishers, the name of our offer of each, and the forced codec.
const OFFERED: [(&str, &str, Option<Codec>); 5] = [
    ("chromium", "chromium_vp8", None),
    ("chromium", "chromium_h264", Some(Codec::H264)),
    ("firefox", "firefox_vp8", None),
    ("firefox", "firefox_av1", Some(Codec::Av1)),
    ("safari", "safari_vp9", Some(Codec::Vp9)),
];

fn offer(browser: &str, forced_video: Option<Codec>) -> Offering {
    let tracks = publish(
        &format!("{browser}/publisher_video_first.sdp"),
        forced_video,
    )
    .tracks;
    offer_subscriber(&tracks, CNAME, 0, &mut Random::seeded(1), &local())
}

#[test]
fn our_offers_are_as_committed() {
    for (browser, name, forced) in OFFERED {
        let offering = offer(browser, forced);
        matches_golden(&format!("offers/{name}.sdp"), &offering.offer);
        matches_golden(&format!("offers/{name}.tracks"), &show(&offering.tracks));
    }
}

#[test]
fn recorded_answers_to_our_offers_are_understood() {
    for (source, name, forced) in OFFERED {
        let offered = offer(source, forced).tracks;
        for browser in ["chromium", "firefox"] {
            let answer = format!("{browser}/answer_to_{name}.sdp");
            let accepted = accept_answer(&read(&answer), &offered);
            // Firefox without OpenH264 refuses the section, and nothing else of the offer.
            if browser == "firefox" && forced == Some(Codec::H264) {
                let codec = Codec::H264.name();
                assert_eq!(accepted, Err(Rejection::CodecMissing { codec }));
                continue;
            }
            let (remote, accepted) =
                accepted.unwrap_or_else(|rejection| panic!("{answer}: {rejection}"));
            assert_eq!(remote.fingerprints.len(), 1);
            matches_golden(
                &format!("{browser}/accepted_{name}.tracks"),
                &show(&accepted),
            );
            assert_eq!(accepted.len(), 2, "{answer}");
            for accepted in &accepted {
                let offered = offered
                    .iter()
                    .find(|track| track.mid == accepted.mid)
                    .unwrap();
                assert_eq!(accepted.payload_type, offered.payload_type, "{answer}");
                assert_eq!(
                    accepted.rtx_payload_type, offered.rtx_payload_type,
                    "{answer}"
                );
                assert_eq!(accepted.ssrc, offered.ssrc, "{answer}");
                assert_eq!(accepted.rtx_ssrc, offered.rtx_ssrc, "{answer}");
                assert_eq!(accepted.feedback, offered.feedback, "{answer}");
            }
        }
    }
}

#[test]
fn the_bandwidth_limit_is_written_for_video_that_we_receive() {
    let offer = read("chromium/publisher_audio_video.sdp");
    let limited = answer_publisher(&offer, &policy(None), &local()).unwrap();
    assert_eq!(limited.answer.matches("\nb=").count(), 2);
    let (audio, video) = limited.answer.split_once("m=video").unwrap();
    assert!(!audio.contains("b="));
    // Chromium goes by the last line, for audio too.
    assert!(video.contains("b=TIAS:1000000\r\nb=AS:1110\r\n"));

    let unlimited = answer_publisher(&offer, &Default::default(), &local()).unwrap();
    assert!(!unlimited.answer.contains("\nb="));
}

#[test]
fn a_publishers_sources_are_read() {
    let tracks = publish("chromium/publisher_audio_video.sdp", None).tracks;
    let sources: Vec<_> = tracks
        .iter()
        .map(|track| {
            (
                track.ssrc.map(|ssrc| ssrc.0),
                track.rtx_ssrc.map(|ssrc| ssrc.0),
            )
        })
        .collect();
    assert_eq!(
        sources,
        [
            (Some(1_000_000_001), None),
            (Some(1_000_000_002), Some(1_000_000_003))
        ]
    );
    let simulcast = publish("chromium/publisher_simulcast.sdp", None).tracks;
    assert_eq!((simulcast[0].ssrc, simulcast[0].rtx_ssrc), (None, None));
}
