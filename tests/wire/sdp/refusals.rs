//! Offers and answers that are refused, each with words that a developer understands (`robustness` S19, S22).

use hanok::media::sdp::{
    CodecPolicy, Rejection, accept_answer, answer_publisher, answer_subscriber, offer_subscriber,
};
use hanok::units::{Codec, Random};

use super::{CNAME, local, media_lines, policy, publish, read};

const AUDIO_VIDEO: &str = "chromium/publisher_audio_video.sdp";

fn rejection(offer: &str) -> Rejection {
    answer_publisher(offer, &policy(None), &local()).expect_err("refused")
}

/// The recorded offer with every occurrence of `from` replaced, which must occur.
fn changed(name: &str, from: &str, to: &str) -> String {
    let offer = read(name);
    assert!(offer.contains(from), "{name} has no {from:?}");
    offer.replace(from, to)
}

/// The recorded offer with the first occurrence of `from` replaced, which must occur.
fn changed_once(name: &str, from: &str, to: &str) -> String {
    let offer = read(name);
    assert!(offer.contains(from), "{name} has no {from:?}");
    offer.replacen(from, to, 1)
}

/// The recorded offer without the lines that begin with `prefix`, of which there must be some.
fn without(name: &str, prefix: &str) -> String {
    let offer = read(name);
    let kept: String = offer
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(prefix))
        .collect();
    assert!(kept.len() < offer.len(), "{name} has no {prefix}");
    kept
}

#[test]
fn offers_that_lack_something_say_what() {
    for (offer, reason) in [
        (
            without(AUDIO_VIDEO, "a=fingerprint:"),
            "there is no a=fingerprint with sha-256, sha-384 or sha-512: media must be encrypted with DTLS",
        ),
        (
            changed(AUDIO_VIDEO, "a=fingerprint:sha-256", "a=fingerprint:sha-1"),
            "there is no a=fingerprint with sha-256, sha-384 or sha-512: media must be encrypted with DTLS",
        ),
        (
            without(AUDIO_VIDEO, "a=ice-ufrag:"),
            "media section 1 (audio) lacks a=ice-ufrag",
        ),
        (
            without(AUDIO_VIDEO, "a=ice-pwd:"),
            "media section 1 (audio) lacks a=ice-pwd",
        ),
        (
            without(AUDIO_VIDEO, "a=ice-"),
            "a=ice-ufrag and a=ice-pwd are missing",
        ),
        (
            without(AUDIO_VIDEO, "a=rtcp-mux"),
            "the section with a=mid:0 lacks a=rtcp-mux",
        ),
        (
            without(AUDIO_VIDEO, "a=mid:"),
            "media section 1 (audio) lacks a=mid",
        ),
        (
            without(AUDIO_VIDEO, "a=group:"),
            "the section with a=mid:0 is not in a=group:BUNDLE: all media must share one transport",
        ),
        (
            changed(AUDIO_VIDEO, "a=group:BUNDLE 0 1", "a=group:BUNDLE 1"),
            "the section with a=mid:0 is not in a=group:BUNDLE: all media must share one transport",
        ),
        (
            without(AUDIO_VIDEO, "a=rtpmap:111 "),
            "the audio section offers no supported codec (opus)",
        ),
        (
            without("safari/publisher_audio_video.sdp", "a=rtpmap:"),
            "the audio section offers no supported codec (opus)",
        ),
        (
            changed(
                "chromium/publisher_video_only.sdp",
                "a=rtpmap:96 VP8",
                "a=rtpmap:96 H263",
            )
            .replace("H264/90000", "H261/90000")
            .replace("AV1/90000", "AV2/90000")
            .replace("VP9/90000", "VP9/9000"),
            "the video section offers no supported codec (VP8, VP9, H264, AV1)",
        ),
        (
            read("chromium/subscriber_audio_video.sdp"),
            "the offer sends neither audio nor video: there is nothing to publish",
        ),
        (
            changed(AUDIO_VIDEO, "a=sendonly", "a=inactive"),
            "the offer sends neither audio nor video: there is nothing to publish",
        ),
        (
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned(),
            "the session description has no media section (m= line)",
        ),
    ] {
        assert_eq!(rejection(&offer), Rejection::Malformed(reason.to_owned()));
    }
}

