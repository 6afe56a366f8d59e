//! The four negotiations of OpenVidu (`openvidu-signalling` section 11): each sees exactly one offer and one answer.
//!
//! All media of a description shares one transport: a description with several audio or video sections must bundle
//! them (RFC 9143), and one without BUNDLE may have a single one. Of each kind the first section counts; further ones
//! and other kinds are refused with port 0.

use std::collections::BTreeSet;

use super::format::{self, Format, Parameters};
use super::local::{AcceptedSection, ExtensionLine, LocalDescription};
use super::remote::{
    Direction, OfferedExtension, RemoteDescription, RtpSection, Section, can_be_muxed, malformed,
};
use super::{
    CodecPolicy, LocalTransport, Offering, Publishing, Rejection, RemoteTransport, Subscribing,
    Track,
};
use crate::units::{
    Codec, Extension, ExtensionIds, Feedback, MediaKind, PayloadType, Random, Ssrc,
};

/// The longest mid that a one-byte header extension can carry (RFC 8285 section 4.2).
const MAX_MID_IN_EXTENSION: usize = 16;

/// Answers the offer of a browser that wants to send.
///
/// Simulcast is not answered, so that its sender falls back to one layer (RFC 8853 section 5.3). Neither is video
/// orientation: Firefox cannot rotate what it receives, and a sender without the extension rotates the picture itself.
///
/// # Errors
/// The offer is malformed, lacks the forced codec, or wants us to be DTLS client.
pub fn answer_publisher(
    offer: &str,
    policy: &CodecPolicy,
    local: &LocalTransport,
) -> Result<Publishing, Rejection> {
    answer_publisher_and_send(offer, policy, None, local)
}

/// The same for a browser that also wants its own media back (`doLoopback`): sections that it offers as `sendrecv` are
/// answered so, with sources of ours named `cname`.
///
/// # Errors
/// As [`answer_publisher`].
pub fn answer_publisher_with_loopback(
    offer: &str,
    policy: &CodecPolicy,
    cname: &str,
    random: &mut Random,
    local: &LocalTransport,
) -> Result<Publishing, Rejection> {
    answer_publisher_and_send(offer, policy, Some((cname, Ssrcs::new(random))), local)
}

