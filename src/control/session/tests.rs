//! The order rules and error codes of a session, without sockets.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each test picks the effects that it is about"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::candidates::CANDIDATES_MAX;
use super::command::{Hidden, PropertyChange, PublishVideo, Request, Signal, StreamProperty};
use super::effect::Effect;

use super::properties::{KurentoOptions, Role};
use super::refusal::Refusal;
use super::reply::Reply;
use super::scene::{self, PUBLISHER_OFFER, SUBSCRIBER_OFFER, Stage, answer_to, joined};
use super::settings::{Limits, Settings};
use crate::media::plane::{Command, Event, EventKind, FailureReason, TransportId};
use crate::units::{Bitrate, ForcedVideoCodec, IceServer, Secret, SubscribeOffer, turn_credential};

const NOTHING: [&str; 0] = [];

fn refusal(stage: &Stage) -> &Refusal {
    match stage.effects.last() {
        Some(Effect::Reply {
            outcome: Err(refusal),
            ..
        }) => refusal,
        other => panic!("no refusal but {other:?}"),
    }
}

fn failed(transport: u64, reason: FailureReason) -> Event {
    Event {
        transport: Some(TransportId(transport)),
        kind: EventKind::Failed(reason),
    }
}

fn to_everyone(data: &str) -> Request {
    signal(&[], data)
}

fn signal(to: &[&str], data: &str) -> Request {
    Request::Signal(Signal {
        to: to.iter().map(|id| (*id).to_owned()).collect(),
        data: Some(data.to_owned()),
        kind: Some("signal:chat".to_owned()),
    })
}

#[test]
fn those_present_hear_of_a_joiner_before_it_is_answered() {
    let mut stage = Stage::new();
    assert_eq!(stage.join('A'), ["A <= joined"]);
    assert_eq!(stage.join('B'), ["A <- joined con_B", "B <= joined"]);
    assert_eq!(
        stage.join('C'),
        ["A <- joined con_C", "B <- joined con_C", "C <= joined"]
    );
    let members: Vec<&str> = joined(&stage)
        .members
        .iter()
        .map(|(member, _)| member.connection.as_str())
        .collect();
    assert_eq!(members, ["con_A", "con_B"], "never the joiner itself");
}

#[test]
fn a_publisher_is_answered_after_its_transport_opens_and_before_others_hear_of_it() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.join('C');
    assert_eq!(
        stage.publish('A'),
        [
            "media: publisher 1",
            "A <= published",
            "B <- published con_A",
            "C <- published con_A"
        ]
    );
}

#[test]
fn subscribing_opens_the_transport_before_the_answer_and_tells_nobody() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    assert_eq!(
        stage.subscribe('B', 'A'),
        ["media: subscriber 2 of 1", "B <= answer"]
    );
    let again = stage.subscribe('B', 'A');
    assert_eq!(
        again,
        ["media: subscriber 3 of 1, replacing 2", "B <= answer"],
        "a second subscription replaces the first"
    );
    let unsubscribe = Request::Unsubscribe {
        sender: "con_A".to_owned(),
    };
    assert_eq!(
        stage.ask('B', unsubscribe.clone()),
        ["media: close 3", "B <= done"]
    );
    assert_eq!(stage.ask('B', unsubscribe), ["B <= done"]);
}

#[test]
fn a_failed_resubscription_leaves_the_first_one_alone() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    stage.subscribe('B', 'A');
    let broken = Request::ReceiveOffer {
        sender: "con_A".to_owned(),
        offer: "v=0".to_owned(),
    };
    assert_eq!(stage.ask('B', broken), ["B <= error 302"]);
    let shown = stage.core.connection_view("con_B").unwrap();
    assert_eq!(shown.subscribers.unwrap().len(), 1);
}

