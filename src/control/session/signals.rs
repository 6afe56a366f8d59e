//! Signals: messages among participants (`openvidu-signalling` sections 8.9, 9.9).

use std::collections::BTreeSet;

use super::command::Signal;
use super::core::{Caller, Session};
use super::notification::Notification;
use super::participant::Participant;
use super::refusal::Refusal;

impl Session {
    /// `sendMessage`: the recipients, the sender included in a broadcast, hear it before the sender is answered.
    /// One unknown recipient and nobody hears it.
    pub(super) fn signal(&mut self, caller: &Caller, signal: Signal) -> Result<(), Refusal> {
        let to: BTreeSet<&str> = signal.to.iter().map(String::as_str).collect();
        let is_meant =
            |member: &Participant| to.is_empty() || to.contains(member.connection().as_str());
        let meant = self.members.iter().filter(|member| is_meant(member));
        if meant.count() < to.len() {
            return Err(Refusal::SignalRecipientUnknown);
        }
        let message = Notification::SendMessage {
            data: signal.data,
            kind: signal.kind,
            from: Some(caller.connection.clone()),
        };
        self.notify_those(is_meant, message);
        self.done(caller);
        Ok(())
    }
}
