//! Publishing (`openvidu-signalling` sections 8.3, 8.4, 8.10, 9.2, 9.3, 9.7).

use std::sync::Arc;

use super::command::{PropertyChange, PublishVideo, StreamProperty};
use super::core::{Caller, Moment, Session, TransportOwner};
use super::effect::Happening;
use super::filters;
use super::identifiers::{ConnectionId, StreamId};
use super::notification::{Notification, StreamDescriptor};
use super::participant::Publication;
use super::reason;
use super::refusal::Refusal;
use super::reply::Reply;
use crate::media::plane::{
    self, CodecPolicy, IceCredentials, LocalTransport, PublisherSpec, Rejection, TransportId,
};
use crate::units::{Codec, ForcedVideoCodec, MediaKind, SubscribeOffer};

impl Session {
    /// `publishVideo`: the publisher is answered before the others hear of the stream.
    pub(super) fn publish(
        &mut self,
        at: Moment,
        caller: &Caller,
        publish: PublishVideo,
    ) -> Result<(), Refusal> {
        let publisher = self.caller(caller)?;
        if !publisher.may_publish() {
            return Err(Refusal::Unauthorized {
                action: "publish video",
            });
        }
        if publisher.publication.is_some() {
            return Err(Refusal::AlreadyPublishing {
                connection: caller.connection.clone(),
                session: self.id.clone(),
            });
        }
        if let Some(filter) = &publish.filter {
            return Err(filters::refuse_at_publish(publisher, filter));
        }
        let (spec, answer) =
            self.negotiate_publisher(caller, &publish.offer, publish.do_loopback, false)?;
        let carries = |kind| spec.tracks.iter().any(|track| track.kind == kind);
        // A kind that is announced but not negotiated would never play, and fails clients that we offer to.
        let has_audio = publish.has_audio && carries(MediaKind::Audio);
        let has_video = publish.has_video && carries(MediaKind::Video);
        if !has_audio && !has_video {
            return Err(Refusal::PublisherSdp {
                connection: caller.connection.clone(),
                why: "the offer holds no medium that hasAudio or hasVideo announce".to_owned(),
            });
        }

        let video_type = has_video.then_some(publish.type_of_video.as_str());
        let stream = StreamId::random(video_type, &caller.connection, &mut self.random);
        let descriptor = StreamDescriptor {
            id: stream.clone(),
            created_at: at.wall_ms,
            has_audio,
            has_video,
            audio_active: publish.audio_active,
            video_active: publish.video_active,
            type_of_video: video_type,
            frame_rate: publish.frame_rate,
            video_dimensions: publish.video_dimensions.filter(|_| has_video),
        };
        let tracks = spec.tracks.iter().filter(|track| match track.kind {
            MediaKind::Audio => has_audio,
            MediaKind::Video => has_video,
        });
        let publication = Publication {
            descriptor: descriptor.clone(),
            transport: spec.transport,
            tracks: tracks.cloned().collect(),
            do_loopback: publish.do_loopback,
            orphaned_until: None,
            candidates: 0,
        };
        self.caller_mut(caller)?.publication = Some(publication);
        self.transports.insert(
            spec.transport,
            TransportOwner::Publication(caller.connection.clone()),
        );
        self.command(plane::Command::OpenPublisher(Box::new(spec)));
        self.reply(
            caller,
            Reply::Published {
                answer,
                stream: stream.clone(),
                created_at: at.wall_ms,
            },
        );
        self.notify_others(
            &caller.connection,
            Notification::ParticipantPublished {
                connection: caller.connection.clone(),
                stream: descriptor,
            },
        );
        self.happened(Happening::Published(stream));
        Ok(())
    }

    /// Negotiates a transport for what the caller wants to send; yields it with the answer.
    pub(super) fn negotiate_publisher(
        &mut self,
        caller: &Caller,
        offer: &str,
        do_loopback: bool,
        reconnecting: bool,
    ) -> Result<(PublisherSpec, String), Refusal> {
        let properties = &self.caller(caller)?.token.properties;
        let max_receive =
            properties.limit(|own| own.video_max_recv, self.settings.get().video_max_recv);
        let (transport, local) = self.new_transport()?;
        let policy = CodecPolicy {
            forced_video: self.forced_video_codec(),
            fall_back: self.properties.allow_transcoding,
            max_receive,
        };
        let answered = if do_loopback {
            let name = caller.connection.as_str();
            plane::answer_publisher_with_loopback(offer, &policy, name, &mut self.random, &local)
        } else {
            plane::answer_publisher(offer, &policy, &local)
        };
        let negotiated = answered.map_err(|rejection| match rejection {
            Rejection::CodecMissing { codec } => Refusal::CodecMissing {
                codec,
                connection: caller.connection.clone(),
                session: self.id.clone(),
                publishing: true,
                reconnecting,
                sdp: offer.to_owned(),
            },
            malformed @ (Rejection::Malformed(_)
            | Rejection::DtlsRole(_)
            | Rejection::OtherOffer { .. }) => Refusal::PublisherSdp {
                connection: caller.connection.clone(),
                why: malformed.to_string(),
            },
        })?;
        let spec = PublisherSpec {
            transport,
            local: local.ice,
            remote: negotiated.remote,
            tracks: negotiated.tracks,
            max_receive,
            replaces: None,
            loopback: negotiated.loopback,
        };
        Ok((spec, negotiated.answer))
    }

