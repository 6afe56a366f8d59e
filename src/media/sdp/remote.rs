//! What a browser wrote, checked: no field of these types is out of bounds or contradicts another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Cursor;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;
use rtc_shared::error::Error;

use super::bounds;
use super::format::{Format, Parameters};
use super::{Fingerprint, IceCredentials, Rejection, RemoteTransport};
use crate::units::{Codec, Extension, Feedback, MediaKind, PayloadType, Ssrc};

/// The most fingerprints that are kept; browsers write one.
const MAX_FINGERPRINTS: usize = 16;
/// The longest `a=mid`; longer than the 16 bytes that fit a one-byte header extension, whose use then ends.
const MAX_MID_BYTES: usize = 64;

/// A whole description.
#[derive(Debug)]
pub(super) struct RemoteDescription {
    /// Every media section, in order.
    pub(super) sections: Vec<Section>,
    /// The mids of the first BUNDLE group, in its order; empty without one (RFC 9143 section 7).
    pub(super) bundle: Vec<String>,
}

/// One media section.
#[derive(Debug)]
pub(super) struct Section {
    /// The `m=` line's media, as written.
    pub(super) media: String,
    /// The `m=` line's protocol, as written.
    pub(super) protocol: String,
    /// The `m=` line's formats, as written.
    pub(super) format_list: Vec<String>,
    /// `a=mid`.
    pub(super) mid: Option<String>,
    /// What is known of it if it carries audio or video; `None` if it is refused by its writer or foreign to us.
    pub(super) rtp: Option<RtpSection>,
}

/// An audio or video section that its writer has not refused.
#[derive(Debug)]
pub(super) struct RtpSection {
    pub(super) kind: MediaKind,
    pub(super) mid: String,
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
    pub(super) rtcp_rsize: bool,
    /// The formats that we could forward, in the order of the `m=` line.
    pub(super) formats: Vec<Format>,
    pub(super) extensions: Vec<OfferedExtension>,
    /// The first media source (RFC 5576), if one is declared.
    pub(super) ssrc: Option<Ssrc>,
    /// The source of its retransmissions (`FID`, RFC 4588 section 8.6).
    pub(super) rtx_ssrc: Option<Ssrc>,
    ice: Option<IceCredentials>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<String>,
}

/// An `a=extmap` that we know (RFC 8285 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfferedExtension {
    pub(super) extension: Extension,
    pub(super) id: u8,
    /// Its own direction, if it has one.
    pub(super) direction: Option<Direction>,
}

/// The direction of media, as seen by its writer (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.as_str() == word)
    }

    pub(super) const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(super) const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// How messages name a section: by position and kind, as a developer finds it in the text.
struct SectionName<'a>(usize, &'a str);

impl fmt::Display for SectionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "media section {} ({})", self.0 + 1, self.1)
    }
}

pub(super) fn malformed(what: impl Into<String>) -> Rejection {
    Rejection::Malformed(what.into())
}

