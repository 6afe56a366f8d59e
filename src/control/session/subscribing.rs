//! Subscribing, in both offer directions (`openvidu-signalling` sections 8.5 to 8.7, 11.2).

use std::sync::Arc;

use super::core::{Caller, Moment, Session, TransportOwner};
use super::effect::Happening;
use super::identifiers::{ConnectionId, StreamId, owner_in};
use super::notification::Notification;
use super::participant::{Participant, Subscription};
use super::reason;
use super::refusal::Refusal;
use super::reply::Reply;
use crate::media::plane::{
    self, FailureReason, Rejection, RemoteTransport, SubscriberSpec, Track, TransportId,
};

/// A stream that is to be subscribed to.
pub(super) struct Source {
    publisher: ConnectionId,
    stream: StreamId,
    transport: TransportId,
    tracks: Vec<Track>,
}

/// A transport that has been negotiated, or offered, to a subscriber.
struct Opening {
    transport: TransportId,
    local: plane::IceCredentials,
    remote: Option<RemoteTransport>,
    tracks: Vec<Track>,
}

impl Session {
    /// `receiveVideoFrom` with `sdpOffer`. An existing subscription to the same sender is replaced.
    pub(super) fn receive_offer(
        &mut self,
        at: Moment,
        caller: &Caller,
        sender: &str,
        offer: String,
        reconnecting: bool,
    ) -> Result<(), Refusal> {
        let source = self.source(caller, sender)?;
        let (transport, local) = self.new_transport()?;
        let negotiated = plane::answer_subscriber(
            &offer,
            &source.tracks,
            source.stream.as_str(),
            &mut self.random,
            &local,
        )
        .map_err(|rejection| {
            self.refuse_subscriber(caller, &source.publisher, rejection, offer, reconnecting)
        })?;
        let opening = Opening {
            transport,
            local: local.ice,
            remote: Some(negotiated.remote),
            tracks: negotiated.tracks,
        };
        self.open_subscription(at, &caller.connection, source, opening)?;
        self.reply(caller, Reply::Answer(negotiated.answer));
        Ok(())
    }

    /// `prepareReceiveVideoFrom`: we offer. An existing subscription to the same sender is replaced.
    pub(super) fn prepare_receive(
        &mut self,
        at: Moment,
        caller: &Caller,
        sender: &str,
    ) -> Result<(), Refusal> {
        let source = self.source(caller, sender)?;
        let offer = self.offer_subscription(at, &caller.connection, source)?;
        self.reply(caller, Reply::Offer(offer));
        Ok(())
    }

    /// Offers `source` to a subscriber, whose answer is awaited from then on.
    pub(super) fn offer_subscription(
        &mut self,
        at: Moment,
        subscriber: &ConnectionId,
        source: Source,
    ) -> Result<String, Refusal> {
        let (transport, local) = self.new_transport()?;
        let first_mid = self.member(subscriber.as_str()).map_or(0, |it| it.next_mid);
        let offering = plane::offer_subscriber(
            &source.tracks,
            source.stream.as_str(),
            first_mid,
            &mut self.random,
            &local,
        );
        let sections = u32::try_from(offering.tracks.len()).unwrap_or(u32::MAX);
        let opening = Opening {
            transport,
            local: local.ice,
            remote: None,
            tracks: offering.tracks,
        };
        self.open_subscription(at, subscriber, source, opening)?;
        if let Some(member) = self.member_mut(subscriber.as_str()) {
            member.next_mid = first_mid.wrapping_add(sections);
        }
        Ok(offering.offer)
    }

