//! Session descriptions of current browsers. Those in `chromium/` and `firefox/` were recorded from Chromium 156 and
//! Firefox 153 ESR with identifiers replaced; those in `safari/` and `firefox/*_openh264.sdp` are written after public
//! knowledge of Safari 18 and of Firefox with OpenH264. What we make of them is in `golden/`; after an intended change
//! `HANOK_BLESS=1 cargo test --test wire` writes it anew.

mod golden;
mod properties;
mod refusals;

use std::fs;
use std::path::PathBuf;

use hanok::media::sdp::{
    Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, Publishing, Track,
    answer_publisher,
};
use hanok::units::{Bitrate, Codec};

/// The canonical name of every sender in these tests.
const CNAME: &str = "str_CAM_AbCd_con_EfGh1234";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wire/sdp")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn local() -> LocalTransport {
    let candidate = |addr: &str, tcp, rank| Candidate {
        addr: addr.parse().unwrap(),
        tcp,
        rank,
    };
    LocalTransport {
        ice: IceCredentials {
            ufrag: "HanokUfrag".to_owned(),
            pwd: "HanokPasswordHanokPasswo".to_owned(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            digest: (0xe0..=0xff).collect(),
        },
        candidates: vec![
            candidate("192.0.2.1:40000", false, 0),
            candidate("[2001:db8::1]:40000", false, 1),
            candidate("192.0.2.1:40000", true, 0),
            candidate("[2001:db8::1]:40000", true, 1),
        ]
        .into(),
    }
}

fn policy(forced_video: Option<Codec>) -> CodecPolicy {
    CodecPolicy {
        forced_video,
        fall_back: false,
        max_receive: Some(Bitrate::from_kbps(1000)),
    }
}

fn publish(name: &str, forced_video: Option<Codec>) -> Publishing {
    answer_publisher(&read(name), &policy(forced_video), &local())
        .unwrap_or_else(|rejection| panic!("{name}: {rejection}"))
}

fn media_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("m=")).collect()
}

/// One line per track, for comparison by eye.
fn show(tracks: &[Track]) -> String {
    tracks
        .iter()
        .map(|track| {
            let extensions: Vec<String> = track
                .extensions
                .iter()
                .map(|(extension, id)| format!("{id}={extension:?}"))
                .collect();
            let feedback = track.feedback;
            let feedback: Vec<&str> = [
                (feedback.nack, "nack"),
                (feedback.pli, "pli"),
                (feedback.fir, "fir"),
                (feedback.remb, "remb"),
                (feedback.transport_cc, "transport-cc"),
            ]
            .into_iter()
            .filter_map(|(negotiated, name)| negotiated.then_some(name))
            .collect();
            format!(
                "{} mid {}: {} {} rtx {} fmtp [{}] extensions [{}] feedback [{}] ssrc {} rtx {}\n",
                track.kind.as_str(),
                track.mid,
                track.codec.name(),
                track.payload_type,
                track
                    .rtx_payload_type
                    .map_or("-".to_owned(), |rtx| rtx.to_string()),
                track.fmtp,
                extensions.join(" "),
                feedback.join(" "),
                track.ssrc.map_or("-".to_owned(), |ssrc| ssrc.to_string()),
                track
                    .rtx_ssrc
                    .map_or("-".to_owned(), |ssrc| ssrc.to_string()),
            )
        })
        .collect()
}
