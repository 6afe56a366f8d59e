//! `reconnectStream`: another transport for a stream or a subscription that goes on (`openvidu-signalling` sections 5.3,
//! 5.4, 9.14).
//!
//! Clients neither restart ICE nor renegotiate: each of their peer connections sees one offer and one answer, and what
//! replaces it is another one. Who subscribes to a stream keeps its own transport when the publisher's is replaced.

use super::command::{ReconnectStream, StreamSdp};
use super::core::{Caller, Moment, Session, TransportOwner};
use super::refusal::Refusal;
use super::reply::Reply;
use crate::media::plane::{self, PublisherSpec, Track};
use crate::units::MediaKind;

impl Session {
    /// `reconnectStream`: of one's own stream with an offer, of another's with an offer or with the answer to ours.
    pub(super) fn reconnect_stream(
        &mut self,
        at: Moment,
        caller: &Caller,
        request: ReconnectStream,
    ) -> Result<(), Refusal> {
        let ReconnectStream { stream, sdp } = request;
        let Some(publisher) = self.publisher_of(&stream) else {
            return Err(Refusal::UnknownStream {
                stream,
                session: self.id.clone(),
            });
        };
        let sender = publisher.as_str();
        match sdp {
            StreamSdp::Text(offer) | StreamSdp::Offer(offer) if publisher == caller.connection => {
                self.reconnect_publisher(at, caller, &offer)
            }
            StreamSdp::Text(answer) => self.receive_answer(caller, sender, answer, true),
            StreamSdp::Offer(offer) => self.receive_offer(at, caller, sender, offer, true),
        }
    }

