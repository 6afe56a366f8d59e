//! Our SRTP against `rtc-srtp`: the same packets must become the same bytes, in both directions.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use hanok::media::transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, client_halves, server_halves,
};
use hanok::units::Random;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

/// Every profile that hanok negotiates.
pub const PROFILES: [Profile; 3] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::Aes128CmSha1_80,
];

const PACKETS_PER_KEY: usize = 2_500;
const SSRCS: u64 = 4;

/// What was compared without a difference.
#[derive(Debug, Default)]
pub struct Compared {
    /// RTP packets sealed to the same bytes and opened crosswise.
    pub rtp: usize,
    /// RTCP packets, likewise.
    pub rtcp: usize,
    /// Packets with one bit changed that we refused, and `rtc-srtp` too (but for the E flag of SRTCP).
    pub tampered: usize,
    /// RTP packets whose number had wrapped since the key was new.
    pub after_a_wrap: usize,
}

/// Compares `count` RTP and `count` RTCP packets, half of them in each direction.
///
/// # Errors
/// The first difference.
pub fn compare(profile: Profile, count: usize, random: &mut Random) -> anyhow::Result<Compared> {
    let mut compared = Compared::default();
    while compared.rtp < count {
        let mut material = vec![0; profile.keying_material_len()];
        random.fill(&mut material);
        for client_sends in [true, false] {
            let mut link = Link::new(profile, &material, client_sends)?;
            let batch = PACKETS_PER_KEY.min(count - compared.rtp);
            link.run(batch, random, &mut compared)
                .with_context(|| format!("{profile:?}, client sends: {client_sends}"))?;
        }
    }
    Ok(compared)
}

/// One direction of an association, held by both implementations.
struct Link {
    our_sender: Sender,
    our_receiver: Receiver,
    their_sender: Context,
    their_receiver: Context,
    /// Where the SRTCP index lies, counted from the packet's end.
    index_from_end: usize,
}

impl Link {
    fn new(profile: Profile, material: &[u8], client_sends: bool) -> anyhow::Result<Self> {
        let (client_sender, client_receiver) =
            client_halves(profile, material).context("keying material")?;
        let (server_sender, server_receiver) =
            server_halves(profile, material).context("keying material")?;
        let (our_sender, our_receiver) = if client_sends {
            (client_sender, server_receiver)
        } else {
            (server_sender, client_receiver)
        };
        Ok(Self {
            our_sender,
            our_receiver,
            their_sender: foreign(profile, material, client_sends)?,
            their_receiver: foreign(profile, material, client_sends)?,
            index_from_end: match profile {
                Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 4,
                Profile::Aes128CmSha1_80 => 4 + 10,
            },
        })
    }

    fn run(
        &mut self,
        batch: usize,
        random: &mut Random,
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let ssrc_base = random.u32();
        let mut newest_by_ssrc: BTreeMap<u32, u64> = BTreeMap::new();
        for _ in 0..batch {
            let ssrc = ssrc_base.wrapping_add(below(random, SSRCS) as u32);
            let newest = newest_by_ssrc
                .entry(ssrc)
                .or_insert_with(|| 65_535 - below(random, 3_000));
            // Mostly the next number; sometimes a gap, sometimes a late packet.
            let number = match below(random, 20) {
                0 => *newest + 1 + below(random, 400),
                1 => newest.saturating_sub(below(random, 500)),
                _ => *newest + 1,
            };
            *newest = number.max(*newest);
            compared.after_a_wrap += usize::from(number > 0xffff);
            let packet = rtp_packet(random, ssrc, number as u16);
            self.rtp(&packet, random)
                .with_context(|| format!("RTP number {number}, {packet:02x?}"))?;
            let report = rtcp_packet(random, ssrc);
            self.rtcp(&report, random)
                .with_context(|| format!("RTCP {report:02x?}"))?;
            compared.rtp += 1;
            compared.rtcp += 1;
            compared.tampered += 2;
        }
        Ok(())
    }

