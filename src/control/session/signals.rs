//! Signals: messages among participants (`openvidu-signalling` sections 8.9, 9.9).

use std::collections::BTreeSet;

use super::administration::SignalError;
use super::command::Signal;
use super::core::{Caller, Session};
use super::identifiers::ConnectionId;
use super::notification::Notification;
use super::participant::Participant;
use super::refusal::Refusal;

impl Session {
    /// `sendMessage`: the recipients, the sender included in a broadcast, hear it before the sender is answered.
    /// One unknown recipient and nobody hears it.
    pub(super) fn signal(&mut self, caller: &Caller, signal: Signal) -> Result<(), Refusal> {
        self.deliver(Some(&caller.connection), signal)
            .map_err(|_| Refusal::SignalRecipientUnknown)?;
        self.done(caller);
        Ok(())
    }

    /// Tells those who are named, or everyone.
    pub(super) fn deliver(
        &mut self,
        from: Option<&ConnectionId>,
        signal: Signal,
    ) -> Result<(), SignalError> {
        let to: BTreeSet<&str> = signal.to.iter().map(String::as_str).collect();
        let is_meant =
            |member: &Participant| to.is_empty() || to.contains(member.connection().as_str());
        let meant = self.members.iter().filter(|member| is_meant(member));
        if !to.is_empty() && meant.count() < to.len() {
            return Err(SignalError::UnknownRecipient);
        }
        let message = Notification::SendMessage {
            data: signal.data,
            kind: signal.kind,
            from: from.cloned(),
        };
        self.notify_those(is_meant, message);
        Ok(())
    }
}
