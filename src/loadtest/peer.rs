//! One association as a client has it, sans-I/O: ICE, DTLS in the role that the descriptions have settled, SRTP, and the
//! media that it is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use secrecy::ExposeSecret;

use super::description::Remote;
use super::ice::Agent;
use super::measure::Measure;
use super::publisher::{MAX_PACKET, Publisher};
use super::receiver::Receiver;
use crate::media::rtp::RtpPacket;
use crate::media::rtp::rtcp::Compound;
use crate::media::sdp::{Fingerprint, IceCredentials};
use crate::media::transport::dtls::{Association, Event, Role, associate};
use crate::media::transport::srtp::{self, MAX_OVERHEAD, Profile};
use crate::media::transport::{Identity, certificate_matches};
use crate::units::{MediaKind, Random};

/// What the association is for.
#[derive(Debug)]
pub(super) enum Media {
    /// To send.
    Publish(Box<Publisher>),
    /// To receive.
    Subscribe(Box<Receiver>),
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Checks or the handshake are under way.
    Connecting,
    /// Media can flow.
    Connected(Profile),
    /// It is over.
    Failed(Failure),
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("no check was answered in time")]
    Ice,
    #[error("the DTLS handshake failed")]
    Dtls,
    #[error("the server's certificate is another one than its description says")]
    Certificate,
    #[error("the server has closed the association")]
    ClosedByServer,
}

/// What the packets of one association go through.
#[derive(Debug)]
pub(super) struct Peer {
    ice: Agent,
    association: Box<dyn Association>,
    fingerprint: [Fingerprint; 1],
    srtp: Option<(srtp::Sender, srtp::Receiver)>,
    role: Role,
    pub(super) state: State,
    pub(super) media: Media,
    /// Media that could not be opened.
    pub(super) unauthentic: u64,
    rtcp: Vec<u8>,
}

/// Time, and where datagrams go to.
pub(super) struct Context<'a, F: FnMut(SocketAddr, &[u8])> {
    pub(super) now: Instant,
    /// The wall clock (RFC 3550 section 4).
    pub(super) ntp: u64,
    pub(super) measure: &'a mut Measure,
    pub(super) send: F,
}

impl Peer {
    pub(super) fn new(
        now: Instant,
        identity: &Arc<Identity>,
        local: &IceCredentials,
        remote: &Remote,
        media: Media,
        random: Random,
    ) -> Self {
        let theirs = IceCredentials {
            ufrag: remote.ufrag.clone(),
            pwd: remote.pwd.clone(),
        };
        let mut ice = Agent::new(now, local, &theirs, remote.ice_lite, random);
        for candidate in &remote.candidates {
            ice.add_candidate(*candidate);
        }
        let role = if remote.setup == "active" {
            Role::Server
        } else {
            Role::Client
        };
        Self {
            ice,
            association: associate(now, identity, role),
            fingerprint: [Fingerprint {
                hash: "sha-256".to_owned(),
                digest: remote.fingerprint.clone(),
            }],
            srtp: None,
            role,
            state: State::Connecting,
            media,
            unauthentic: 0,
            rtcp: Vec::new(),
        }
    }

    /// A candidate that came apart from the description.
    pub(super) fn add_candidate(&mut self, addr: SocketAddr) {
        self.ice.add_candidate(addr);
    }