#[test]
fn offers_that_contradict_themselves_say_where() {
    for (offer, reason) in [
        (
            changed(AUDIO_VIDEO, "a=mid:1", "a=mid:0"),
            "two media sections have the same a=mid:0",
        ),
        (
            changed(AUDIO_VIDEO, "a=ssrc:1000000002 ", "a=ssrc:1000000001 "),
            "two media sections declare the same a=ssrc:1000000001",
        ),
        (
            changed_once(
                AUDIO_VIDEO,
                "a=ssrc:1000000003 cname:cname1",
                "a=ssrc:1000000002 cname:other",
            ),
            "media section 2 (video) declares a=ssrc:1000000002 twice with different names",
        ),
        (
            changed(
                AUDIO_VIDEO,
                "FID 1000000002 1000000003",
                "FID 1000000002 1000000002",
            ),
            "media section 2 (video) uses one SSRC twice in a=ssrc-group:FID",
        ),
        (
            changed(AUDIO_VIDEO, "FID 1000000002 ", "FID 4294967296 "),
            "media section 2 (video) has an unusable a=ssrc-group",
        ),
        (
            changed(AUDIO_VIDEO, "a=ssrc:1000000002 ", "a=ssrc:-1 "),
            "media section 2 (video) has an unusable a=ssrc",
        ),
        (
            changed_once(AUDIO_VIDEO, "a=setup:actpass", "a=setup:active"),
            "the media sections contradict each other in a=setup",
        ),
        (
            changed_once(
                AUDIO_VIDEO,
                "a=setup:actpass",
                "a=setup:actpass\r\na=setup:active",
            ),
            "media section 1 (audio) has two different a=setup",
        ),
        (
            changed(AUDIO_VIDEO, "a=setup:actpass", "a=setup:maybe"),
            "media section 1 (audio) has an unknown a=setup",
        ),
        (
            changed_once(AUDIO_VIDEO, "a=sendonly", "a=sendonly\r\na=recvonly"),
            "media section 1 (audio) has two directions",
        ),
        (
            changed(AUDIO_VIDEO, "a=rtpmap:97 rtx", "a=rtpmap:96 rtx"),
            "media section 2 (video) maps payload type 96 to two codecs",
        ),
        (
            changed(AUDIO_VIDEO, "SAVPF 96 97 ", "SAVPF 96 96 "),
            "media section 2 (video) lists payload type 96 twice",
        ),
        (
            changed(AUDIO_VIDEO, "UDP/TLS/RTP/SAVPF 111", "UDP/TLS/RTP/SAVPF 96")
                .replace(":111 ", ":96 "),
            "payload type 96 means two codecs in one BUNDLE group",
        ),
        (
            changed(
                AUDIO_VIDEO,
                "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
                "a=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            ),
            "a=extmap:1 means two header extensions in one BUNDLE group",
        ),
        (
            changed(AUDIO_VIDEO, "BUNDLE 0 1", "BUNDLE 0 1 2"),
            "a=group:BUNDLE names a media section that does not exist",
        ),
        (
            changed(AUDIO_VIDEO, "BUNDLE 0 1", "BUNDLE 0 1 0"),
            "a=group:BUNDLE names 0 twice",
        ),
        (
            changed(
                AUDIO_VIDEO,
                "a=fingerprint:sha-256 00:",
                "a=fingerprint:sha-256 ",
            ),
            "media section 1 (audio) has an a=fingerprint whose length is not that of sha-256",
        ),
        (
            changed(
                AUDIO_VIDEO,
                "a=fingerprint:sha-256 00:",
                "a=fingerprint:sha-256 0x:",
            ),
            "media section 1 (audio) has an unusable a=fingerprint",
        ),
        (
            changed(AUDIO_VIDEO, "a=ice-ufrag:ufr1", "a=ice-ufrag:u:1"),
            "media section 1 (audio) has an unusable a=ice-ufrag or a=ice-pwd",
        ),
        (
            changed(AUDIO_VIDEO, "a=ice-pwd:password1", "a=ice-pwd:"),
            "media section 1 (audio) has an unusable a=ice-ufrag or a=ice-pwd",
        ),
        (
            changed(AUDIO_VIDEO, "a=mid:1", "a=mid:a b"),
            "media section 2 (video) has an unusable a=mid",
        ),
        (
            changed(AUDIO_VIDEO, "UDP/TLS/RTP/SAVPF", "RTP/AVP"),
            "media section 1 (audio) uses a protocol other than UDP/TLS/RTP/SAVPF: media must be encrypted with DTLS",
        ),
        (
            changed(AUDIO_VIDEO, "a=group:", "a=ice-lite\r\na=group:"),
            "the session description says a=ice-lite: a client must be a full ICE agent",
        ),
        (
            changed(AUDIO_VIDEO, "m=audio", "m=speech"),
            "the text is not a session description: SdpInvalidValue: speech",
        ),
    ] {
        assert_eq!(rejection(&offer), Rejection::Malformed(reason.to_owned()));
    }
}

#[test]
fn a_peer_that_wants_to_be_dtls_server_is_refused() {
    assert_eq!(
        rejection(&changed(AUDIO_VIDEO, "a=setup:actpass", "a=setup:passive")),
        Rejection::DtlsRole("passive".to_owned())
    );
    for role in ["a=setup:active\r\n", ""] {
        let offer = changed(AUDIO_VIDEO, "a=setup:actpass\r\n", role);
        let publishing = answer_publisher(&offer, &policy(None), &local()).unwrap();
        assert_eq!(publishing.answer.matches("a=setup:passive\r\n").count(), 2);
    }

    let source = publish("chromium/publisher_video_first.sdp", None).tracks;
    let offered = offer_subscriber(&source, CNAME, 0, &mut Random::seeded(1), &local()).tracks;
    let answer = "chromium/answer_to_chromium_vp8.sdp";
    for role in ["passive", "actpass"] {
        assert_eq!(
            accept_answer(
                &changed(answer, "a=setup:active", &format!("a=setup:{role}")),
                &offered
            ),
            Err(Rejection::DtlsRole(role.to_owned()))
        );
    }
    assert_eq!(
        accept_answer(&without(answer, "a=setup:"), &offered),
        Err(Rejection::Malformed("the answer lacks a=setup".to_owned()))
    );
}

#[test]
fn a_missing_forced_codec_is_named_unless_falling_back_is_allowed() {
    let offer = read("firefox/publisher_audio_video.sdp");
    assert_eq!(
        answer_publisher(&offer, &policy(Some(Codec::H264)), &local()).unwrap_err(),
        Rejection::CodecMissing { codec: "H264" }
    );
    let fall_back = CodecPolicy {
        fall_back: true,
        ..policy(Some(Codec::H264))
    };
    let tracks = answer_publisher(&offer, &fall_back, &local())
        .unwrap()
        .tracks;
    assert_eq!(tracks[1].codec, Codec::Vp8);
    let audio = read("firefox/publisher_audio_only.sdp");
    assert!(answer_publisher(&audio, &policy(Some(Codec::H264)), &local()).is_ok());
}

#[test]
fn a_subscriber_without_the_publishers_codec_is_told_which() {
    let source = publish(AUDIO_VIDEO, Some(Codec::H264)).tracks;
    let subscribe = |offer: &str| {
        answer_subscriber(offer, &source, CNAME, &mut Random::seeded(1), &local()).unwrap_err()
    };
    assert_eq!(
        subscribe(&read("firefox/subscriber_audio_video.sdp")),
        Rejection::CodecMissing { codec: "H264" }
    );
    assert_eq!(
        subscribe(&without(
            "firefox/subscriber_audio_video.sdp",
            "a=rtpmap:109 "
        )),
        Rejection::CodecMissing { codec: "opus" }
    );
}

#[test]
fn what_is_not_media_of_ours_is_refused_with_port_0_outside_bundle() {
    for (name, lines, bundle) in [
        (
            "chromium/publisher_data_channel.sdp",
            [
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            ],
            "a=group:BUNDLE 0 1\r\n",
        ),
        (
            "firefox/publisher_two_videos.sdp",
            [
                "m=video 9 UDP/TLS/RTP/SAVPF 120 124",
                "m=audio 9 UDP/TLS/RTP/SAVPF 109",
                "m=video 0 UDP/TLS/RTP/SAVPF 120 124 121 125 99 100 123 122 119",
            ],
            "a=group:BUNDLE 0 1\r\n",
        ),
    ] {
        let publishing = publish(name, None);
        assert_eq!(media_lines(&publishing.answer), lines, "{name}");
        assert!(publishing.answer.contains(bundle), "{name}");
        assert_eq!(publishing.tracks.len(), 2, "{name}");
    }
    let text = changed(
        "chromium/publisher_data_channel.sdp",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "m=text 9 UDP/TLS/RTP/SAVPF 99",
    );
    let answer = answer_publisher(&text, &policy(None), &local())
        .unwrap()
        .answer;
    assert_eq!(
        media_lines(&answer).last(),
        Some(&"m=text 0 UDP/TLS/RTP/SAVPF 99")
    );
    let only_data = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    assert_eq!(
        rejection(only_data).to_string(),
        "the offer sends neither audio nor video: there is nothing to publish"
    );
}

#[test]
fn a_section_that_its_writer_refused_stays_refused() {
    let offer = changed_once(AUDIO_VIDEO, "m=video 9 ", "m=video 0 ");
    let publishing = answer_publisher(&offer, &policy(None), &local()).unwrap();
    assert_eq!(publishing.tracks.len(), 1);
    assert!(publishing.answer.contains("\r\nm=video 0 "));
    assert!(publishing.answer.contains("a=group:BUNDLE 0\r\n"));

    let bundle_only = offer.replace("a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n");
    let publishing = answer_publisher(&bundle_only, &policy(None), &local()).unwrap();
    assert_eq!(publishing.tracks.len(), 2);
    assert!(publishing.answer.contains("\r\nm=video 9 "));
}

#[test]
fn a_single_section_needs_no_bundle() {
    let offer = without("chromium/publisher_audio_only.sdp", "a=group:");
    let publishing = answer_publisher(&offer, &policy(None), &local()).unwrap();
    assert_eq!(publishing.tracks.len(), 1);
    assert!(!publishing.answer.contains("a=group:"));
}

#[test]
fn a_bundle_only_section_needs_no_transport_of_its_own() {
    let offer = read(AUDIO_VIDEO);
    let (audio, video) = offer.split_once("m=video 9").unwrap();
    let own: Vec<&str> = video
        .lines()
        .filter(|line| {
            ["a=ice-", "a=fingerprint", "a=setup"]
                .iter()
                .any(|prefix| line.starts_with(prefix))
        })
        .collect();
    assert_eq!(own.len(), 5);
    let mut video = video.replace("a=mid:1", "a=bundle-only\r\na=mid:1");
    for line in own {
        video = video.replace(&format!("{line}\r\n"), "");
    }
    let publish = |offer: String| answer_publisher(&offer, &policy(None), &local()).unwrap();
    let publishing = publish(format!("{audio}m=video 0{video}"));
    assert_eq!(publishing.tracks.len(), 2);
    assert_eq!(publishing.remote.ice.ufrag, "ufr1");

    // Even when the section that has them is itself refused, here for want of anything to send or a codec.
    let audio = audio
        .replace("a=sendonly", "a=inactive")
        .replace("opus/48000", "opus/16000");
    let publishing = publish(format!("{audio}m=video 0{video}"));
    assert_eq!(publishing.tracks.len(), 1);
    assert_eq!(publishing.remote.ice.ufrag, "ufr1");
    assert!(publishing.answer.contains("a=group:BUNDLE 1\r\n"));
}

#[test]
fn answers_that_do_not_fit_the_offer_are_refused() {
    let source = publish("chromium/publisher_video_first.sdp", None).tracks;
    let offered = offer_subscriber(&source, CNAME, 0, &mut Random::seeded(1), &local()).tracks;
    let name = "chromium/answer_to_chromium_vp8.sdp";
    assert_eq!(accept_answer(&read(name), &offered).unwrap().1, offered);
    for (answer, reason) in [
        (
            read("chromium/publisher_audio_only.sdp"),
            "the answer has 1 media sections, the offer has 2",
        ),
        (
            changed(name, "m=video", "m=audio"),
            "the media sections of the answer are not those of the offer",
        ),
        (
            changed(name, "a=mid:1", "a=mid:2").replace("BUNDLE 0 1", "BUNDLE 0 2"),
            "the answer has a=mid:2, which is not in the offer",
        ),
        (
            changed_once(name, "a=recvonly", "a=sendrecv"),
            "the section with a=mid:0 says a=sendrecv: the answer to sendonly is recvonly or inactive",
        ),
        (
            changed(name, "BUNDLE 0 1", "BUNDLE 0"),
            "the section with a=mid:1 is not in a=group:BUNDLE: all media must share one transport",
        ),
        (
            changed(name, "VP8/90000", "VP9/90000"),
            "codec VP8 is not in the session description",
        ),
        (
            changed(name, "m=video 9", "m=video 0").replace("m=audio 9", "m=audio 0"),
            "codec VP8 is not in the session description",
        ),
        (
            changed(name, "m=video 9", "m=video 0"),
            "codec VP8 is not in the session description",
        ),
        (
            changed(name, "m=audio 9", "m=audio 0"),
            "codec opus is not in the session description",
        ),
        (
            changed(
                name,
                "m=video 9 UDP/TLS/RTP/SAVPF 96",
                "m=video 9 UDP/TLS/RTP/SAVPF 98",
            ),
            "codec VP8 is not in the session description",
        ),
    ] {
        let rejection = accept_answer(&answer, &offered).unwrap_err();
        assert_eq!(rejection.to_string(), reason);
    }
}

#[test]
fn an_answer_with_another_profile_lacks_the_codec() {
    let source = publish("chromium/publisher_video_first.sdp", Some(Codec::H264)).tracks;
    let offered = offer_subscriber(&source, CNAME, 0, &mut Random::seeded(1), &local()).tracks;
    let name = "chromium/answer_to_chromium_h264.sdp";
    assert_eq!(accept_answer(&read(name), &offered).unwrap().1, offered);
    // Another level is no other profile: both sides allow asymmetry (RFC 6184 section 8.2.2).
    let answer = changed(name, "profile-level-id=42e01f", "profile-level-id=42e034");
    assert!(accept_answer(&answer, &offered).is_ok());
    for (from, to) in [
        ("packetization-mode=1", "packetization-mode=0"),
        ("profile-level-id=42e01f", "profile-level-id=f4001f"),
    ] {
        let rejection = accept_answer(&changed(name, from, to), &offered);
        assert_eq!(rejection, Err(Rejection::CodecMissing { codec: "H264" }));
    }
}

#[test]
fn an_answer_leaves_only_what_it_repeats() {
    let source = publish("chromium/publisher_video_first.sdp", None).tracks;
    let offered = offer_subscriber(&source, CNAME, 0, &mut Random::seeded(1), &local()).tracks;
    let name = "chromium/answer_to_chromium_vp8.sdp";

    let answer = without(name, "a=rtpmap:97 ");
    let tracks = accept_answer(&answer, &offered).unwrap().1;
    assert!(offered[0].rtx_ssrc.is_some());
    assert_eq!(
        (tracks[0].rtx_payload_type, tracks[0].rtx_ssrc),
        (None, None)
    );

    let tracks = accept_answer(&without(name, "a=extmap:"), &offered)
        .unwrap()
        .1;
    assert!(
        offered
            .iter()
            .all(|track| track.extensions.iter().count() == 2)
    );
    assert!(
        tracks
            .iter()
            .all(|track| track.extensions.iter().count() == 0)
    );

    let tracks = accept_answer(&without(name, "a=rtcp-fb:96 nack pli"), &offered)
        .unwrap()
        .1;
    assert!(offered[0].feedback.pli);
    assert!(!tracks[0].feedback.pli && tracks[0].feedback.nack);

    let tracks = accept_answer(&changed_once(name, "a=recvonly", "a=inactive"), &offered)
        .unwrap()
        .1;
    assert_eq!(tracks, offered[1..]);
}

#[test]
fn huge_texts_are_refused_before_they_are_parsed() {
    let sections = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(10_000)
    );
    let lines = format!("{}{}", read(AUDIO_VIDEO), "a=x\r\n".repeat(20_000));
    let megabytes = "a=candidate:1 1 udp 1 x.local 9 typ host\r\n".repeat(250_000);
    for (offer, reason) in [
        (sections, "bytes, the limit is 262144"),
        (
            "m=audio 9 RTP/AVP 0\n".repeat(300),
            "it has more than 256 media sections",
        ),
        (lines, "it has more than 16384 lines"),
        (megabytes, "it has 10500000 bytes, the limit is 262144"),
    ] {
        let Rejection::Malformed(message) = rejection(&offer) else {
            panic!("another rejection");
        };
        assert!(message.contains(reason), "{message}");
        assert!(message.len() < 400);
    }
}