    /// `receiveVideoFrom` with `sdpAnswer`: completes what [`Session::prepare_receive`] began.
    pub(super) fn receive_answer(
        &mut self,
        caller: &Caller,
        sender: &str,
        answer: String,
        reconnecting: bool,
    ) -> Result<(), Refusal> {
        let source = self.source(caller, sender)?;
        let publisher = source.publisher;
        let subscription = self.caller(caller)?.subscriptions.get(&publisher);
        let Some((transport, offered)) = subscription.and_then(|subscription| {
            let offered = subscription.offered.as_ref()?;
            Some((subscription.transport, offered))
        }) else {
            return Err(Refusal::NothingOffered(publisher));
        };
        match plane::accept_answer(&answer, offered) {
            Ok((remote, tracks)) => {
                let subscriptions = &mut self.caller_mut(caller)?.subscriptions;
                if let Some(subscription) = subscriptions.get_mut(&publisher) {
                    subscription.offered = None;
                    subscription.codecs = tracks.iter().map(|track| track.codec).collect();
                }
                self.command(plane::Command::AcceptAnswer {
                    transport,
                    remote,
                    tracks,
                });
                self.done(caller);
                Ok(())
            }
            // Another offer has taken its place, whose answer is still to come.
            Err(Rejection::OtherOffer { .. }) => Err(Refusal::NothingOffered(publisher)),
            Err(rejection) => {
                // The client gives up this peer connection; another attempt begins with another offer.
                self.end_subscription(&caller.connection, &publisher, &reason::UNSUBSCRIBE.into());
                Err(self.refuse_subscriber(caller, &publisher, rejection, answer, reconnecting))
            }
        }
    }

    /// `unsubscribeFromVideo`: succeeds without a subscription too.
    pub(super) fn unsubscribe(&mut self, caller: &Caller, sender: &str) -> Result<(), Refusal> {
        let Some(publisher) = self.find_publisher(sender) else {
            return Err(Refusal::PublisherGone {
                user: sender.to_owned(),
                session: self.id.clone(),
            });
        };
        self.end_subscription(&caller.connection, &publisher, &reason::UNSUBSCRIBE.into());
        self.done(caller);
        Ok(())
    }

    /// Ends every subscription to a publisher, whose subscribers notice by other means.
    pub(super) fn end_subscriptions_to(&mut self, publisher: &ConnectionId, reason: &Arc<str>) {
        let subscribers: Vec<ConnectionId> = self
            .members
            .iter()
            .filter(|member| member.subscriptions.contains_key(publisher))
            .map(|member| member.connection().clone())
            .collect();
        for subscriber in subscribers {
            self.end_subscription(&subscriber, publisher, reason);
        }
    }

    /// A subscription's transport failed; the worker has already forgotten it.
    pub(super) fn lose_subscription(
        &mut self,
        subscriber: &ConnectionId,
        publisher: &ConnectionId,
        why: FailureReason,
    ) {
        let stream =
            self.end_subscription(subscriber, publisher, &reason::NETWORK_DISCONNECT.into());
        // Who closed its own end knows.
        if let Some(stream) = stream
            && why != FailureReason::ClosedByPeer
        {
            let text = format!("The subscription to stream {stream} has failed: {why:?}");
            self.notify_one(subscriber, Notification::MediaError { text });
        }
    }

    fn end_subscription(
        &mut self,
        subscriber: &ConnectionId,
        publisher: &ConnectionId,
        reason: &Arc<str>,
    ) -> Option<StreamId> {
        let member = self.member_mut(subscriber.as_str())?;
        let subscription = member.subscriptions.remove(publisher)?;
        self.close_transport(subscription.transport);
        self.happened(Happening::Unsubscribed(
            subscriber.clone(),
            subscription.stream.clone(),
            reason.clone(),
        ));
        Some(subscription.stream)
    }

    /// Opens a subscription, or gives the one that is there another transport.
    fn open_subscription(
        &mut self,
        at: Moment,
        subscriber: &ConnectionId,
        source: Source,
        opening: Opening,
    ) -> Result<(), Refusal> {
        let limit = self.settings.get().limits.subscriptions;
        let gone = Refusal::NotAMember(self.id.clone());
        let default = self.settings.get().video_max_send;
        let member = self.member_mut(subscriber.as_str()).ok_or(gone)?;
        let properties = &member.token.properties;
        let max_send = properties.limit(|own| own.video_max_send, default);
        let subscriptions = &mut member.subscriptions;
        if !subscriptions.contains_key(&source.publisher) && subscriptions.len() >= limit {
            return Err(Refusal::TooManySubscriptions(subscriber.clone()));
        }
        let former = subscriptions.remove(&source.publisher);
        let subscription = Subscription {
            created_at: former
                .as_ref()
                .map_or(at.wall_ms, |former| former.created_at),
            stream: source.stream.clone(),
            transport: opening.transport,
            offered: opening.remote.is_none().then(|| opening.tracks.clone()),
            codecs: opening.tracks.iter().map(|track| track.codec).collect(),
            candidates: 0,
        };
        subscriptions.insert(source.publisher.clone(), subscription);
        let replaces = former.map(|former| former.transport);
        if let Some(replaced) = replaces {
            // The command closes it.
            self.forget_transport(replaced);
        } else {
            self.happened(Happening::Subscribed(subscriber.clone(), source.stream));
        }
        self.transports.insert(
            opening.transport,
            TransportOwner::Subscription {
                subscriber: subscriber.clone(),
                publisher: source.publisher,
            },
        );
        self.command(plane::Command::OpenSubscriber(Box::new(SubscriberSpec {
            transport: opening.transport,
            source: source.transport,
            local: opening.local,
            remote: opening.remote,
            tracks: opening.tracks,
            max_send,
            replaces,
        })));
        Ok(())
    }