impl RemoteDescription {
    /// Reads an offer or an answer.
    ///
    /// # Errors
    /// `text` breaks a bound, is not SDP, or contradicts itself.
    pub(super) fn parse(text: &str) -> Result<Self, Rejection> {
        bounds::check(text)?;
        // One pass over a text that the bounds hold small. The crate has no index or slice that input can push out of
        // range and no recursion; what it allocates is proportional to the text.
        let description =
            SessionDescription::unmarshal(&mut Cursor::new(text)).map_err(|error| {
                // The crate names what stands before the equals sign, and nothing else.
                let mut error = if let Error::SdpInvalidSyntax(key) = &error {
                    format!("a line begins with {key:?} where another was expected")
                } else {
                    error.to_string()
                };
                if let Some((cut, _)) = error.char_indices().nth(200) {
                    error.truncate(cut);
                }
                malformed(format!("the text is not a session description: {error}"))
            })?;
        if description.media_descriptions.is_empty() {
            return Err(malformed(
                "the session description has no media section (m= line)",
            ));
        }
        // Neither side would send checks (RFC 8445 section 6.1.1).
        if has(&description.attributes, "ice-lite") {
            return Err(malformed(
                "the session description says a=ice-lite: a client must be a full ICE agent",
            ));
        }

        let session = TransportAttributes::read(&description.attributes, &"the session level")?;
        let mut mids = BTreeSet::new();
        let mut owners = BTreeMap::new();
        let mut sections = Vec::with_capacity(description.media_descriptions.len());
        for (index, media) in description.media_descriptions.iter().enumerate() {
            let section = Section::read(index, media, &session, &mut owners)?;
            if let Some(mid) = &section.mid
                && !mids.insert(mid.clone())
            {
                return Err(malformed(format!(
                    "two media sections have the same a=mid:{mid}"
                )));
            }
            sections.push(section);
        }

        let bundle: Vec<String> = values(&description.attributes, "group")
            .find_map(|group| {
                let mut words = group.split_ascii_whitespace();
                (words.next() == Some("BUNDLE")).then(|| words.map(str::to_owned).collect())
            })
            .unwrap_or_default();
        let mut bundled = BTreeSet::new();
        for mid in &bundle {
            if !mids.contains(mid) {
                return Err(malformed(
                    "a=group:BUNDLE names a media section that does not exist",
                ));
            }
            if !bundled.insert(mid) {
                return Err(malformed(format!("a=group:BUNDLE names {mid} twice")));
            }
        }
        Ok(Self { sections, bundle })
    }

    /// The browser's end of the one transport that the sections `accepted` share, and its `a=setup`, if it has one.
    ///
    /// # Errors
    /// They do not share one, or it lacks credentials or a fingerprint.
    pub(super) fn transport(
        &self,
        accepted: &[&RtpSection],
    ) -> Result<(RemoteTransport, Option<String>), Rejection> {
        if let [_, _, ..] = accepted
            && let Some(outside) = accepted
                .iter()
                .find(|section| !self.bundle.contains(&section.mid))
        {
            return Err(malformed(format!(
                "the section with a=mid:{} is not in a=group:BUNDLE: all media must share one transport",
                outside.mid
            )));
        }
        if let Some(section) = accepted.iter().find(|section| !section.rtcp_mux) {
            return Err(malformed(format!(
                "the section with a=mid:{} lacks a=rtcp-mux",
                section.mid
            )));
        }
        // The first accepted section of the group carries the transport; a bundle-only one may lack the attributes and
        // rely on the first of the group, accepted or not (RFC 9143 sections 7.3.1 and 7.1.3).
        let tagged = self
            .bundle
            .iter()
            .find_map(|mid| accepted.iter().find(|section| section.mid == *mid))
            .or(accepted.first())
            .ok_or_else(|| malformed("no media section can be accepted"))?;
        let fallback = self.bundle.first().and_then(|mid| {
            self.sections
                .iter()
                .filter_map(|section| section.rtp.as_ref())
                .find(|section| section.mid == *mid)
        });
        let carriers = || [Some(*tagged), fallback].into_iter().flatten();

        let ice = carriers()
            .find_map(|section| section.ice.clone())
            .ok_or_else(|| malformed("a=ice-ufrag and a=ice-pwd are missing"))?;
        let fingerprints = carriers()
            .map(|section| &section.fingerprints)
            .find(|fingerprints| !fingerprints.is_empty())
            .ok_or_else(|| {
                malformed(
                    "there is no a=fingerprint with sha-256, sha-384 or sha-512: media must be encrypted with DTLS",
                )
            })?
            .clone();
        let setup = carriers().find_map(|section| section.setup.clone());
        for section in accepted {
            if section.setup.is_some() && section.setup != setup {
                return Err(malformed(
                    "the media sections contradict each other in a=setup",
                ));
            }
        }
        Ok((RemoteTransport { ice, fingerprints }, setup))
    }
}