#[test]
fn the_server_offers_and_the_answer_completes_the_subscription() {
    let settings = Settings {
        subscribe_offer: SubscribeOffer::Server,
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, scene::properties());
    stage.join('A');
    assert_eq!(joined(&stage).subscribe_offer, SubscribeOffer::Server);
    stage.join('B');
    stage.publish('A');
    let prepare = Request::PrepareReceive {
        sender: "con_A".to_owned(),
    };
    assert_eq!(
        stage.ask('B', prepare.clone()),
        ["media: subscriber 2 of 1, offered", "B <= offer"]
    );
    let subscribers = |stage: &Stage| {
        let shown = stage.core.connection_view("con_B").unwrap();
        shown.subscribers.unwrap().len()
    };
    assert_eq!(subscribers(&stage), 0, "not before the answer");
    let Some(Effect::Reply {
        outcome: Ok(Reply::Offer(offer)),
        ..
    }) = stage.effects.last()
    else {
        panic!("no offer");
    };
    let answer = Request::ReceiveAnswer {
        sender: "con_A".to_owned(),
        answer: answer_to(offer),
    };
    assert_eq!(
        stage.ask('B', answer.clone()),
        ["media: answered 2", "B <= done"]
    );
    assert_eq!(subscribers(&stage), 1);
    assert_eq!(stage.ask('B', answer), ["B <= error 303"], "only once");

    stage.ask('B', prepare);
    let refused = Request::ReceiveAnswer {
        sender: "con_A".to_owned(),
        answer: "nonsense".to_owned(),
    };
    assert_eq!(
        stage.ask('B', refused),
        ["media: close 3", "B <= error 302"]
    );
}

#[test]
fn unpublishing_ends_the_subscriptions_and_the_connection_may_publish_again() {
    let mut stage = Stage::new();
    for name in ['A', 'B', 'C'] {
        stage.join(name);
    }
    stage.publish('A');
    stage.subscribe('B', 'A');
    let first = stage.core.connection_view("con_A").unwrap();
    assert_eq!(
        stage.ask('A', Request::Unpublish),
        [
            "media: close 2",
            "media: close 1",
            "B <- unpublished con_A, unpublish",
            "C <- unpublished con_A, unpublish",
            "A <= done"
        ]
    );
    assert_eq!(stage.ask('A', Request::Unpublish), ["A <= error 105"]);
    stage.publish('A');
    let second = stage.core.connection_view("con_A").unwrap();
    let stream = |shown: crate::views::openvidu::Connection| {
        shown.publishers.unwrap().first().unwrap().stream_id.clone()
    };
    let (first, second) = (stream(first), stream(second));
    assert_ne!(first, second);

    let stale = Request::ReceiveOffer {
        sender: first,
        offer: SUBSCRIBER_OFFER.to_owned(),
    };
    assert_eq!(
        stage.ask('B', stale),
        ["media: subscriber 4 of 3", "B <= answer"],
        "a stale stream id finds the new stream"
    );
}

#[test]
fn the_others_hear_of_a_leaver_before_it_is_answered_and_the_last_one_ends_the_session() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.token('Z', Role::Publisher);
    stage.publish('A');
    stage.publish('B');
    stage.subscribe('A', 'B');
    stage.subscribe('B', 'A');
    assert_eq!(
        stage.ask('A', Request::Leave),
        [
            "media: close 4",
            "media: close 3",
            "media: close 1",
            "B <- left con_A, disconnect",
            "A <= done",
            "A released"
        ]
    );
    assert_eq!(
        stage.ask('A', to_everyone("late")),
        ["A <= error 102"],
        "whoever left is answered"
    );
    assert_eq!(
        stage.ask('B', Request::Leave),
        [
            "media: close 2",
            "B <= done",
            "B released",
            "media: close room",
            "ended"
        ]
    );
    assert!(stage.core.has_ended());
    assert_eq!(stage.ask('B', to_everyone("late")), ["B <= error 203"]);
    assert_eq!(*stage.turn.revoked.lock().unwrap(), ["user-1", "user-2"]);
}

