//! The four negotiations of OpenVidu (`openvidu-signalling` section 11): each sees exactly one offer and one answer.

use super::{
    CodecPolicy, LocalTransport, Offering, Publishing, Rejection, RemoteTransport, Subscribing,
    Track,
};
use crate::units::Random;

/// Answers the offer of a browser that wants to send.
///
/// # Errors
/// The offer is malformed, lacks the forced codec, or wants us to be DTLS client.
pub fn answer_publisher(
    _offer: &str,
    _policy: &CodecPolicy,
    _local: &LocalTransport,
) -> Result<Publishing, Rejection> {
    unimplemented!()
}

/// Answers the offer of a browser that wants to receive `source`, the tracks of one publisher.
///
/// # Errors
/// The offer is malformed, or lacks the codec that the publisher sends.
pub fn answer_subscriber(
    _offer: &str,
    _source: &[Track],
    _cname: &str,
    _random: &mut Random,
    _local: &LocalTransport,
) -> Result<Subscribing, Rejection> {
    unimplemented!()
}

/// Offers `source`, the tracks of one publisher, to a browser.
pub fn offer_subscriber(
    _source: &[Track],
    _cname: &str,
    _random: &mut Random,
    _local: &LocalTransport,
) -> Offering {
    unimplemented!()
}

/// Reads the answer to an offer of ours.
///
/// # Errors
/// The answer is malformed, refuses the offered codec, or is not `setup:active`.
pub fn accept_answer(
    _answer: &str,
    _offered: &[Track],
) -> Result<(RemoteTransport, Vec<Track>), Rejection> {
    unimplemented!()
}
