//! Signals: messages among participants (`openvidu-signalling` sections 8.9, 9.9).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::command::Signal;
use super::core::{Caller, Session};
use super::notification::Notification;
use super::refusal::Refusal;

impl Session {
    /// `sendMessage`: the recipients, the sender included in a broadcast, hear it before the sender is answered.
    /// One unknown recipient and nobody hears it.
    pub(super) fn signal(&mut self, caller: &Caller, signal: Signal) -> Result<(), Refusal> {
        let to: BTreeSet<&str> = signal.to.iter().map(String::as_str).collect();
        if to.iter().any(|id| self.member(id).is_none()) {
            return Err(Refusal::SignalRecipientUnknown);
        }
        let message = Arc::new(Notification::SendMessage {
            data: signal.data,
            kind: signal.kind,
            from: Some(caller.connection.clone()),
        });
        let recipients: Vec<_> = self
            .members
            .iter()
            .filter(|member| to.is_empty() || to.contains(member.connection().as_str()))
            .filter_map(super::participant::Participant::socket)
            .collect();
        for socket in recipients {
            self.notify(socket, message.clone());
        }
        self.done(caller);
        Ok(())
    }
}
