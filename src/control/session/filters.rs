//! Media filters: they need decoded media, which an SFU never has, so that every request ends in an error that clients
//! understand (`openvidu-signalling` sections 6, 8.14).

use super::command::{FilterAction, FilterRequest};
use super::core::{Caller, Session};
use super::identifiers::owner_in;
use super::participant::Participant;
use super::refusal::Refusal;

impl Session {
    /// The five methods on filters: first what the role forbids, then what is wrong with the request, then what nobody
    /// can do. Only `removeFilterEventListener` of a stream that nobody publishes succeeds, as in OpenVidu.
    pub(super) fn filter(
        &mut self,
        caller: &Caller,
        request: &FilterRequest,
    ) -> Result<(), Refusal> {
        let member = self.caller(caller)?;
        let may = member.may_moderate()
            || (member.owns(&request.stream)
                && match &request.action {
                    FilterAction::Apply { kind, .. } => allows(member, kind),
                    FilterAction::Remove
                    | FilterAction::Execute
                    | FilterAction::AddListener
                    | FilterAction::RemoveListener => true,
                });
        if !may {
            return Err(Refusal::Unauthorized {
                action: name(&request.action),
            });
        }
        if let FilterAction::Apply {
            has_good_options: false,
            ..
        } = request.action
        {
            return Err(Refusal::FilterOptionsMalformed);
        }
        match (self.publisher_of(&request.stream), &request.action) {
            (Some(_), FilterAction::Apply { .. }) => Err(Refusal::FiltersUnsupported),
            (Some(user), _) => Err(Refusal::NoFilter {
                user,
                session: self.id.clone(),
            }),
            (None, _) if self.is_silent(owner_in(&request.stream)) => {
                Err(Refusal::UserNotStreaming {
                    user: owner_in(&request.stream).into(),
                    session: self.id.clone(),
                })
            }
            (None, FilterAction::RemoveListener) => {
                self.done(caller);
                Ok(())
            }
            (None, FilterAction::AddListener) => Err(Refusal::ListenedStreamNotFound {
                stream: request.stream.clone(),
                session: self.id.clone(),
            }),
            (None, _) => Err(Refusal::StreamOwnerNotFound {
                stream: request.stream.clone(),
                session: self.id.clone(),
            }),
        }
    }

    /// Whether this participant is here and publishes nothing.
    fn is_silent(&self, connection: &str) -> bool {
        self.member(connection)
            .is_some_and(|member| member.publication.is_none())
    }
}

/// A filter at publish time: what the token does not allow is refused before what nobody can do (section 8.3).
pub(super) fn refuse_at_publish(publisher: &Participant, filter: &str) -> Refusal {
    if publisher.may_moderate() || allows(publisher, filter) {
        Refusal::FiltersUnsupported
    } else {
        Refusal::FilterNotAllowed {
            connection: publisher.connection().clone(),
            filter: filter.to_owned(),
        }
    }
}

/// Whether the token's `allowedFilters` name this one.
fn allows(member: &Participant, filter: &str) -> bool {
    let options = member.token.properties.kurento_options.as_ref();
    options.is_some_and(|options| options.allowed_filters.iter().any(|name| name == filter))
}