fn answer_publisher_and_send(
    offer: &str,
    policy: &CodecPolicy,
    mut sources: Option<(&str, Ssrcs<'_>)>,
    local: &LocalTransport,
) -> Result<Publishing, Rejection> {
    let offer = RemoteDescription::parse(offer)?;
    let mut answer = LocalDescription::new(local, "passive");
    let mut accepted = Vec::new();
    let mut tracks = Vec::new();
    let mut loopback = Vec::new();
    if let Some((_, ssrcs)) = &mut sources {
        let offered = offer
            .sections
            .iter()
            .filter_map(|section| section.rtp.as_ref());
        ssrcs
            .taken
            .extend(offered.flat_map(|rtp| [rtp.ssrc, rtp.rtx_ssrc]).flatten());
    }
    for (section, rtp) in first_of_each_kind(&offer) {
        let Some((rtp, format)) = (match rtp {
            Some(rtp) if rtp.direction.sends() => Some((rtp, publisher_format(rtp, policy)?)),
            Some(rtp) => format::choose(&rtp.formats, None).map(|format| (rtp, format)),
            None => None,
        }) else {
            answer.refuse(section);
            continue;
        };
        let extensions = rtp
            .extensions
            .iter()
            .filter(|offered| offered.direction.is_none_or(Direction::sends))
            .filter(|offered| match offered.extension {
                Extension::Mid => rtp.mid.len() <= MAX_MID_IN_EXTENSION,
                Extension::TransportCc => format.feedback.transport_cc,
                Extension::AudioLevel | Extension::AbsSendTime | Extension::PlayoutDelay => true,
                Extension::Rid | Extension::RepairedRid | Extension::VideoOrientation => false,
            })
            .map(|offered| answered(offered, Direction::RecvOnly))
            .collect::<Vec<_>>();
        let ids = extension_ids(&extensions);
        let track = Track {
            kind: rtp.kind,
            mid: rtp.mid.clone(),
            codec: format.codec,
            payload_type: format.payload_type,
            rtx_payload_type: format.rtx,
            fmtp: format.parameters.echo(format.codec),
            extensions: ids,
            feedback: Feedback {
                // Reports name packets by the number in the extension; without it there is nothing to report.
                transport_cc: ids.get(Extension::TransportCc).is_some(),
                ..format.feedback
            },
            ssrc: rtp.ssrc,
            rtx_ssrc: format.rtx.and(rtp.rtx_ssrc),
        };
        let sends = rtp.direction.sends();
        let sent = sources
            .as_mut()
            .filter(|_| rtp.direction == Direction::SendRecv)
            .map(|(cname, ssrcs)| (looped_back(&track, rtp, ssrcs), *cname));
        answer.accept(&AcceptedSection {
            protocol: &section.protocol,
            track: &track,
            direction: match (sends, &sent) {
                (true, Some(_)) => Direction::SendRecv,
                (true, None) => Direction::RecvOnly,
                (false, _) => Direction::Inactive,
            },
            rtcp_rsize: rtp.rtcp_rsize,
            extensions: &extensions,
            max_receive: policy
                .max_receive
                .filter(|_| sends && rtp.kind == MediaKind::Video),
            sent: sent.as_ref().map(|(track, cname)| (track, *cname)),
        });
        accepted.push(rtp);
        loopback.extend(sent.map(|(track, _)| track));
        if sends {
            tracks.push(track);
        }
    }
    if tracks.is_empty() {
        return Err(malformed(
            "the offer sends neither audio nor video: there is nothing to publish",
        ));
    }
    let remote = offered_transport(&offer, &accepted)?;
    check_numbers(&tracks)?;
    Ok(Publishing {
        answer: answer.finish(&offer.bundle),
        remote,
        tracks,
        loopback,
    })
}

/// What the publisher of `track` gets back on the section `rtp`: the same format, sources of ours, and the header
/// extensions that pass through.
fn looped_back(track: &Track, rtp: &RtpSection, ssrcs: &mut Ssrcs<'_>) -> Track {
    let mut extensions = ExtensionIds::default();
    for offered in &rtp.extensions {
        let passes = match offered.extension {
            Extension::Mid | Extension::AudioLevel | Extension::PlayoutDelay => true,
            Extension::Rid
            | Extension::RepairedRid
            | Extension::AbsSendTime
            | Extension::TransportCc
            | Extension::VideoOrientation => false,
        };
        if passes
            && offered.direction.is_none()
            && track.extensions.get(offered.extension) == Some(offered.id)
        {
            extensions.set(offered.extension, offered.id);
        }
    }
    let rtx = track.rtx_payload_type.filter(|_| track.feedback.nack);
    Track {
        rtx_payload_type: rtx,
        extensions,
        feedback: Feedback {
            remb: false,
            transport_cc: false,
            ..track.feedback
        },
        ssrc: Some(ssrcs.next()),
        rtx_ssrc: rtx.map(|_| ssrcs.next()),
        ..track.clone()
    }
}

/// Answers the offer of a browser that wants to receive `source`, the tracks of one publisher.
///
/// Sections whose kind `source` lacks are answered `inactive`.
///
/// # Errors
/// The offer is malformed, or lacks the codec that the publisher sends.
pub fn answer_subscriber(
    offer: &str,
    source: &[Track],
    cname: &str,
    random: &mut Random,
    local: &LocalTransport,
) -> Result<Subscribing, Rejection> {
    let offer = RemoteDescription::parse(offer)?;
    let mut answer = LocalDescription::new(local, "passive");
    let mut accepted = Vec::new();
    let mut tracks = Vec::new();
    let mut ssrcs = Ssrcs::new(random);
    for (section, rtp) in first_of_each_kind(&offer) {
        let wanted = rtp.and_then(|rtp| {
            source
                .iter()
                .find(|track| track.kind == rtp.kind && rtp.direction.receives())
        });
        let Some((rtp, format)) = (match (rtp, wanted) {
            (Some(rtp), Some(wanted)) => Some((rtp, subscriber_format(rtp, wanted)?)),
            (Some(rtp), None) => format::choose(&rtp.formats, None).map(|format| (rtp, format)),
            (None, _) => None,
        }) else {
            answer.refuse(section);
            continue;
        };
        let extensions = rtp
            .extensions
            .iter()
            .filter(|offered| offered.direction.is_none_or(Direction::receives))
            .filter(|offered| {
                wanted.is_some_and(|source| to_subscriber(offered.extension, source, &rtp.mid))
            })
            .map(|offered| answered(offered, Direction::SendOnly))
            .collect::<Vec<_>>();
        let rtx = format.rtx.filter(|_| format.feedback.nack);
        let track = Track {
            kind: rtp.kind,
            mid: rtp.mid.clone(),
            codec: format.codec,
            payload_type: format.payload_type,
            rtx_payload_type: rtx,
            fmtp: format.parameters.echo(format.codec),
            extensions: extension_ids(&extensions),
            feedback: Feedback {
                remb: false,
                transport_cc: false,
                ..format.feedback
            },
            ssrc: wanted.map(|_| ssrcs.next()),
            rtx_ssrc: wanted.and(rtx).map(|_| ssrcs.next()),
        };
        answer.accept(&AcceptedSection {
            protocol: &section.protocol,
            track: &track,
            direction: if wanted.is_some() {
                Direction::SendOnly
            } else {
                Direction::Inactive
            },
            rtcp_rsize: rtp.rtcp_rsize,
            extensions: &extensions,
            max_receive: None,
            sent: wanted.map(|_| (&track, cname)),
        });
        accepted.push(rtp);
        if wanted.is_some() {
            tracks.push(track);
        }
    }
    let remote = offered_transport(&offer, &accepted)?;
    check_numbers(&tracks)?;
    Ok(Subscribing {
        answer: answer.finish(&offer.bundle),
        remote,
        tracks,
    })
}

/// Offers `source`, the tracks of one publisher, to a browser.
///
/// Sections are called `first_mid` and upwards: answers repeat the names, so that whoever has offered twice can tell what
/// is answered. Payload types are the source's where no other section has them already; header extensions have fixed
/// numbers.
pub fn offer_subscriber(
    source: &[Track],
    cname: &str,
    first_mid: u32,
    random: &mut Random,
    local: &LocalTransport,
) -> Offering {
    let mut offer = LocalDescription::new(local, "actpass");
    let mut tracks = Vec::with_capacity(source.len());
    let mut ssrcs = Ssrcs::new(random);
    let mut payload_types = PayloadTypes::default();
    for (source, number) in source.iter().zip(0..) {
        let mid = first_mid.wrapping_add(number).to_string();
        let video = source.kind == MediaKind::Video;
        let Some(payload_type) = payload_types.take(Some(source.payload_type)) else {
            // More sections than payload types: the rest cannot be offered on one transport.
            break;
        };
        let rtx_payload_type = video
            .then(|| payload_types.take(source.rtx_payload_type))
            .flatten();
        let extensions: Vec<ExtensionLine> = (1..)
            .zip(Extension::ALL)
            .filter(|(_, extension)| to_subscriber(*extension, source, &mid))
            .map(|(id, extension)| ExtensionLine {
                extension,
                id,
                direction: None,
            })
            .collect();
        let track = Track {
            kind: source.kind,
            codec: source.codec,
            payload_type,
            rtx_payload_type,
            fmtp: Parameters::parse(&source.fmtp).echo(source.codec),
            extensions: extension_ids(&extensions),
            feedback: Feedback {
                nack: video,
                pli: video,
                fir: video,
                remb: false,
                transport_cc: false,
            },
            ssrc: Some(ssrcs.next()),
            rtx_ssrc: rtx_payload_type.map(|_| ssrcs.next()),
            mid,
        };
        offer.accept(&AcceptedSection {
            protocol: "UDP/TLS/RTP/SAVPF",
            track: &track,
            direction: Direction::SendOnly,
            rtcp_rsize: true,
            extensions: &extensions,
            max_receive: None,
            sent: Some((&track, cname)),
        });
        tracks.push(track);
    }
    let bundle = offer.accepted().to_vec();
    Offering {
        offer: offer.finish(&bundle),
        tracks,
    }
}

/// Reads the answer to an offer of ours.
///
/// Sections that the browser made `inactive` are missing from the tracks, which may therefore be empty.
///
/// # Errors
/// The answer is malformed, refuses a section or its codec, or is not `setup:active`.
pub fn accept_answer(
    answer: &str,
    offered: &[Track],
) -> Result<(RemoteTransport, Vec<Track>), Rejection> {
    let answer = RemoteDescription::parse(answer)?;
    // Looked at first: what answers another offer may well have other sections.
    let mut mids = answer.sections.iter().filter_map(|it| it.mid.as_ref());
    let is_ours = |mid: &String| offered.iter().any(|track| track.mid == *mid);
    if let Some(foreign) = mids.find(|mid| !is_ours(mid)) {
        let answered = foreign.clone();
        return Err(Rejection::OtherOffer { answered });
    }
    if answer.sections.len() != offered.len() {
        return Err(malformed(format!(
            "the answer has {} media sections, the offer has {}",
            answer.sections.len(),
            offered.len()
        )));
    }
    let mut accepted = Vec::new();
    let mut tracks = Vec::new();
    for (section, offered) in answer.sections.iter().zip(offered) {
        let is_moved = section.mid.as_ref().is_some_and(|mid| *mid != offered.mid);
        if section.media != offered.kind.as_str() || is_moved {
            return Err(malformed(
                "the media sections of the answer are not those of the offer",
            ));
        }
        let Some(rtp) = &section.rtp else {
            // Browsers refuse a section for want of the one codec in it (RFC 3264 section 6), and for nothing else.
            return Err(Rejection::CodecMissing {
                codec: offered.codec.name(),
            });
        };
        if rtp.direction.sends() {
            return Err(malformed(format!(
                "the section with a=mid:{} says a={}: the answer to sendonly is recvonly or inactive",
                rtp.mid,
                rtp.direction.as_str()
            )));
        }
        accepted.push(rtp);
        if rtp.direction.receives() {
            tracks.push(answered_track(rtp, offered)?);
        }
    }
    let (remote, setup) = answer.transport(&accepted)?;
    match setup.as_deref() {
        Some("active") => Ok((remote, tracks)),
        Some(role) => Err(Rejection::DtlsRole(role.to_owned())),
        None => Err(malformed("the answer lacks a=setup")),
    }
}

/// Every section, with its media if it is the first of its kind that its writer has not refused.
fn first_of_each_kind(
    offer: &RemoteDescription,
) -> impl Iterator<Item = (&Section, Option<&RtpSection>)> {
    let mut seen = BTreeSet::new();
    offer.sections.iter().map(move |section| {
        let rtp = section.rtp.as_ref().filter(|rtp| seen.insert(rtp.kind));
        (section, rtp)
    })
}

/// The transport of an offer whose writer lets us be DTLS server; without `a=setup` it does (RFC 4145 section 4.1).
fn offered_transport(
    offer: &RemoteDescription,
    accepted: &[&RtpSection],
) -> Result<RemoteTransport, Rejection> {
    let (remote, setup) = offer.transport(accepted)?;
    match setup.as_deref() {
        None | Some("actpass" | "active") => Ok(remote),
        Some(role) => Err(Rejection::DtlsRole(role.to_owned())),
    }
}

fn publisher_format<'a>(
    section: &'a RtpSection,
    policy: &CodecPolicy,
) -> Result<&'a Format, Rejection> {
    let any = || {
        format::choose(&section.formats, None).ok_or_else(|| {
            malformed(format!(
                "the {} section offers no supported codec ({})",
                section.kind.as_str(),
                Codec::ALL
                    .into_iter()
                    .filter(|codec| codec.kind() == section.kind)
                    .map(Codec::name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
        })
    };
    match policy.forced_video {
        Some(forced) if section.kind == MediaKind::Video => {
            match format::choose(&section.formats, Some(forced)) {
                Some(format) => Ok(format),
                None if policy.fall_back => any(),
                None => Err(Rejection::CodecMissing {
                    codec: forced.name(),
                }),
            }
        }
        Some(_) | None => any(),
    }
}

fn subscriber_format<'a>(section: &'a RtpSection, source: &Track) -> Result<&'a Format, Rejection> {
    format::receive(
        &section.formats,
        source.codec,
        &Parameters::parse(&source.fmtp),
    )
    .ok_or(Rejection::CodecMissing {
        codec: source.codec.name(),
    })
}