impl Section {
    fn read(
        index: usize,
        media: &MediaDescription,
        session: &TransportAttributes,
        owners: &mut BTreeMap<u32, usize>,
    ) -> Result<Self, Rejection> {
        let line = &media.media_name;
        let name = SectionName(index, &line.media);
        let mid = match values(&media.attributes, "mid").next() {
            Some(mid) if is_token(mid) && mid.len() <= MAX_MID_BYTES => Some(mid.to_owned()),
            Some(_) => return Err(malformed(format!("{name} has an unusable a=mid"))),
            None => None,
        };
        let kind = match line.media.as_str() {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        // Port 0 refuses a section, except where it only asks to be bundled (RFC 9143 section 6).
        let refused = line.port.value == 0 && !has(&media.attributes, "bundle-only");
        let rtp = match kind {
            Some(kind) if !refused => Some(RtpSection::read(
                kind,
                mid.clone(),
                index,
                media,
                session,
                owners,
            )?),
            Some(_) | None => None,
        };
        Ok(Self {
            media: line.media.clone(),
            protocol: line.protos.join("/"),
            format_list: line.formats.clone(),
            mid,
            rtp,
        })
    }
}

impl RtpSection {
    fn read(
        kind: MediaKind,
        mid: Option<String>,
        index: usize,
        media: &MediaDescription,
        session: &TransportAttributes,
        owners: &mut BTreeMap<u32, usize>,
    ) -> Result<Self, Rejection> {
        let name = SectionName(index, kind.as_str());
        let attributes = &media.attributes;
        let Some(mid) = mid else {
            return Err(malformed(format!("{name} lacks a=mid")));
        };
        let protocol = media.media_name.protos.join("/");
        if !["UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF"].contains(&protocol.as_str()) {
            return Err(malformed(format!(
                "{name} uses a protocol other than UDP/TLS/RTP/SAVPF: media must be encrypted with DTLS"
            )));
        }
        let mut directions = attributes
            .iter()
            .filter_map(|attribute| Direction::from_word(&attribute.key));
        let direction = directions.next().unwrap_or(Direction::SendRecv);
        if directions.any(|another| another != direction) {
            return Err(malformed(format!("{name} has two directions")));
        }
        let own = TransportAttributes::read(attributes, &name)?;
        let (ssrc, rtx_ssrc) = read_sources(index, &name, attributes, owners)?;
        Ok(Self {
            kind,
            mid,
            direction,
            rtcp_mux: has(attributes, "rtcp-mux"),
            rtcp_rsize: has(attributes, "rtcp-rsize"),
            formats: read_formats(kind, &name, media)?,
            extensions: read_extensions(attributes),
            ssrc,
            rtx_ssrc,
            ice: own.ice.or_else(|| session.ice.clone()),
            fingerprints: if own.fingerprints.is_empty() {
                session.fingerprints.clone()
            } else {
                own.fingerprints
            },
            setup: own.setup.or_else(|| session.setup.clone()),
        })
    }
}

/// ICE and DTLS attributes, which may stand at session level or in a section, the section winning (RFC 8839
/// section 5.4, RFC 8122 section 5, RFC 8842 section 5).
struct TransportAttributes {
    ice: Option<IceCredentials>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<String>,
}

impl TransportAttributes {
    fn read(attributes: &[Attribute], place: &dyn fmt::Display) -> Result<Self, Rejection> {
        let single = |key: &'static str| -> Result<Option<&str>, Rejection> {
            let mut found = values(attributes, key);
            let first = found.next();
            if found.any(|another| Some(another) != first) {
                return Err(malformed(format!("{place} has two different a={key}")));
            }
            Ok(first)
        };
        let ice = match (single("ice-ufrag")?, single("ice-pwd")?) {
            (None, None) => None,
            (Some(ufrag), Some(pwd)) if is_ice(ufrag, 4) && is_ice(pwd, 22) => {
                Some(IceCredentials {
                    ufrag: ufrag.to_owned(),
                    pwd: pwd.to_owned(),
                })
            }
            (Some(_), Some(_)) => {
                return Err(malformed(format!(
                    "{place} has an unusable a=ice-ufrag or a=ice-pwd"
                )));
            }
            (Some(_), None) => return Err(malformed(format!("{place} lacks a=ice-pwd"))),
            (None, Some(_)) => return Err(malformed(format!("{place} lacks a=ice-ufrag"))),
        };