/// How OpenVidu's refusal calls it.
const fn name(action: &FilterAction) -> &'static str {
    match action {
        FilterAction::Apply { .. } => "apply filter",
        FilterAction::Remove => "remove filter",
        FilterAction::Execute => "execute filter method",
        FilterAction::AddListener => "add filter event listener",
        FilterAction::RemoveListener => "remove filter event listener",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::command::Request;
    use crate::control::session::effect::Effect;
    use crate::control::session::properties::{KurentoOptions, Role};
    use crate::control::session::scene::{self, Stage, stream_of};

    fn apply(kind: &str, has_good_options: bool) -> FilterAction {
        FilterAction::Apply {
            kind: kind.to_owned(),
            has_good_options,
        }
    }

    fn ask(stage: &mut Stage, name: char, stream: &str, action: &FilterAction) -> String {
        let request = FilterRequest {
            stream: stream.to_owned(),
            action: action.clone(),
        };
        stage.ask(name, Request::Filter(request));
        match stage.effects.as_slice() {
            [
                Effect::Reply {
                    outcome: Err(refusal),
                    ..
                },
            ] => format!("{}: {refusal}", refusal.code()),
            [Effect::Reply { outcome: Ok(_), .. }] => "done".to_owned(),
            other => panic!("one answer and nothing else, but {other:?}"),
        }
    }

    /// A moderator M, a publisher P whose token allows one filter, a publisher Q, a subscriber S; M and Q publish too.
    fn stage() -> Stage {
        let mut stage = Stage::new();
        stage.join_as('M', Role::Moderator);
        let mut properties = scene::connection(Role::Publisher);
        properties.data = r#"{"openviduCustomConnectionId":"P"}"#.to_owned();
        properties.kurento_options = Some(KurentoOptions {
            allowed_filters: vec!["GStreamerFilter".to_owned()],
            ..KurentoOptions::default()
        });
        let at = stage.moment();
        let created = stage.core.create_connection(at, properties).unwrap();
        stage.join_with('P', &created.token.unwrap());
        stage.join('Q');
        stage.join_as('S', Role::Subscriber);
        for name in ['M', 'P', 'Q'] {
            stage.publish(name);
        }
        stage
    }

    #[test]
    fn everyone_may_ask_for_what_the_role_and_the_token_allow_and_for_nothing_else() {
        let mut stage = stage();
        let [own_m, own_p, own_q] = ['M', 'P', 'Q'].map(|name| stream_of(&stage, name));
        let unsupported = "406: Media filters are not supported";
        for (name, stream, action, answer) in [
            ('M', &own_m, apply("any", true), unsupported),
            ('M', &own_p, apply("any", true), unsupported),
            ('P', &own_p, apply("GStreamerFilter", true), unsupported),
            ('P', &own_p, apply("ZBarFilter", true), "401: apply"),
            ('P', &own_q, apply("GStreamerFilter", true), "401: apply"),
            ('Q', &own_q, apply("GStreamerFilter", true), "401: apply"),
            ('S', &own_p, apply("GStreamerFilter", true), "401: apply"),
            ('S', &own_p, FilterAction::Remove, "401: remove"),
            ('P', &own_q, FilterAction::Remove, "401: remove"),
            ('P', &own_q, FilterAction::Execute, "401: execute"),
        ] {
            let expected = match answer.split_once(": ") {
                Some(("401", verb)) => {
                    let what = match verb {
                        "execute" => "execute filter method".to_owned(),
                        verb => format!("{verb} filter"),
                    };
                    format!("401: Unable to {what}. The user does not have a valid token")
                }
                _ => answer.to_owned(),
            };
            assert_eq!(
                ask(&mut stage, name, stream, &action),
                expected,
                "{name} {stream} {action:?}"
            );
        }
        for action in [
            FilterAction::Remove,
            FilterAction::Execute,
            FilterAction::AddListener,
            FilterAction::RemoveListener,
        ] {
            for name in ['M', 'P'] {
                assert_eq!(
                    ask(&mut stage, name, &own_p, &action),
                    "406: User 'con_P has no filter applied in session 'S1'. Media filters are not supported"
                );
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_the_order_of_openvidu() {
        let mut stage = stage();
        let stream = stream_of(&stage, 'P');
        stage.ask('P', Request::Unpublish);
        let bad_options = apply("any", false);
        let options = "406: 'options' parameter is not a JSON object: it must be the text of one";
        assert_eq!(ask(&mut stage, 'M', "none", &bad_options), options);
        assert!(
            ask(&mut stage, 'P', "none", &bad_options).starts_with("401: "),
            "the role comes before the options"
        );
        for action in [
            apply("any", true),
            FilterAction::Remove,
            FilterAction::Execute,
            FilterAction::AddListener,
            FilterAction::RemoveListener,
        ] {
            assert_eq!(
                ask(&mut stage, 'M', &stream, &action),
                "105: User 'con_P not streaming media in session 'S1'"
            );
            assert!(
                ask(&mut stage, 'P', &stream, &action).starts_with("401: Unable to "),
                "it owns the stream no more"
            );
            let expected = match action {
                FilterAction::RemoveListener => "done",
                FilterAction::AddListener => {
                    "102: Not user found for streamId 'none' in session 'S1'"
                }
                FilterAction::Apply { .. } | FilterAction::Remove | FilterAction::Execute => {
                    "102: Owner of stream 'none' not found in session 'S1'"
                }
            };
            assert_eq!(ask(&mut stage, 'M', "none", &action), expected);
        }
    }
}
