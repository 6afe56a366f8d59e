//! Identifiers of OpenVidu and their formats (`openvidu-signalling` section 7.1).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::units::Random;

/// The public id of a participant: `con_` and ten characters, or what the application asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// A new random id.
    pub(super) fn random(random: &mut Random) -> Self {
        Self(format!("con_{}", random.identifier(10)).into())
    }

    /// The id that the connection's `data` asks for, if it is a JSON object with a string member
    /// `openviduCustomConnectionId` (`openvidu-rest` section 3).
    pub(super) fn custom(server_data: &str) -> Option<Self> {
        let data: serde_json::Value = serde_json::from_str(server_data).ok()?;
        let word: String = data
            .get("openviduCustomConnectionId")?
            .as_str()?
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .take(CUSTOM_ID_MAX)
            .collect();
        // Removing one occurrence can join the parts of another.
        let mut word = word;
        while word.contains("con_") {
            word = word.replace("con_", "");
        }
        (!word.is_empty()).then(|| Self(format!("con_{word}").into()))
    }

    /// The same id with a random ending, for one that is taken. No `_` comes between: behind a word that ends
    /// in `con` it would make a second `con_`, and stream ids name their owner by the last one.
    pub(super) fn with_suffix(&self, random: &mut Random) -> Self {
        Self(format!("{self}{}", random.identifier(4)).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest custom part of a connection id; the id is repeated in every stream id and notification.
const CUSTOM_ID_MAX: usize = 128;

impl From<&str> for ConnectionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for ConnectionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a stream: `str_<TYP>_<four characters>_<connection id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// A new id; `video_type` is the `typeOfVideo` of a stream with video.
    pub(super) fn random(
        video_type: Option<&str>,
        connection: &ConnectionId,
        random: &mut Random,
    ) -> Self {
        let kind = video_type.map_or("MIC", |name| name.get(..3).unwrap_or("CUS"));
        Self(format!("str_{kind}_{}_{connection}", random.identifier(4)).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The connection id within a stream id, or the text itself if there is none: what `sender` names in
/// `receiveVideoFrom` and its relatives. A stale stream id thus still finds its owner's new stream.
pub(super) fn owner_in(sender: &str) -> &str {
    sender.rfind("con_").map_or(sender, |at| &sender[at..])
}

/// One client socket of this process; never reused, so that a late close cannot hit a successor
/// (`openvidu-signalling` section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_connection_ids_keep_word_characters_only() {
        let custom = |data| ConnectionId::custom(data).map(|id| id.to_string());
        assert_eq!(
            custom(r#"{"openviduCustomConnectionId":"An-n é_1"}"#).as_deref(),
            Some("con_Ann_1")
        );
        assert_eq!(
            custom(r#"{"openviduCustomConnectionId":"a_con_b_ccon_on_d"}"#).as_deref(),
            Some("con_a_b_d")
        );
        assert_eq!(custom(r#"{"openviduCustomConnectionId":"--"}"#), None);
        assert_eq!(custom(r#"{"openviduCustomConnectionId":5}"#), None);
        assert_eq!(custom("not json"), None);
        assert_eq!(custom(""), None);
    }

    #[test]
    fn stream_ids_name_kind_and_owner() {
        let mut random = Random::seeded(1);
        let connection = ConnectionId::random(&mut random);
        let camera = StreamId::random(Some("CAMERA"), &connection, &mut random);
        assert!(camera.as_str().starts_with("str_CAM_"), "{camera}");
        assert_eq!(owner_in(camera.as_str()), connection.as_str());
        let audio = StreamId::random(None, &connection, &mut random);
        assert!(audio.as_str().starts_with("str_MIC_"), "{audio}");
        assert_eq!(audio.as_str().len(), "str_MIC_".len() + 4 + 1 + 14);
        let twin = ConnectionId::from("con_falcon").with_suffix(&mut random);
        let stream = StreamId::random(None, &twin, &mut random);
        assert_eq!(owner_in(stream.as_str()), twin.as_str());
        assert_eq!(owner_in("con_A"), "con_A");
        assert_eq!(owner_in("whatever"), "whatever");
    }
}