#[test]
fn an_evicted_participant_has_left_for_the_others_before_anyone_hears_of_the_eviction() {
    let mut stage = Stage::new();
    for name in ['A', 'B', 'C'] {
        stage.join(name);
    }
    let at = stage.moment();
    assert!(
        stage
            .core
            .delete_connection(at, "con_A", "forceDisconnectByServer")
    );
    assert_eq!(
        stage.transcript(),
        [
            "B <- left con_A, forceDisconnectByServer",
            "C <- left con_A, forceDisconnectByServer",
            "A <- evicted con_A, forceDisconnectByServer",
            "A released",
            "B <- evicted con_A, forceDisconnectByServer",
            "C <- evicted con_A, forceDisconnectByServer"
        ]
    );
    assert!(
        !stage
            .core
            .delete_connection(at, "con_A", "forceDisconnectByServer")
    );
}

#[test]
fn closing_tells_everyone_of_its_own_eviction_and_voids_the_tokens() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    let unused = stage.token('C', Role::Publisher);
    stage.publish('A');
    stage.core.close("sessionClosedByServer");
    assert_eq!(
        stage.transcript(),
        [
            "media: close 1",
            "A <- evicted con_A, sessionClosedByServer",
            "A released",
            "B <- evicted con_B, sessionClosedByServer",
            "B released",
            "media: close room",
            "ended"
        ]
    );
    assert_eq!(stage.join_with('C', &unused), ["C <= error 203"]);
    assert!(stage.core.connection_views(true).is_empty());
}

#[test]
fn a_token_admits_once_into_its_own_session_and_nothing_else_admits() {
    let mut stage = Stage::new();
    let token = stage.token('A', Role::Publisher);
    let foreign = token.replace("sessionId=S1", "sessionId=S2");
    let mut wrong = token.clone();
    wrong.pop();
    wrong.push('_');
    for bad in [&foreign, &wrong, "", "tok_", "wss://h?sessionId=S1&token="] {
        assert_eq!(stage.join_with('A', bad), ["A <= error 401"], "{bad}");
        let text = refusal(&stage).to_string();
        assert_eq!(
            text,
            format!("Unable to join session S1. Token {bad} is not valid")
        );
    }
    assert_eq!(stage.core.connection_views(false).len(), 0);
    assert_eq!(stage.join_with('A', &token), ["A <= joined"]);
    assert_eq!(stage.join_with('B', &token), ["B <= error 401"]);
    assert_eq!(stage.join_with('A', &token), ["A <= error 104"]);
    assert_eq!(stage.core.connection_views(true).len(), 1);
}