        let mut fingerprints = Vec::new();
        for value in values(attributes, "fingerprint") {
            let Some((hash, digest)) = read_fingerprint(value) else {
                return Err(malformed(format!("{place} has an unusable a=fingerprint")));
            };
            let length = match hash.as_str() {
                "sha-256" => 32,
                "sha-384" => 48,
                "sha-512" => 64,
                // Weaker hashes must not be relied on (RFC 8122 section 5).
                _ => continue,
            };
            if digest.len() != length {
                return Err(malformed(format!(
                    "{place} has an a=fingerprint whose length is not that of {hash}"
                )));
            }
            let fingerprint = Fingerprint { hash, digest };
            if !fingerprints.contains(&fingerprint) {
                if fingerprints.len() == MAX_FINGERPRINTS {
                    return Err(malformed(format!("{place} has too many a=fingerprint")));
                }
                fingerprints.push(fingerprint);
            }
        }

        let setup = match single("setup")? {
            Some(setup @ ("active" | "passive" | "actpass" | "holdconn")) => Some(setup.to_owned()),
            Some(_) => return Err(malformed(format!("{place} has an unknown a=setup"))),
            None => None,
        };
        Ok(Self {
            ice,
            fingerprints,
            setup,
        })
    }
}

fn read_fingerprint(value: &str) -> Option<(String, Vec<u8>)> {
    let (hash, digest) = value.split_once(' ')?;
    let digest = digest
        .trim()
        .split(':')
        .take(65)
        .map(|pair| {
            (pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
                .then(|| u8::from_str_radix(pair, 16).ok())
                .flatten()
        })
        .collect::<Option<Vec<u8>>>()?;
    (is_token(hash) && hash.len() <= 16).then(|| (hash.to_ascii_lowercase(), digest))
}

/// The formats of the `m=` line that we could forward, joined with what `rtpmap`, `fmtp` and `rtcp-fb` say of them.
fn read_formats(
    kind: MediaKind,
    name: &SectionName<'_>,
    media: &MediaDescription,
) -> Result<Vec<Format>, Rejection> {
    let mut encodings: BTreeMap<PayloadType, &str> = BTreeMap::new();
    for value in values(&media.attributes, "rtpmap") {
        let Some((payload_type, encoding)) = keyed_by_payload_type(value) else {
            return Err(malformed(format!("{name} has an unusable a=rtpmap")));
        };
        if encodings
            .insert(payload_type, encoding)
            .is_some_and(|earlier| earlier != encoding)
        {
            return Err(malformed(format!(
                "{name} maps payload type {payload_type} to two codecs"
            )));
        }
    }
    let mut parameters: BTreeMap<PayloadType, Parameters> = BTreeMap::new();
    for (payload_type, text) in values(&media.attributes, "fmtp").filter_map(keyed_by_payload_type)
    {
        parameters
            .entry(payload_type)
            .or_insert_with(|| Parameters::parse(text));
    }
    let mut feedback: BTreeMap<PayloadType, Feedback> = BTreeMap::new();
    let mut feedback_for_all = Feedback::default();
    for value in values(&media.attributes, "rtcp-fb") {
        if let Some(message) = value.strip_prefix("* ") {
            add_feedback(&mut feedback_for_all, message);
        } else if let Some((payload_type, message)) = keyed_by_payload_type(value) {
            add_feedback(feedback.entry(payload_type).or_default(), message);
        }
    }

    let mut formats: Vec<Format> = Vec::new();
    let mut repairs: BTreeMap<PayloadType, PayloadType> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for format in &media.media_name.formats {
        let Some(payload_type) = format
            .parse()
            .ok()
            .and_then(PayloadType::new)
            .filter(|payload_type| can_be_muxed(*payload_type))
        else {
            continue;
        };
        if !seen.insert(payload_type) {
            return Err(malformed(format!(
                "{name} lists payload type {payload_type} twice"
            )));
        }
        let Some(encoding) = encodings.get(&payload_type) else {
            continue;
        };
        let own_parameters = parameters.remove(&payload_type).unwrap_or_default();
        let mut words = encoding.trim().split('/');
        let (encoding, clock_rate, channels) = (words.next(), words.next(), words.next());
        if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("rtx")) {
            if let Some(repaired) = own_parameters
                .get("apt")
                .and_then(|apt| apt.parse().ok())
                .and_then(PayloadType::new)
            {
                repairs.entry(repaired).or_insert(payload_type);
            }
            continue;
        }
        let Some(codec) = encoding
            .and_then(Codec::from_name)
            .filter(|codec| codec.kind() == kind)
        else {
            continue;
        };
        if clock_rate.and_then(|rate| rate.parse().ok()) != Some(codec.clock_rate())
            || (codec == Codec::Opus && channels != Some("2"))
        {
            continue;
        }
        let own = feedback.get(&payload_type).copied().unwrap_or_default();
        formats.push(Format {
            codec,
            payload_type,
            rtx: None,
            parameters: own_parameters,
            feedback: Feedback {
                nack: own.nack || feedback_for_all.nack,
                pli: own.pli || feedback_for_all.pli,
                fir: own.fir || feedback_for_all.fir,
                remb: own.remb || feedback_for_all.remb,
                transport_cc: own.transport_cc || feedback_for_all.transport_cc,
            },
        });
    }
    for format in &mut formats {
        format.rtx = repairs.get(&format.payload_type).copied();
    }
    Ok(formats)
}