    /// Takes a datagram; media is opened in place.
    pub(super) fn handle_datagram<F: FnMut(SocketAddr, &[u8])>(
        &mut self,
        context: &mut Context<'_, F>,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        if let State::Failed(_) = self.state {
            return;
        }
        match datagram.first() {
            Some(0..=3) => {
                let was_chosen = self.ice.chosen().is_some();
                self.ice.handle_stun(context.now, from, datagram);
                self.drain_ice(context);
                if !was_chosen && self.ice.chosen().is_some() && self.role == Role::Client {
                    let result = self.association.handle_timeout(context.now);
                    self.settle(context, result.is_err());
                }
            }
            Some(20..=63) => {
                let result = self.association.handle_datagram(context.now, datagram);
                self.settle(context, result.is_err());
            }
            Some(128..=191) => self.handle_media(context, datagram),
            _ => {}
        }
    }

    /// Lets time pass: checks, handshake, media and reports that are due.
    pub(super) fn handle_timeout<F: FnMut(SocketAddr, &[u8])>(
        &mut self,
        context: &mut Context<'_, F>,
    ) {
        if let State::Failed(_) = self.state {
            return;
        }
        let now = context.now;
        if self.ice.is_lost(now) {
            self.state = State::Failed(Failure::Ice);
            return;
        }
        if now >= self.ice.poll_timeout() {
            self.ice.handle_timeout(now);
            self.drain_ice(context);
        }
        if self.ice.chosen().is_some()
            && self.association.poll_timeout().is_some_and(|at| now >= at)
        {
            let result = self.association.handle_timeout(now);
            self.settle(context, result.is_err());
        }
        self.send_media(context);
        self.send_reports(context);
    }

    /// When [`Peer::handle_timeout`] is due; `None` if never again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if let State::Failed(_) = self.state {
            return None;
        }
        let dtls = self.association.poll_timeout();
        let dtls = dtls.filter(|_| self.ice.chosen().is_some());
        let media = match &self.media {
            _ if self.srtp.is_none() => None,
            Media::Publish(publisher) => publisher.poll_timeout(),
            Media::Subscribe(receiver) => Some(receiver.poll_timeout()),
        };
        [Some(self.ice.poll_timeout()), dtls, media]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says goodbye as a browser does that closes a peer connection.
    pub(super) fn close<F: FnMut(SocketAddr, &[u8])>(&mut self, context: &mut Context<'_, F>) {
        self.association.close(context.now);
        self.settle(context, false);
    }

    fn drain_ice<F: FnMut(SocketAddr, &[u8])>(&mut self, context: &mut Context<'_, F>) {
        while let Some((to, datagram)) = self.ice.poll_output() {
            (context.send)(to, &datagram);
        }
    }

    /// Does what the association says.
    fn settle<F: FnMut(SocketAddr, &[u8])>(&mut self, context: &mut Context<'_, F>, failed: bool) {
        let Some(to) = self.ice.chosen() else { return };
        while let Some(event) = self.association.poll_event() {
            match event {
                Event::Transmit(datagram) => (context.send)(to, &datagram),
                Event::PeerCertificate(der) => {
                    if !certificate_matches(&der, &self.fingerprint) {
                        self.state = State::Failed(Failure::Certificate);
                        return;
                    }
                }
                Event::Established(keys) => {
                    let material = keys.material.expose_secret();
                    self.srtp = match self.role {
                        Role::Client => srtp::client_halves(keys.profile, material),
                        Role::Server => srtp::server_halves(keys.profile, material),
                    };
                    self.state = State::Connected(keys.profile);
                }
                Event::ClosedByPeer => self.state = State::Failed(Failure::ClosedByServer),
            }
        }
        if failed {
            self.state = State::Failed(Failure::Dtls);
        }
    }

    fn handle_media<F: FnMut(SocketAddr, &[u8])>(
        &mut self,
        context: &mut Context<'_, F>,
        packet: &mut [u8],
    ) {
        let Some((_, srtp)) = &mut self.srtp else {
            return;
        };
        let whole = packet.len();
        // RFC 5761 section 4.
        let is_rtcp = packet.get(1).is_some_and(|kind| (192..=223).contains(kind));
        let opened = if is_rtcp {
            srtp.unprotect_rtcp(packet)
        } else {
            srtp.unprotect_rtp(packet)
        };
        let Some(packet) = opened.ok().and_then(|len| packet.get(..len)) else {
            self.unauthentic += 1;
            return;
        };
        if is_rtcp {
            for packet in Compound::new(packet) {
                match &mut self.media {
                    Media::Publish(publisher) => publisher.handle_rtcp(&packet),
                    Media::Subscribe(receiver) => receiver.handle_rtcp(context.now, &packet),
                }
            }
        } else if let (Media::Subscribe(receiver), Ok(packet)) =
            (&mut self.media, RtpPacket::parse(packet))
        {
            context
                .measure
                .arrives(context.measure.ns(context.now), whole);
            receiver.handle_rtp(context.now, &packet, context.measure);
        }
    }

    fn send_media<F: FnMut(SocketAddr, &[u8])>(&mut self, context: &mut Context<'_, F>) {
        let (Some((srtp, _)), Media::Publish(publisher), Some(to)) =
            (&mut self.srtp, &mut self.media, self.ice.chosen())
        else {
            return;
        };
        let mut buffer = [0; MAX_PACKET + MAX_OVERHEAD];
        while let Some(len) =
            publisher.poll_packet(context.now, context.measure, &mut buffer[..MAX_PACKET])
        {
            if let Ok(len) = srtp.protect_rtp(&mut buffer, len) {
                (context.send)(to, &buffer[..len]);
            }
        }
    }

    fn send_reports<F: FnMut(SocketAddr, &[u8])>(&mut self, context: &mut Context<'_, F>) {
        let (Some((srtp, _)), Some(to)) = (&mut self.srtp, self.ice.chosen()) else {
            return;
        };
        let now = context.now;
        let rtcp = &mut self.rtcp;
        let mut send = |packet: &mut Vec<u8>| {
            let len = packet.len();
            packet.resize(len + MAX_OVERHEAD, 0);
            if let Ok(len) = srtp.protect_rtcp(packet, len) {
                (context.send)(to, &packet[..len]);
            }
        };
        match &mut self.media {
            Media::Publish(publisher) => {
                for kind in [MediaKind::Audio, MediaKind::Video] {
                    if publisher.poll_report(now, context.ntp, context.measure, kind, rtcp) {
                        send(rtcp);
                    }
                }
                publisher.has_reported(now);
            }
            Media::Subscribe(receiver) => {
                while receiver.poll_rtcp(now, rtcp) {
                    send(rtcp);
                }
            }
        }
    }
}