#[test]
fn a_session_that_is_full_or_has_no_room_keeps_the_token() {
    let settings = Settings {
        limits: Limits {
            members: 1,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, scene::properties());
    stage.join('A');
    let token = stage.token('B', Role::Publisher);
    assert_eq!(stage.join_with('B', &token), ["B <= error 201"]);
    stage.core.handle_media_event(
        stage.moment(),
        Event {
            transport: None,
            kind: EventKind::RoomFailed,
        },
    );
    assert_eq!(stage.core.connection_views(true).len(), 2);

    let mut stage = Stage::new();
    stage.core.home = None;
    let token = stage.token('A', Role::Publisher);
    assert_eq!(stage.join_with('A', &token), ["A <= error 204"]);
    assert_eq!(stage.core.connection_views(true).len(), 1);
}

#[test]
fn unused_tokens_of_one_session_are_bounded() {
    let settings = Settings {
        limits: Limits {
            pending: 2,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, scene::properties());
    let first = stage.token('A', Role::Publisher);
    stage.token('B', Role::Publisher);
    let create = |stage: &mut Stage| {
        let at = stage.moment();
        let properties = scene::connection(Role::Publisher);
        stage.core.create_connection(at, properties).is_ok()
    };
    assert!(!create(&mut stage));
    assert_eq!(stage.join_with('A', &first), ["A <= joined"]);
    assert!(create(&mut stage), "a used token makes room");
    assert!(!create(&mut stage));
    let at = stage.moment();
    assert!(
        stage
            .core
            .delete_connection(at, "con_B", "forceDisconnectByServer")
    );
    assert!(create(&mut stage), "a deleted one too");
}

#[test]
fn subscriptions_of_one_participant_are_bounded() {
    let settings = Settings {
        limits: Limits {
            subscriptions: 1,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, scene::properties());
    for name in ['A', 'B', 'C'] {
        stage.join(name);
        stage.publish(name);
    }
    assert_eq!(
        stage.subscribe('C', 'A'),
        ["media: subscriber 4 of 1", "C <= answer"]
    );
    assert_eq!(stage.subscribe('C', 'B'), ["C <= error 303"]);
    assert_eq!(
        stage.subscribe('C', 'A'),
        ["media: subscriber 6 of 1, replacing 4", "C <= answer"],
        "replacing one is not one more"
    );
}

#[test]
fn only_publishers_and_moderators_publish_and_each_one_stream() {
    let mut stage = Stage::new();
    stage.join_as('S', Role::Subscriber);
    stage.join_as('P', Role::Publisher);
    stage.join_as('M', Role::Moderator);
    assert_eq!(stage.publish('S'), ["S <= error 401"]);
    assert_eq!(
        refusal(&stage).to_string(),
        "Unable to publish video. The user does not have a valid token"
    );
    assert_eq!(stage.publish('P').len(), 4);
    assert_eq!(stage.publish('M').len(), 4);
    assert_eq!(stage.publish('P'), ["P <= error 106"]);
    assert_eq!(
        refusal(&stage).to_string(),
        "User con_P is already publishing in session S1"
    );
}

#[test]
fn subscribing_to_who_is_not_there_does_not_publish_or_is_oneself_fails() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    assert_eq!(stage.subscribe('B', 'X'), ["B <= error 102"]);
    assert_eq!(
        refusal(&stage).to_string(),
        "User 'con_X not found in session 'S1'"
    );
    assert_eq!(stage.subscribe('B', 'A'), ["B <= error 105"]);
    assert_eq!(
        refusal(&stage).to_string(),
        "User 'con_A not streaming media in session 'S1'"
    );
    stage.publish('B');
    assert_eq!(stage.subscribe('B', 'B'), ["B <= error 105"]);
    let unsubscribe = Request::Unsubscribe {
        sender: "con_X".to_owned(),
    };
    assert_eq!(stage.ask('B', unsubscribe), ["B <= error 102"]);
    assert_eq!(
        refusal(&stage).to_string(),
        "User con_X not found in session S1"
    );
}

#[test]
fn a_forced_codec_that_is_not_offered_is_error_800_with_the_description_in_it() {
    let mut properties = scene::properties();
    properties.forced_video_codec = ForcedVideoCodec::Forced(crate::units::Codec::H264);
    let mut stage = Stage::with(Settings::default(), properties);
    stage.join('A');
    let offer = PUBLISHER_OFFER.replace("H264/90000", "H265/90000");
    let publish = PublishVideo {
        offer: offer.clone(),
        ..scene::publish_video()
    };
    assert_eq!(
        stage.ask('A', Request::Publish(Box::new(publish))),
        ["A <= error 800"]
    );
    let text = refusal(&stage).to_string();
    assert!(
        text.starts_with(
            "Error forcing codec: 'H264', for PARTICIPANT: 'con_A' in Session: 'S1'. Is publishing: 'true'. \
             Is Subscriber: 'false'. Is Reconnecting: 'false'.\nException: "
        ),
        "{text}"
    );
    assert!(text.ends_with(&format!("\nSDP:\n{offer}")), "{text}");
    assert!(
        stage
            .core
            .connection_view("con_A")
            .unwrap()
            .publishers
            .unwrap()
            .is_empty()
    );
}

#[test]
fn only_the_media_that_are_announced_and_negotiated_are_shown() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    let audio = PublishVideo {
        offer: scene::AUDIO_OFFER.to_owned(),
        ..scene::publish_video()
    };
    stage.ask('A', Request::Publish(Box::new(audio.clone())));
    let shown = stage.core.connection_view("con_A").unwrap();
    let published = &shown.publishers.unwrap()[0];
    assert!(published.stream_id.starts_with("str_MIC_"));
    let options = serde_json::to_value(&published.media_options).unwrap();
    assert_eq!(
        options,
        serde_json::json!({"hasAudio": true, "audioActive": true, "hasVideo": false, "filter": {}})
    );
    let nothing = PublishVideo {
        has_audio: false,
        has_video: true,
        ..audio
    };
    assert_eq!(
        stage.ask('B', Request::Publish(Box::new(nothing))),
        ["B <= error 302"]
    );
}

#[test]
fn bandwidth_limits_come_from_the_connection_else_from_the_configuration_and_zero_is_none() {
    let limits = |options: Option<KurentoOptions>| {
        let settings = Settings {
            video_max_send: Bitrate::from_kbps(900),
            ..Settings::default()
        };
        let mut stage = Stage::with(settings, scene::properties());
        for name in ['A', 'B'] {
            let mut properties = scene::connection(Role::Publisher);
            properties.data = format!(r#"{{"openviduCustomConnectionId":"{name}"}}"#);
            properties.kurento_options = options.clone();
            let at = stage.moment();
            let token = stage.core.create_connection(at, properties);
            stage.join_with(name, &token.unwrap().token.unwrap());
        }
        let command = |stage: &Stage| {
            stage.effects.iter().find_map(|effect| match effect {
                Effect::Media(command) => Some(command.clone()),
                _ => None,
            })
        };
        stage.publish('A');
        let Some(Command::OpenPublisher(publisher)) = command(&stage) else {
            panic!("{:?}", stage.effects)
        };
        stage.subscribe('B', 'A');
        let Some(Command::OpenSubscriber(subscriber)) = command(&stage) else {
            panic!("{:?}", stage.effects)
        };
        (publisher.max_receive, subscriber.max_send)
    };
    let kbps = |rate| Some(Bitrate::from_kbps(rate));
    assert_eq!(limits(None), (kbps(1000), kbps(900)));
    let own = KurentoOptions {
        video_max_recv: kbps(0),
        ..KurentoOptions::default()
    };
    assert_eq!(limits(Some(own)), (None, kbps(900)));
    let own = KurentoOptions {
        video_max_send: kbps(0),
        ..KurentoOptions::default()
    };
    assert_eq!(limits(Some(own)), (kbps(1000), None));
    let own = KurentoOptions {
        video_max_send: kbps(100),
        video_min_recv: kbps(300),
        video_min_send: kbps(300),
        ..KurentoOptions::default()
    };
    assert_eq!(
        limits(Some(own)).1,
        kbps(100),
        "a maximum beats any minimum"
    );
}

#[test]
fn filters_are_refused_for_want_of_permission_before_want_of_support() {
    let mut stage = Stage::new();
    stage.join_as('P', Role::Publisher);
    stage.join_as('M', Role::Moderator);
    let filtered = || {
        let publish = PublishVideo {
            filter: Some("GStreamerFilter".to_owned()),
            ..scene::publish_video()
        };
        Request::Publish(Box::new(publish))
    };
    stage.ask('P', filtered());
    assert_eq!(
        refusal(&stage).to_string(),
        "Error applying filter for publishing user con_P. The token has no permissions to apply filter GStreamerFilter"
    );
    stage.ask('M', filtered());
    assert_eq!(refusal(&stage), &Refusal::FiltersUnsupported);
}

#[test]
fn a_broadcast_reaches_its_sender_too_and_before_the_answer() {
    let mut stage = Stage::new();
    for name in ['A', 'B', 'C'] {
        stage.join(name);
    }
    assert_eq!(
        stage.ask('B', to_everyone("hi")),
        [
            "A <- signal hi from con_B",
            "B <- signal hi from con_B",
            "C <- signal hi from con_B",
            "B <= done"
        ]
    );
    assert_eq!(
        stage.ask('B', signal(&["con_C", "con_C"], "psst")),
        ["C <- signal psst from con_B", "B <= done"],
        "duplicates collapse"
    );
    assert_eq!(
        stage.ask('B', signal(&["con_C", "con_X"], "psst")),
        ["B <= error 601"],
        "one unknown recipient and nobody hears it"
    );
}

#[test]
fn property_changes_reach_the_others_and_later_joiners() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    let change = |change| {
        Request::StreamProperty(StreamProperty {
            change,
            reason: "publishVideo".to_owned(),
        })
    };
    let mute = || change(PropertyChange::VideoActive(false));
    assert_eq!(stage.ask('A', mute()), ["A <= error 105"]);
    stage.publish('A');
    assert_eq!(
        stage.ask('A', mute()),
        ["B <- property con_A VideoActive(false)", "A <= done"]
    );
    let dimensions = r#"{"width":1280,"height":720}"#;
    stage.ask(
        'A',
        change(PropertyChange::VideoDimensions(dimensions.to_owned())),
    );
    stage.ask(
        'A',
        change(PropertyChange::AudioTrack(r#"{"label":"x"}"#.to_owned())),
    );
    stage.join('C');
    let (_, stream) = &joined(&stage).members[0];
    let stream = stream.as_ref().unwrap();
    assert_eq!(
        (stream.audio_active, stream.video_active),
        (Some(true), Some(false))
    );
    assert_eq!(stream.video_dimensions.as_deref(), Some(dimensions));
}

#[test]
fn candidates_are_answered_counted_and_the_count_is_capped() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    stage.subscribe('B', 'A');
    for _ in 0..10_000 {
        for (name, owner) in [('A', "con_A"), ('B', "con_A"), ('B', "con_X"), ('B', "")] {
            let candidate = Request::IceCandidate {
                owner: owner.to_owned(),
            };
            assert_eq!(stage.ask(name, candidate), [format!("{name} <= done")]);
        }
    }
    let publisher = stage.core.member("con_A").unwrap().publication.as_ref();
    assert_eq!(publisher.unwrap().candidates, CANDIDATES_MAX);
    let subscriber = stage.core.member("con_B").unwrap();
    assert_eq!(subscriber.subscriptions["con_A"].candidates, CANDIDATES_MAX);
    assert_eq!(subscriber.subscriptions.len(), 1);
}

#[test]
fn a_session_that_nobody_joins_goes_silently() {
    let mut stage = Stage::new();
    stage.token('A', Role::Publisher);
    let due = stage.core.poll_timeout().unwrap();
    assert_eq!(due, stage.now + Duration::from_secs(3600));
    assert_eq!(stage.advance(Duration::from_secs(3599)), NOTHING);
    assert_eq!(
        stage.advance(Duration::from_secs(1)),
        ["media: close room", "ended"]
    );

    let mut stage = Stage::new();
    stage.join('A');
    assert_eq!(stage.core.poll_timeout(), None);
    assert_eq!(stage.advance(Duration::from_secs(10_000)), NOTHING);
}

#[test]
fn a_publication_that_fails_ends_for_everyone_its_publisher_included() {
    let mut stage = Stage::new();
    for name in ['A', 'B', 'C'] {
        stage.join(name);
    }
    stage.publish('A');
    stage.subscribe('B', 'A');
    let at = stage.moment();
    stage
        .core
        .handle_media_event(at, failed(1, FailureReason::DtlsFailed));
    assert_eq!(
        stage.transcript(),
        [
            "media: close 2",
            "media: close 1",
            "A <- unpublished con_A, networkDisconnect",
            "B <- unpublished con_A, networkDisconnect",
            "C <- unpublished con_A, networkDisconnect"
        ]
    );
    assert!(stage.publish('A').contains(&"A <= published".to_owned()));
    stage
        .core
        .handle_media_event(at, failed(99, FailureReason::Panicked));
    stage
        .core
        .handle_media_event(at, failed(1, FailureReason::Panicked));
    assert_eq!(
        stage.transcript(),
        NOTHING,
        "unknown and old transports are nobody's"
    );
}

#[test]
fn a_subscription_that_fails_is_told_to_its_subscriber_alone() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    stage.subscribe('B', 'A');
    let at = stage.moment();
    stage
        .core
        .handle_media_event(at, failed(2, FailureReason::DtlsFailed));
    assert_eq!(stage.transcript(), ["B <- media error"]);
    assert_eq!(
        stage.subscribe('B', 'A'),
        ["media: subscriber 3 of 1", "B <= answer"]
    );
    stage
        .core
        .handle_media_event(at, failed(3, FailureReason::ClosedByPeer));
    assert_eq!(stage.transcript(), NOTHING);
    let shown = stage.core.connection_view("con_B").unwrap();
    assert!(shown.subscribers.unwrap().is_empty());
}

#[test]
fn a_browser_that_closes_its_end_may_still_say_why() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    let at = stage.moment();
    stage
        .core
        .handle_media_event(at, failed(1, FailureReason::ClosedByPeer));
    assert_eq!(stage.transcript(), NOTHING);
    assert_eq!(
        stage.ask('A', Request::Unpublish),
        [
            "media: close 1",
            "B <- unpublished con_A, unpublish",
            "A <= done"
        ]
    );

    stage.publish('A');
    stage
        .core
        .handle_media_event(at, failed(2, FailureReason::ClosedByPeer));
    assert_eq!(
        stage.advance(Duration::from_secs(10)),
        [
            "media: close 2",
            "A <- unpublished con_A, networkDisconnect",
            "B <- unpublished con_A, networkDisconnect"
        ]
    );
    assert_eq!(stage.core.poll_timeout(), None);
}