/// What of an offered track the answer leaves.
fn answered_track(section: &RtpSection, offered: &Track) -> Result<Track, Rejection> {
    let format = section
        .formats
        .iter()
        .find(|format| format.payload_type == offered.payload_type)
        .filter(|format| format.receives(offered.codec, &Parameters::parse(&offered.fmtp)))
        .ok_or(Rejection::CodecMissing {
            codec: offered.codec.name(),
        })?;
    let rtx = offered
        .rtx_payload_type
        .filter(|rtx| format.rtx == Some(*rtx));
    let mut extensions = ExtensionIds::default();
    for answered in &section.extensions {
        if offered.extensions.get(answered.extension) == Some(answered.id)
            && answered.direction.is_none_or(Direction::receives)
        {
            extensions.set(answered.extension, answered.id);
        }
    }
    Ok(Track {
        rtx_payload_type: rtx,
        rtx_ssrc: rtx.and(offered.rtx_ssrc),
        extensions,
        feedback: Feedback {
            nack: offered.feedback.nack && format.feedback.nack,
            pli: offered.feedback.pli && format.feedback.pli,
            fir: offered.feedback.fir && format.feedback.fir,
            remb: offered.feedback.remb && format.feedback.remb,
            transport_cc: offered.feedback.transport_cc && format.feedback.transport_cc,
        },
        ..offered.clone()
    })
}