fn add_feedback(feedback: &mut Feedback, message: &str) {
    match message.trim() {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "goog-remb" => feedback.remb = true,
        "transport-cc" => feedback.transport_cc = true,
        _ => {}
    }
}

/// The known header extensions; of two with one id or one meaning the first counts.
fn read_extensions(attributes: &[Attribute]) -> Vec<OfferedExtension> {
    let mut extensions: Vec<OfferedExtension> = Vec::new();
    let mut ids = BTreeSet::new();
    for value in values(attributes, "extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else {
            continue;
        };
        let (id, direction) = match id.split_once('/') {
            Some((id, direction)) => match Direction::from_word(direction) {
                Some(direction) => (id, Some(direction)),
                None => continue,
            },
            None => (id, None),
        };
        // One-byte headers, the only ones that we write, carry the ids 1 to 14 (RFC 8285 section 4.2).
        let Some(id) = id.parse::<u8>().ok().filter(|id| (1..=14).contains(id)) else {
            continue;
        };
        if !ids.insert(id) {
            continue;
        }
        if let Some(extension) = Extension::from_uri(uri)
            && extensions.iter().all(|other| other.extension != extension)
        {
            extensions.push(OfferedExtension {
                extension,
                id,
                direction,
            });
        }
    }
    extensions
}