#[test]
fn as_many_sections_as_are_read_are_answered() {
    let more: String = (2..256)
        .map(|mid| format!("m=application 9 UDP/DTLS/SCTP x\r\na=mid:{mid}\r\n"))
        .collect();
    let offer = format!("{}{more}", read(AUDIO_VIDEO));
    let publishing = answer_publisher(&offer, &policy(None), &local()).unwrap();
    assert_eq!(media_lines(&publishing.answer).len(), 256);
    assert_eq!(publishing.tracks.len(), 2);
}

#[test]
fn candidates_are_never_read() {
    let mut lines = String::new();
    for candidate in [
        "1 1 udp 2113937151 0f7d1d02-5b71-4b0e-9b59-0d2a6b1f0a11.local 50000 typ host",
        "2 1 udp 1 169.254.169.254 80 typ host",
        "nonsense",
    ] {
        lines.push_str(&format!("a=candidate:{candidate}\r\n"));
    }
    let offer = changed(
        AUDIO_VIDEO,
        "a=rtcp-mux\r\n",
        &format!("a=rtcp-mux\r\n{lines}"),
    );
    assert_eq!(
        answer_publisher(&offer, &policy(None), &local()),
        answer_publisher(&read(AUDIO_VIDEO), &policy(None), &local())
    );
}

#[test]
fn nothing_of_an_offer_can_add_a_line_to_an_answer() {
    let offer = changed(
        AUDIO_VIDEO,
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=fmtp:111 minptime=10 a=x;useinbandfec=1\u{2028}a=y;stereo=1",
    );
    let answer = answer_publisher(&offer, &policy(None), &local())
        .unwrap()
        .answer;
    assert!(answer.contains("a=fmtp:111 stereo=1\r\n"));

    let source = publish(AUDIO_VIDEO, None).tracks;
    for (cname, written) in [("con\r\na=x y\0é", "conaxy"), ("\n", "-")] {
        let offer = offer_subscriber(&source, cname, 0, &mut Random::seeded(1), &local()).offer;
        assert_eq!(offer.matches(&format!(" cname:{written}\r\n")).count(), 3);
        assert_eq!(offer.matches(&format!("a=msid:{written} ")).count(), 2);
        assert!(!offer.contains("a=x"));
    }
}