/// Whether a subscriber is sent `extension`: its own mid, and what passes through from `source`.
fn to_subscriber(extension: Extension, source: &Track, mid: &str) -> bool {
    match extension {
        Extension::Mid => mid.len() <= MAX_MID_IN_EXTENSION,
        Extension::AudioLevel | Extension::VideoOrientation | Extension::PlayoutDelay => {
            source.extensions.get(extension).is_some()
        }
        Extension::Rid
        | Extension::RepairedRid
        | Extension::AbsSendTime
        | Extension::TransportCc => false,
    }
}

/// The answer to an offered extension; a direction is answered with ours (RFC 8285 section 7).
fn answered(offered: &OfferedExtension, ours: Direction) -> ExtensionLine {
    ExtensionLine {
        extension: offered.extension,
        id: offered.id,
        direction: offered.direction.map(|_| ours),
    }
}

fn extension_ids(lines: &[ExtensionLine]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for line in lines {
        ids.set(line.extension, line.id);
    }
    ids
}

/// On one transport a payload type names one codec, and an extension id one extension (RFC 9143 sections 9.1 and 9.2).
fn check_numbers(tracks: &[Track]) -> Result<(), Rejection> {
    let mut payload_types = BTreeSet::new();
    let mut extensions = ExtensionIds::default();
    for track in tracks {
        for payload_type in [Some(track.payload_type), track.rtx_payload_type]
            .into_iter()
            .flatten()
        {
            if !payload_types.insert(payload_type) {
                return Err(malformed(format!(
                    "payload type {payload_type} means two codecs in one BUNDLE group"
                )));
            }
        }
        for (extension, id) in track.extensions.iter() {
            if extensions
                .extension(id)
                .is_some_and(|other| other != extension)
            {
                return Err(malformed(format!(
                    "a=extmap:{id} means two header extensions in one BUNDLE group"
                )));
            }
            extensions.set(extension, id);
        }
    }
    Ok(())
}