/// The media source that counts and that of its retransmissions; `owners` knows the section of every source so far.
fn read_sources(
    index: usize,
    name: &SectionName<'_>,
    attributes: &[Attribute],
    owners: &mut BTreeMap<u32, usize>,
) -> Result<(Option<Ssrc>, Option<Ssrc>), Rejection> {
    let mut cnames: BTreeMap<u32, &str> = BTreeMap::new();
    let mut declared = None;
    let mut own = |ssrc: u32| match owners.insert(ssrc, index) {
        Some(owner) if owner != index => Err(malformed(format!(
            "two media sections declare the same a=ssrc:{ssrc}"
        ))),
        Some(_) | None => Ok(()),
    };
    for value in values(attributes, "ssrc") {
        let (ssrc, attribute) = value.split_once(' ').unwrap_or((value, ""));
        let Ok(ssrc) = ssrc.parse::<u32>() else {
            return Err(malformed(format!("{name} has an unusable a=ssrc")));
        };
        own(ssrc)?;
        declared.get_or_insert(ssrc);
        if let Some(cname) = attribute.trim().strip_prefix("cname:")
            && cnames
                .insert(ssrc, cname)
                .is_some_and(|earlier| earlier != cname)
        {
            return Err(malformed(format!(
                "{name} declares a=ssrc:{ssrc} twice with different names"
            )));
        }
    }

    let mut media = None;
    let mut repairs: BTreeMap<u32, u32> = BTreeMap::new();
    let mut grouped = BTreeSet::new();
    for value in values(attributes, "ssrc-group") {
        let mut words = value.split_ascii_whitespace();
        let semantics = words.next();
        let members = words.map(str::parse).collect::<Result<Vec<u32>, _>>();
        let Ok(members) = members else {
            return Err(malformed(format!("{name} has an unusable a=ssrc-group")));
        };
        for ssrc in &members {
            own(*ssrc)?;
        }
        match (semantics, members.as_slice()) {
            (Some("FID"), &[first, repair]) => {
                if first == repair || !grouped.insert(first) || !grouped.insert(repair) {
                    return Err(malformed(format!(
                        "{name} uses one SSRC twice in a=ssrc-group:FID"
                    )));
                }
                repairs.insert(first, repair);
                media.get_or_insert(first);
            }
            // A simulcast group lists its layers from the lowest; without a layer of ours in the answer the first flows.
            (Some("SIM"), &[first, ..]) => media = Some(first),
            _ => {}
        }
    }
    let media = media.or(declared);
    let repair = media.and_then(|media| repairs.get(&media).copied());
    Ok((media.map(Ssrc), repair.map(Ssrc)))
}

fn values<'a>(attributes: &'a [Attribute], key: &'static str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.key == key)
        .filter_map(|attribute| attribute.value.as_deref())
        .map(str::trim)
}

fn has(attributes: &[Attribute], key: &str) -> bool {
    attributes.iter().any(|attribute| attribute.key == key)
}

/// With rtcp-mux the payload types 64 to 95 would be taken for RTCP (RFC 5761 section 4).
pub(super) fn can_be_muxed(payload_type: PayloadType) -> bool {
    !(64..96).contains(&payload_type.get())
}

fn keyed_by_payload_type(value: &str) -> Option<(PayloadType, &str)> {
    let (payload_type, rest) = value.split_once(' ')?;
    Some((payload_type.parse().ok().and_then(PayloadType::new)?, rest))
}

/// A token of RFC 8866 section 9: what can be repeated in a line of ours without changing its meaning.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~')
}