    /// What `sender` publishes.
    fn source(&self, caller: &Caller, sender: &str) -> Result<Source, Refusal> {
        let publisher = self
            .find_publisher(sender)
            .and_then(|publisher| self.member(publisher.as_str()));
        let Some(publisher) = publisher else {
            return Err(Refusal::UserNotFound {
                user: owner_in(sender).to_owned(),
                session: self.id.clone(),
            });
        };
        let connection = publisher.connection().clone();
        if connection == caller.connection {
            return Err(Refusal::SelfSubscription);
        }
        let Some(publication) = &publisher.publication else {
            return Err(Refusal::UserNotStreaming {
                user: connection,
                session: self.id.clone(),
            });
        };
        Ok(Source {
            publisher: connection,
            stream: publication.descriptor.id.clone(),
            transport: publication.transport,
            tracks: publication.tracks.clone(),
        })
    }

    /// Offers a stream anew to those of its subscribers that cannot decode what it has become, so that they follow
    /// (section 9.14).
    pub(super) fn lead_over(&mut self, at: Moment, publisher: &ConnectionId) {
        let member = self.member(publisher.as_str());
        let Some(publication) = member.and_then(|member| member.publication.as_ref()) else {
            return;
        };
        let stream = publication.descriptor.id.clone();
        let (transport, tracks) = (publication.transport, publication.tracks.clone());
        let cannot_follow = |member: &&Participant| {
            let subscription = member.subscriptions.get(publisher);
            subscription.is_some_and(|subscription| !subscription.can_follow(&tracks))
        };
        let left_behind: Vec<ConnectionId> = self
            .members
            .iter()
            .filter(cannot_follow)
            .map(|member| member.connection().clone())
            .collect();
        for subscriber in left_behind {
            let source = Source {
                publisher: publisher.clone(),
                stream: stream.clone(),
                transport,
                tracks: tracks.clone(),
            };
            if let Ok(offer) = self.offer_subscription(at, &subscriber, source) {
                self.notify_one(
                    &subscriber,
                    Notification::ForciblyReconnectSubscriber {
                        connection: publisher.clone(),
                        stream: stream.clone(),
                        offer,
                    },
                );
            }
        }
    }

    /// Whose stream, or which participant, `sender` names (section 7.1).
    fn find_publisher(&self, sender: &str) -> Option<ConnectionId> {
        self.publisher_of(sender).or_else(|| {
            let named = self.member(sender);
            let named = named.or_else(|| self.member(owner_in(sender)));
            named.map(|member| member.connection().clone())
        })
    }

    fn refuse_subscriber(
        &self,
        caller: &Caller,
        publisher: &ConnectionId,
        rejection: Rejection,
        sdp: String,
        reconnecting: bool,
    ) -> Refusal {
        match rejection {
            Rejection::CodecMissing { codec } => Refusal::CodecMissing {
                codec,
                connection: caller.connection.clone(),
                session: self.id.clone(),
                publishing: false,
                reconnecting,
                sdp,
            },
            malformed @ (Rejection::Malformed(_)
            | Rejection::DtlsRole(_)
            | Rejection::OtherOffer { .. }) => Refusal::SubscriberSdp {
                subscriber: caller.connection.clone(),
                publisher: publisher.clone(),
                why: malformed.to_string(),
            },
        }
    }
}