    fn rtp(&mut self, packet: &[u8], random: &mut Random) -> anyhow::Result<()> {
        let mut ours = with_room(packet);
        let len = self.our_sender.protect_rtp(&mut ours, packet.len())?;
        ours.truncate(len);
        let theirs = self.their_sender.encrypt_rtp(packet)?;
        same(&ours, &theirs, "sealed")?;

        let forged = with_a_changed_bit(&ours, random);
        if self.our_receiver.unprotect_rtp(&mut forged.clone()).is_ok() {
            bail!("we opened a forged packet");
        }
        if self.their_receiver.decrypt_rtp(&forged).is_ok() {
            bail!("rtc-srtp opened a forged packet: {forged:02x?}, not {ours:02x?}");
        }

        same(
            &self.their_receiver.decrypt_rtp(&ours)?,
            packet,
            "opened by rtc-srtp",
        )?;
        let mut opened = theirs.to_vec();
        match self.our_receiver.unprotect_rtp(&mut opened) {
            Ok(len) => same(&opened[..len], packet, "opened by us"),
            // A late number may repeat one that was opened; then the bytes differ and only rtc-srtp, which runs
            // without a replay list here, opens it again.
            Err(hanok::media::transport::srtp::UnprotectError::Replayed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn rtcp(&mut self, packet: &[u8], random: &mut Random) -> anyhow::Result<()> {
        let mut ours = with_room(packet);
        let len = self.our_sender.protect_rtcp(&mut ours, packet.len())?;
        ours.truncate(len);
        let theirs = self.their_sender.encrypt_rtcp(packet)?;
        same(&ours, &theirs, "sealed")?;

        let forged = with_a_changed_bit(&ours, random);
        if self
            .our_receiver
            .unprotect_rtcp(&mut forged.clone())
            .is_ok()
        {
            bail!("we opened a forged packet");
        }
        // With a cleared E flag rtc-srtp 0.21.1 opens anything: AES-CM returns before the tag, GCM restores the flag.
        let clears_the_flag = forged[forged.len() - self.index_from_end] & 0x80 == 0;
        if self.their_receiver.decrypt_rtcp(&forged).is_ok() && !clears_the_flag {
            bail!("rtc-srtp opened a forged packet: {forged:02x?}, not {ours:02x?}");
        }

        same(
            &self.their_receiver.decrypt_rtcp(&ours)?,
            packet,
            "opened by rtc-srtp",
        )?;
        let mut opened = theirs.to_vec();
        let len = self.our_receiver.unprotect_rtcp(&mut opened)?;
        same(&opened[..len], packet, "opened by us")
    }
}

/// A context of `rtc-srtp` for the direction in which the client or the server sends.
pub(crate) fn foreign(
    profile: Profile,
    material: &[u8],
    client_sends: bool,
) -> anyhow::Result<Context> {
    let (key_len, salt_len, foreign) = match profile {
        Profile::AeadAes256Gcm => (32, 12, ProtectionProfile::AeadAes256Gcm),
        Profile::AeadAes128Gcm => (16, 12, ProtectionProfile::AeadAes128Gcm),
        Profile::Aes128CmSha1_80 => (16, 14, ProtectionProfile::Aes128CmHmacSha1_80),
    };
    let (keys, salts) = material.split_at(2 * key_len);
    let side = usize::from(!client_sends);
    let provider = crypto::default_provider()?;
    Ok(Context::new(
        &keys[side * key_len..][..key_len],
        &salts[side * salt_len..][..salt_len],
        foreign,
        None,
        None,
        provider.crypto(),
    )?)
}

fn rtp_packet(random: &mut Random, ssrc: u32, seq: u16) -> Vec<u8> {
    let csrcs = if below(random, 4) == 0 {
        below(random, 16) as u8
    } else {
        0
    };
    let has_extension = below(random, 2) == 0;
    let mut packet = vec![
        0x80 | u8::from(has_extension) << 4 | csrcs,
        below(random, 256) as u8,
    ];
    packet.extend(seq.to_be_bytes());
    packet.extend(random.u32().to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    for _ in 0..csrcs {
        packet.extend(random.u32().to_be_bytes());
    }
    if has_extension {
        packet.extend(one_byte_extensions(random));
    }
    let len = below(random, 1_200) as usize;
    packet.extend(bytes(random, len));
    packet
}

/// RFC 8285 section 4.2, padded to whole words.
fn one_byte_extensions(random: &mut Random) -> Vec<u8> {
    let mut elements = Vec::new();
    for id in 1..=1 + below(random, 6) as u8 {
        let len = 1 + below(random, 16) as u8;
        elements.push(id << 4 | (len - 1));
        elements.extend(bytes(random, len.into()));
    }
    elements.resize(elements.len().next_multiple_of(4), 0);
    let mut block = vec![0xbe, 0xde];
    block.extend(((elements.len() / 4) as u16).to_be_bytes());
    block.extend(elements);
    block
}

/// A sender report with random numbers, and now and then more after it.
fn rtcp_packet(random: &mut Random, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(bytes(random, 20));
    if below(random, 3) == 0 {
        let words = below(random, 30) as usize;
        packet.extend([0x8f, 205]);
        packet.extend(((words + 1) as u16).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(bytes(random, 4 * words));
    }
    packet
}

fn with_room(packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    buffer
}

fn with_a_changed_bit(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let mut forged = packet.to_vec();
    let bit = below(random, 8 * packet.len() as u64) as usize;
    forged[bit / 8] ^= 1 << (bit % 8);
    forged
}

fn same(ours: &[u8], theirs: &[u8], what: &str) -> anyhow::Result<()> {
    ensure!(ours == theirs, "{what}: {ours:02x?} against {theirs:02x?}");
    Ok(())
}

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

fn below(random: &mut Random, limit: u64) -> u64 {
    random.u64() % limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_implementations_make_the_same_bytes() {
        for profile in PROFILES {
            let mut random = Random::seeded(profile as u64);
            let compared = compare(profile, 30_000, &mut random).expect("no difference");
            assert!(compared.rtp >= 30_000 && compared.rtcp >= 30_000);
            assert!(compared.after_a_wrap > 1_000, "{compared:?}");
        }
    }
}