/// ICE characters (RFC 8839 section 5.4), `least` to 256 of them.
fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f";

    fn parse(session: &str, section: &str) -> Result<RemoteDescription, Rejection> {
        RemoteDescription::parse(&format!(
            "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n{session}m=audio 9 UDP/TLS/RTP/SAVPF 111 64\na=mid:x\n{section}"
        ))
    }

    fn section(lines: &str) -> RtpSection {
        parse("", lines)
            .unwrap()
            .sections
            .pop()
            .and_then(|section| section.rtp)
            .unwrap()
    }

    #[test]
    fn attributes_of_a_section_win_over_those_of_the_session() {
        let session = format!(
            "a=fingerprint:sha-256 {HASH}\na=ice-ufrag:sess\na=ice-pwd:0123456789012345678901\na=setup:actpass\n"
        );
        let own = HASH.replace("00:", "ff:");
        let section = format!(
            "a=fingerprint:SHA-256 {own}\na=ice-ufrag:sect\na=ice-pwd:0123456789012345678901\na=setup:active\n"
        );
        let transport = |section: &str| {
            let description = parse(&session, &format!("{section}a=rtcp-mux\n")).unwrap();
            let rtp = description.sections[0].rtp.as_ref().unwrap();
            description.transport(&[rtp]).unwrap()
        };
        let (remote, setup) = transport("");
        assert_eq!(remote.ice.ufrag, "sess");
        assert_eq!(remote.fingerprints[0].digest, (0..32).collect::<Vec<u8>>());
        assert_eq!(setup.as_deref(), Some("actpass"));

        let (remote, setup) = transport(&section);
        assert_eq!(remote.ice.ufrag, "sect");
        assert_eq!(remote.fingerprints.len(), 1);
        assert_eq!(remote.fingerprints[0].hash, "sha-256");
        assert_eq!(remote.fingerprints[0].digest[0], 0xff);
        assert_eq!(setup.as_deref(), Some("active"));
    }

    #[test]
    fn weak_fingerprints_are_left_out_and_equal_ones_kept_once() {
        let weak = "a=fingerprint:sha-1 00:01\na=fingerprint:md5 00\n";
        let strong = format!("a=fingerprint:sha-256 {HASH}\n");
        assert_eq!(
            section(&format!("{weak}{strong}{strong}"))
                .fingerprints
                .len(),
            1
        );
        assert!(section(weak).fingerprints.is_empty());

        let many: String = (0..17)
            .map(|n| strong.replace("00:", &format!("{n:02x}:")))
            .collect();
        assert!(parse("", &many).is_err());
    }

    #[test]
    fn payload_types_that_look_like_rtcp_are_not_taken() {
        let formats = section("a=rtpmap:64 opus/48000/2\na=rtpmap:111 OPUS/48000/2\n").formats;
        let taken: Vec<u8> = formats
            .iter()
            .map(|format| format.payload_type.get())
            .collect();
        assert_eq!(taken, [111]);
    }

    #[test]
    fn feedback_may_be_for_every_payload_type() {
        let formats =
            section("a=rtpmap:111 opus/48000/2\na=rtcp-fb:* nack\na=rtcp-fb:111 transport-cc\na=rtcp-fb:64 goog-remb\n")
                .formats;
        assert_eq!(
            formats[0].feedback,
            Feedback {
                nack: true,
                transport_cc: true,
                ..Feedback::default()
            }
        );
    }

    #[test]
    fn of_two_extensions_with_one_id_or_one_uri_the_first_counts() {
        let extensions = section(
            "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\n\
             a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
             a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on\n\
             a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\n\
             a=extmap:15 urn:3gpp:video-orientation\n\
             a=extmap:4/sideways urn:3gpp:video-orientation\n\
             a=extmap:5\n",
        )
        .extensions;
        let found: Vec<_> = extensions
            .iter()
            .map(|offered| (offered.extension, offered.id, offered.direction))
            .collect();
        assert_eq!(
            found,
            [
                (Extension::Mid, 1, None),
                (Extension::AudioLevel, 2, Some(Direction::RecvOnly))
            ]
        );
    }

    #[test]
    fn the_first_source_counts_with_its_retransmissions() {
        let sources = |lines: &str| {
            let section = section(lines);
            (
                section.ssrc.map(|ssrc| ssrc.0),
                section.rtx_ssrc.map(|ssrc| ssrc.0),
            )
        };
        assert_eq!(sources(""), (None, None));
        assert_eq!(
            sources("a=ssrc:7 cname:x\na=ssrc:8 cname:x\n"),
            (Some(7), None)
        );
        assert_eq!(
            sources("a=ssrc:8 cname:x\na=ssrc:7 cname:x\na=ssrc-group:FID 7 8\n"),
            (Some(7), Some(8))
        );
        assert_eq!(
            sources("a=ssrc-group:FID 3 4\na=ssrc-group:SIM 1 3\na=ssrc-group:FID 1 2\n"),
            (Some(1), Some(2))
        );
    }
}