/// Sources of ours on one transport: never 0, which many take for "none", never one twice.
struct Ssrcs<'a> {
    random: &'a mut Random,
    taken: BTreeSet<Ssrc>,
}

impl<'a> Ssrcs<'a> {
    const fn new(random: &'a mut Random) -> Self {
        Self {
            random,
            taken: BTreeSet::new(),
        }
    }

    fn next(&mut self) -> Ssrc {
        let mut ssrc = Ssrc(self.random.u32());
        while ssrc == Ssrc(0) || self.taken.contains(&ssrc) {
            ssrc = Ssrc(ssrc.0.wrapping_add(1));
        }
        self.taken.insert(ssrc);
        ssrc
    }
}

/// The dynamic payload types of one transport.
#[derive(Default)]
struct PayloadTypes {
    taken: BTreeSet<PayloadType>,
}

impl PayloadTypes {
    /// `wanted` if it is free, else the next free one: 96 to 127, then 35 to 63 (RFC 3551 section 6).
    fn take(&mut self, wanted: Option<PayloadType>) -> Option<PayloadType> {
        let free = |payload_type: &PayloadType| !self.taken.contains(payload_type);
        let payload_type = wanted
            .filter(free)
            .filter(|wanted| can_be_muxed(*wanted))
            .or_else(|| {
                (96..128)
                    .chain(35..64)
                    .filter_map(PayloadType::new)
                    .find(free)
            })?;
        self.taken.insert(payload_type);
        Some(payload_type)
    }
}