#[test]
fn a_failed_room_ends_every_stream_but_no_participant_and_another_opens() {
    let mut stage = Stage::new();
    stage.join('A');
    stage.join('B');
    stage.publish('A');
    stage.publish('B');
    stage.subscribe('A', 'B');
    let at = stage.moment();
    assert!(!stage.core.needs_room());
    let event = Event {
        transport: None,
        kind: EventKind::RoomFailed,
    };
    stage.core.handle_media_event(at, event);
    assert_eq!(
        stage.transcript(),
        [
            "A <- unpublished con_A, mediaServerReconnect",
            "B <- unpublished con_A, mediaServerReconnect",
            "A <- unpublished con_B, mediaServerReconnect",
            "B <- unpublished con_B, mediaServerReconnect"
        ],
        "the worker has forgotten the transports: there is nothing to close"
    );
    assert!(stage.core.needs_room());
    let shown = stage.core.connection_view("con_A").unwrap();
    assert_eq!(
        (shown.publishers, shown.subscribers),
        (Some(vec![]), Some(vec![]))
    );
    assert_eq!(stage.publish('A'), ["A <= error 204"]);
    stage.move_in();
    assert_eq!(
        stage.publish('A'),
        [
            "media: publisher 1",
            "A <= published",
            "B <- published con_A"
        ]
    );
}