    /// The codec that every stream has, if one is forced (section 11.4, design D9).
    fn forced_video_codec(&self) -> Option<Codec> {
        match (
            self.properties.forced_video_codec,
            self.settings.get().subscribe_offer,
        ) {
            (ForcedVideoCodec::MediaServerPreferred, SubscribeOffer::Client) => Some(Codec::Vp8),
            (ForcedVideoCodec::MediaServerPreferred, SubscribeOffer::Server)
            | (ForcedVideoCodec::None, _) => None,
            (ForcedVideoCodec::Forced(codec), _) => Some(codec),
        }
    }

    /// An identity and our end for a transport that is to be negotiated.
    pub(super) fn new_transport(&mut self) -> Result<(TransportId, LocalTransport), Refusal> {
        let Some(home) = &mut self.home else {
            return Err(Refusal::NoMediaNode(self.id.clone()));
        };
        let local = LocalTransport {
            // RFC 8839 section 5.4 asks for 24 and 128 bits of randomness.
            ice: IceCredentials {
                ufrag: self.random.alphanumeric(8),
                pwd: self.random.alphanumeric(24),
            },
            fingerprint: home.fingerprint.clone(),
            candidates: home.candidates.clone(),
        };
        Ok(((home.next_transport)(), local))
    }

    /// `unpublishVideo`
    pub(super) fn unpublish(&mut self, caller: &Caller) -> Result<(), Refusal> {
        let reason: Arc<str> = reason::UNPUBLISH.into();
        if !self.end_publication(&caller.connection, &reason) {
            return Err(Refusal::NotStreaming(caller.connection.clone()));
        }
        self.notify_others(
            &caller.connection,
            Notification::ParticipantUnpublished {
                connection: caller.connection.clone(),
                reason,
            },
        );
        self.done(caller);
        Ok(())
    }

    /// Ends a stream and every subscription to it; false if there is none.
    pub(super) fn end_publication(&mut self, publisher: &ConnectionId, reason: &Arc<str>) -> bool {
        let member = self.member_mut(publisher.as_str());
        let Some(publication) = member.and_then(|member| member.publication.take()) else {
            return false;
        };
        self.end_subscriptions_to(publisher, reason);
        self.close_publisher(publication.transport);
        self.happened(Happening::Unpublished(
            publication.descriptor.id,
            reason.clone(),
        ));
        true
    }

    /// Ends a stream that its publisher has not given up: the publisher is told too.
    pub(super) fn lose_publication(&mut self, publisher: &ConnectionId, reason: &str) {
        let reason: Arc<str> = reason.into();
        if self.end_publication(publisher, &reason) {
            self.notify_all(Notification::ParticipantUnpublished {
                connection: publisher.clone(),
                reason,
            });
        }
    }

    /// `streamPropertyChanged`: always of the caller's own stream, whatever it names.
    pub(super) fn change_property(
        &mut self,
        caller: &Caller,
        property: StreamProperty,
    ) -> Result<(), Refusal> {
        let Some(publication) = &mut self.caller_mut(caller)?.publication else {
            return Err(Refusal::NotStreaming(caller.connection.clone()));
        };
        let descriptor = &mut publication.descriptor;
        match &property.change {
            PropertyChange::AudioActive(active) => descriptor.audio_active = Some(*active),
            PropertyChange::VideoActive(active) => descriptor.video_active = Some(*active),
            PropertyChange::VideoDimensions(text) => {
                descriptor.video_dimensions = Some(text.clone()).filter(|_| descriptor.has_video);
            }
            PropertyChange::AudioTrack(_) | PropertyChange::VideoTrack(_) => {}
        }
        let stream = descriptor.id.clone();
        self.notify_others(
            &caller.connection,
            Notification::StreamPropertyChanged {
                connection: caller.connection.clone(),
                stream,
                change: property.change,
                reason: property.reason,
            },
        );
        self.done(caller);
        Ok(())
    }
}
