//! The direction of offers towards subscribers.

/// Who offers when a client subscribes (`HANOK_SUBSCRIBE_OFFER`, design D9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscribeOffer {
    /// The client: `joinRoom` says `mediaServer: kurento`.
    #[default]
    Client,
    /// We: `joinRoom` says `mediaServer: mediasoup`.
    Server,
}