#[test]
fn ice_servers_come_from_the_connection_else_they_are_ours() {
    let server = |url: &str| crate::views::openvidu::IceServer {
        url: url.to_owned(),
        username: None,
        credential: None,
    };
    let urls = |own: &[&str]| {
        let mut stage = Stage::new();
        let mut properties = scene::connection(Role::Publisher);
        properties.custom_ice_servers = own.iter().map(|url| server(url)).collect();
        let at = stage.moment();
        let token = stage
            .core
            .create_connection(at, properties)
            .unwrap()
            .token
            .unwrap();
        stage.join_with('A', &token);
        let joined = joined(&stage);
        assert_eq!(joined.turn_username.as_deref(), Some("user-1"));
        let servers = joined.custom_ice_servers.iter();
        servers.map(|server| server.url.clone()).collect::<Vec<_>>()
    };
    assert_eq!(urls(&["stun:own"]), ["stun:own"]);
    assert_eq!(
        urls(&[]),
        ["turn:localhost:3478", "turn:localhost:3478?transport=tcp"]
    );
}

#[test]
fn who_joins_by_the_secret_gets_the_configured_ice_servers_with_credentials_of_its_own() {
    let configured = IceServer::new("turn:192.0.2.1", None, None, Some("north-wind")).unwrap();
    let mut stage = Stage::with(
        Settings {
            ice_servers: vec![configured],
            ..Settings::default()
        },
        scene::properties(),
    );
    let mut names = Vec::new();
    for (name, hidden) in [('R', Some(Hidden::Recorder)), ('A', None)] {
        stage.join_by_secret(name, hidden);
        let servers = joined(&stage).custom_ice_servers.clone();
        let [server] = servers.as_slice() else {
            panic!("{servers:?}");
        };
        assert_eq!(server.url, "turn:192.0.2.1");
        let username = server.username.clone().unwrap();
        let password = turn_credential::password(&Secret::new("north-wind"), &username);
        assert_eq!(server.credential.as_deref(), Some(password.as_str()));
        let expiry = turn_credential::expiry(&username);
        assert_eq!(expiry, Some(1 + turn_credential::LIFETIME_SECS));
        names.push(username);
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn metadata_joins_client_and_server_data_only_if_both_are_there() {
    let mut stage = Stage::new();
    stage.join('A');
    assert_eq!(
        joined(&stage).metadata,
        r#"client A%/%{"openviduCustomConnectionId":"A"}"#
    );
    let at = stage.moment();
    let token = stage
        .core
        .create_connection(at, scene::connection(Role::Publisher))
        .unwrap()
        .token
        .unwrap();
    stage.join_with('B', &token);
    assert_eq!(joined(&stage).metadata, "client B");
}

#[test]
fn custom_connection_ids_never_collide() {
    let mut stage = Stage::new();
    stage.token('A', Role::Publisher);
    stage.token('A', Role::Publisher);
    let views = stage.core.connection_views(true);
    let ids: BTreeSet<&str> = views.iter().map(|view| view.id.as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains("con_A"));
    assert!(ids.iter().all(|id| id.starts_with("con_A")));
}

#[test]
fn rest_sees_pending_and_active_connections_with_all_their_members() {
    let mut stage = Stage::new();
    stage.token('Z', Role::Subscriber);
    stage.join('A');
    stage.publish('A');
    let session = serde_json::to_value(stage.core.view(true)).unwrap();
    assert_eq!(session["connections"]["numberOfElements"], 2);
    let active = &session["connections"]["content"][0];
    let pending = &session["connections"]["content"][1];
    assert_eq!(
        (&active["status"], &pending["status"]),
        (&"active".into(), &"pending".into())
    );
    assert_eq!(active.as_object().unwrap().len(), 24);
    assert_eq!(pending.as_object().unwrap().len(), 24);
    assert_eq!(active["ip"], "127.0.0.1");
    assert_eq!(active["clientData"], "client A");
    assert_eq!(
        active["publishers"][0]["mediaOptions"]["typeOfVideo"],
        "CAMERA"
    );
    assert!(pending["publishers"].is_null());
    assert_eq!(stage.core.view(false).connections.number_of_elements, 1);
}