    /// The stream keeps its id, and nobody is told. Its subscribers go on with what it sends now.
    fn reconnect_publisher(
        &mut self,
        at: Moment,
        caller: &Caller,
        offer: &str,
    ) -> Result<(), Refusal> {
        let not_streaming = Refusal::NotStreaming(caller.connection.clone());
        let publication = self.caller(caller)?.publication.as_ref();
        let do_loopback = publication.ok_or(not_streaming.clone())?.do_loopback;
        let (spec, answer) = self.negotiate_publisher(caller, offer, do_loopback, true)?;
        let publication = self.caller_mut(caller)?.publication.as_mut();
        let publication = publication.ok_or(not_streaming)?;
        let descriptor = &mut publication.descriptor;
        let announced = [
            (MediaKind::Audio, descriptor.has_audio),
            (MediaKind::Video, descriptor.has_video),
        ];
        let track_of = |(kind, _): &(MediaKind, bool)| {
            let mut tracks = spec.tracks.iter();
            tracks.find(|track| track.kind == *kind).cloned()
        };
        let announced = announced.iter().filter(|(_, is_there)| *is_there);
        let Some(tracks) = announced.map(track_of).collect::<Option<Vec<Track>>>() else {
            // What it was announced with would never play again, and would fail clients that we offer to.
            return Err(Refusal::PublisherSdp {
                connection: caller.connection.clone(),
                why: "the offer lacks a medium that the stream has".to_owned(),
            });
        };
        let former = std::mem::replace(&mut publication.transport, spec.transport);
        publication.tracks = tracks;
        publication.orphaned_until = None;
        publication.candidates = 0;
        descriptor.created_at = at.wall_ms;
        let stream = descriptor.id.clone();

        // The command closes it, if it has not failed already.
        self.forget_transport(former);
        self.transports.insert(
            spec.transport,
            TransportOwner::Publication(caller.connection.clone()),
        );
        self.command(plane::Command::OpenPublisher(Box::new(PublisherSpec {
            replaces: Some(former),
            ..spec
        })));
        self.reply(
            caller,
            Reply::Published {
                answer,
                stream,
                created_at: at.wall_ms,
            },
        );
        self.lead_over(at, &caller.connection);
        Ok(())
    }
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "each test picks the effects that it is about"
)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::session::command::{PublishVideo, Request};
    use crate::control::session::effect::Effect;
    use crate::control::session::notification::Notification;
    use crate::control::session::reconnection::SocketEnd;
    use crate::control::session::scene::{
        self, PUBLISHER_OFFER, SUBSCRIBER_OFFER, Stage, answer_to, stream_of,
    };
    use crate::control::session::settings::Settings;
    use crate::media::plane::{EventKind, FailureReason};
    use crate::units::{ForcedVideoCodec, SubscribeOffer};

    const NOTHING: [&str; 0] = [];

    fn text(stream: &str, sdp: &str) -> Request {
        Request::ReconnectStream(ReconnectStream {
            stream: stream.to_owned(),
            sdp: StreamSdp::Text(sdp.to_owned()),
        })
    }

    fn offer(stream: &str, sdp: &str) -> Request {
        Request::ReconnectStream(ReconnectStream {
            stream: stream.to_owned(),
            sdp: StreamSdp::Offer(sdp.to_owned()),
        })
    }

    /// A publishes on transport 1, B subscribes on transport 2.
    fn call_with(stage: Stage) -> (Stage, String) {
        let mut stage = stage;
        stage.join('A');
        stage.join('B');
        stage.publish('A');
        stage.subscribe('B', 'A');
        let stream = stream_of(&stage, 'A');
        (stage, stream)
    }

    fn call() -> (Stage, String) {
        call_with(Stage::new())
    }

    /// No codec is forced: what the offer prefers is taken.
    fn unforced() -> Stage {
        let mut properties = scene::properties();
        properties.forced_video_codec = ForcedVideoCodec::None;
        let settings = Settings {
            subscribe_offer: SubscribeOffer::Server,
            ..Settings::default()
        };
        Stage::with(settings, properties)
    }

    /// The publisher's offer without VP8.
    fn without_vp8() -> String {
        PUBLISHER_OFFER.replace("VP8/90000", "VP7/90000")
    }

    /// The offer that was made last, to whomever.
    fn offered(stage: &Stage) -> String {
        let mut offers = stage.effects.iter().filter_map(|effect| match effect {
            Effect::Reply {
                outcome: Ok(Reply::Offer(offer)),
                ..
            } => Some(offer.clone()),
            Effect::Notify { notification, .. } => match &**notification {
                Notification::ForciblyReconnectSubscriber { offer, .. } => Some(offer.clone()),
                _ => None,
            },
            _ => None,
        });
        offers.next_back().expect("an offer")
    }

    #[test]
    fn a_publisher_gets_another_transport_under_the_same_id_and_nobody_is_told() {
        let (mut stage, stream) = call();
        stage.advance(Duration::from_secs(7));
        for (request, lines) in [
            (
                text(&stream, PUBLISHER_OFFER),
                ["media: publisher 3, replacing 1", "A <= published"],
            ),
            (
                offer(&stream, PUBLISHER_OFFER),
                ["media: publisher 4, replacing 3", "A <= published"],
            ),
        ] {
            assert_eq!(stage.ask('A', request), lines);
        }
        assert_eq!(stream_of(&stage, 'A'), stream);
        let shown = stage.core.connection_view("con_A").unwrap();
        assert_eq!(shown.publishers.unwrap()[0].created_at, 8000);
        let shown = stage.core.connection_view("con_B").unwrap();
        assert_eq!(shown.subscribers.unwrap()[0].created_at, 1000);
        // What ends later ends once.
        assert_eq!(
            stage.ask('A', Request::Leave),
            [
                "media: close 2",
                "media: close 4",
                "B <- left con_A, disconnect",
                "A <= done",
                "A released"
            ]
        );
    }

    #[test]
    fn a_subscriber_offers_again_or_is_offered_to_again() {
        let (mut stage, stream) = call();
        assert_eq!(
            stage.ask('B', offer(&stream, SUBSCRIBER_OFFER)),
            ["media: subscriber 3 of 1, replacing 2", "B <= answer"]
        );
        let prepare = Request::PrepareReceive {
            sender: stream.clone(),
        };
        assert_eq!(
            stage.ask('B', prepare),
            [
                "media: subscriber 4 of 1, offered, replacing 3",
                "B <= offer"
            ]
        );
        let answer = answer_to(&offered(&stage));
        assert_eq!(
            stage.ask('B', text(&stream, &answer)),
            ["media: answered 4", "B <= done"]
        );
        assert_eq!(stage.ask('B', text(&stream, &answer)), ["B <= error 303"]);
        // Its old transport had closed already, as browsers do first.
        stage.media(4, EventKind::Failed(FailureReason::ClosedByPeer));
        assert_eq!(
            stage.ask('B', offer(&stream, SUBSCRIBER_OFFER)),
            ["media: subscriber 5 of 1", "B <= answer"]
        );
    }

    #[test]
    fn errors_are_those_of_openvidu_and_change_nothing() {
        let (mut stage, stream) = call();
        let unknown = stage.ask('B', offer("str_CAM_x_con_A", SUBSCRIBER_OFFER));
        assert_eq!(unknown, ["B <= error 105"], "the id must be exact");
        let refusal = Refusal::UnknownStream {
            stream: "str_CAM_x_con_A".to_owned(),
            session: "S1".to_owned(),
        };
        assert_eq!(
            refusal.to_string(),
            "Stream 'str_CAM_x_con_A' does not exist in Session 'S1'"
        );
        let audio = scene::AUDIO_OFFER;
        for (name, request, error) in [
            ('A', text(&stream, "v=0"), 302),
            ('A', text(&stream, audio), 302),
            ('A', text(&stream, &without_vp8()), 800),
            ('B', offer(&stream, "v=0"), 302),
            (
                'B',
                offer(&stream, &SUBSCRIBER_OFFER.replace("VP8/", "VP7/")),
                800,
            ),
            ('B', text(&stream, "v=0"), 303),
        ] {
            assert_eq!(
                stage.ask(name, request),
                [format!("{name} <= error {error}")]
            );
            if error == 800 {
                let shown = format!("{:?}", stage.effects);
                assert!(shown.contains("reconnecting: true"), "{shown}");
            }
        }
        assert_eq!(stage.core.transports.len(), 2);
        stage.ask('A', Request::Unpublish);
        let gone = stage.ask('A', text(&stream, PUBLISHER_OFFER));
        assert_eq!(gone, ["A <= error 105"]);
    }

    #[test]
    fn a_stream_whose_browser_closed_its_end_or_fell_silent_can_be_reconnected() {
        for (why, patience) in [
            (FailureReason::ClosedByPeer, 10),
            (FailureReason::IceTimeout, 60),
            (FailureReason::DtlsTimeout, 60),
        ] {
            let (mut stage, stream) = call();
            assert_eq!(stage.media(1, EventKind::Failed(why)), NOTHING);
            stage.advance(Duration::from_secs(patience - 1));
            assert_eq!(
                stage.ask('A', text(&stream, PUBLISHER_OFFER)),
                ["media: publisher 3, replacing 1", "A <= published"],
                "{why:?}"
            );
            assert_eq!(stage.core.poll_timeout(), None);

            stage.media(3, EventKind::Failed(why));
            assert_eq!(stage.advance(Duration::from_secs(patience - 1)), NOTHING);
            assert_eq!(
                stage.advance(Duration::from_secs(1)),
                [
                    "media: close 2",
                    "media: close 3",
                    "A <- unpublished con_A, networkDisconnect",
                    "B <- unpublished con_A, networkDisconnect"
                ],
                "{why:?}"
            );
        }
    }

    #[test]
    fn who_is_away_can_explain_its_closed_transport_after_its_return() {
        let (mut stage, stream) = call();
        stage.media(1, EventKind::Failed(FailureReason::ClosedByPeer));
        stage.advance(Duration::from_secs(5));
        stage.lose('A', SocketEnd::Lost);
        assert_eq!(stage.advance(Duration::from_secs(9)), NOTHING);
        stage.reconnect('A', 'a', Some(vec![]));
        assert_eq!(stage.advance(Duration::from_secs(9)), NOTHING);
        assert_eq!(
            stage.ask('a', text(&stream, PUBLISHER_OFFER)),
            ["media: publisher 3, replacing 1", "a <= published"]
        );
    }

    #[test]
    fn subscribers_that_cannot_decode_the_new_codec_are_offered_a_transport_that_can() {
        let (mut stage, stream) = call_with(unforced());
        stage.join('C');
        assert_eq!(
            stage.ask('A', text(&stream, &without_vp8())),
            [
                "media: publisher 3, replacing 1",
                "A <= published",
                "media: subscriber 4 of 3, offered, replacing 2",
                "B <- offer con_A"
            ]
        );
        let answer = answer_to(&offered(&stage));
        assert_eq!(
            stage.ask('B', text(&stream, &answer)),
            ["media: answered 4", "B <= done"]
        );
        // It can decode that now, and its client waits for nothing.
        assert_eq!(
            stage.ask('A', text(&stream, &without_vp8())),
            ["media: publisher 5, replacing 3", "A <= published"]
        );

        // Who is away is told when it is back.
        stage.lose('B', SocketEnd::Lost);
        assert_eq!(
            stage.ask('A', text(&stream, PUBLISHER_OFFER)),
            [
                "media: publisher 6, replacing 5",
                "A <= published",
                "media: subscriber 7 of 6, offered, replacing 4"
            ]
        );
        assert_eq!(
            stage.reconnect('B', 'b', Some(vec![])),
            ["b <= reconnected", "b <- offer con_A"]
        );
    }

    #[test]
    fn the_answer_to_an_offer_of_other_media_does_not_end_the_subscription() {
        let (mut stage, stream) = call_with(unforced());
        let prepare = |sender: &str| Request::PrepareReceive {
            sender: sender.to_owned(),
        };
        let answer = |sender: &str, answer: &str| Request::ReceiveAnswer {
            sender: sender.to_owned(),
            answer: answer.to_owned(),
        };
        stage.ask('B', prepare(&stream));
        let first = answer_to(&offered(&stage));
        stage.ask('A', Request::Unpublish);
        let publish = PublishVideo {
            offer: scene::AUDIO_OFFER.to_owned(),
            has_video: false,
            ..scene::publish_video()
        };
        stage.ask('A', Request::Publish(Box::new(publish)));
        let stream = stream_of(&stage, 'A');
        stage.ask('B', prepare(&stream));
        let second = answer_to(&offered(&stage));
        assert_eq!(stage.ask('B', answer(&stream, &first)), ["B <= error 303"]);
        assert_eq!(
            stage.ask('B', answer(&stream, &second)),
            ["media: answered 5", "B <= done"]
        );
    }

    #[test]
    fn the_answer_to_an_offer_that_was_replaced_is_refused_and_the_later_one_counts() {
        let (mut stage, stream) = call_with(unforced());
        let prepare = Request::PrepareReceive {
            sender: stream.clone(),
        };
        stage.ask('B', prepare.clone());
        let first = answer_to(&offered(&stage));
        stage.ask('B', prepare);
        let second = answer_to(&offered(&stage));
        let answer = |answer: &str| Request::ReceiveAnswer {
            sender: stream.clone(),
            answer: answer.to_owned(),
        };
        assert_eq!(stage.ask('B', answer(&first)), ["B <= error 303"]);
        let refusing = first
            .replace("m=audio 9", "m=audio 0")
            .replace("m=video 9", "m=video 0");
        assert_eq!(stage.ask('B', answer(&refusing)), ["B <= error 303"]);
        assert_eq!(
            stage.ask('B', answer(&second)),
            ["media: answered 4", "B <= done"]
        );
    }

    #[test]
    fn a_stream_is_reconnected_with_the_media_it_was_announced_with() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.ask(
            'A',
            Request::Publish(Box::new(PublishVideo {
                offer: scene::AUDIO_OFFER.to_owned(),
                has_video: false,
                ..scene::publish_video()
            })),
        );
        let stream = stream_of(&stage, 'A');
        assert_eq!(
            stage.ask('A', text(&stream, PUBLISHER_OFFER)),
            ["media: publisher 2, replacing 1", "A <= published"],
            "more than was announced is not shown"
        );
        let shown = stage
            .core
            .connection_view("con_A")
            .unwrap()
            .publishers
            .unwrap();
        assert!(!shown[0].media_options.has_video);
    }
}
