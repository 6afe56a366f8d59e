//! Methods that are known but not served, and who may not even ask (`openvidu-signalling` sections 6, 8.12 to 8.15).

use super::command::UnservedMethod;
use super::core::{Caller, Session};
use super::properties::Role;
use super::refusal::Refusal;

impl Session {
    /// Why a method that is known but not served is refused; what the role forbids comes first.
    pub(super) fn refuse_unserved(&self, caller: &Caller, method: UnservedMethod) -> Refusal {
        let role = self
            .caller(caller)
            .map(|member| member.token.properties.role);
        let for_moderators = |action, otherwise| {
            if role == Ok(Role::Moderator) {
                otherwise
            } else {
                Refusal::Unauthorized { action }
            }
        };
        match method {
            UnservedMethod::ForceDisconnect => {
                for_moderators("force disconnect", Refusal::Unavailable("forceDisconnect"))
            }
            UnservedMethod::ForceUnpublish => {
                for_moderators("force unpublish", Refusal::Unavailable("forceUnpublish"))
            }
            UnservedMethod::ReconnectStream => Refusal::Unavailable("reconnectStream"),
            UnservedMethod::ApplyFilter => {
                for_moderators("apply filter", Refusal::FiltersUnsupported)
            }
            UnservedMethod::RemoveFilter => {
                for_moderators("remove filter", Refusal::FiltersUnsupported)
            }
            UnservedMethod::ExecFilterMethod => {
                for_moderators("execute filter method", Refusal::FiltersUnsupported)
            }
            UnservedMethod::AddFilterEventListener => {
                for_moderators("add filter event listener", Refusal::FiltersUnsupported)
            }
            UnservedMethod::RemoveFilterEventListener => {
                for_moderators("remove filter event listener", Refusal::FiltersUnsupported)
            }
            UnservedMethod::SpeechToText => Refusal::SpeechToText,
        }
    }
}
