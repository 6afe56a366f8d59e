//! Tokens: connections that wait for their user (`openvidu-signalling` section 1.1).

use super::command::Hidden;
use super::identifiers::ConnectionId;
use super::properties::ConnectionProperties;
use crate::units::{Random, Secret};

/// By what right a participant is in its session (`openvidu-signalling` sections 6, 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// A token, whose role counts.
    Token,
    /// The server's secret, which outranks the role SUBSCRIBER that it shows.
    Secret,
    /// The secret again, and nobody else sees it.
    Hidden(Hidden),
}

/// A connection that the REST API created. A pending one admits one user, once; a used one stays with its participant.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// Position in the session's order of creation.
    pub(super) serial: u64,
    /// The id that the participant will have.
    pub(super) connection: ConnectionId,
    /// Milliseconds since the epoch.
    pub(super) created_at: u64,
    /// What the participant may do, and its data.
    pub(super) properties: ConnectionProperties,
    /// `tok_…`, the part that decides.
    secret: Secret,
}

impl Token {
    /// A new token for `connection`.
    pub(super) fn new(
        serial: u64,
        connection: ConnectionId,
        created_at: u64,
        properties: ConnectionProperties,
        random: &mut Random,
    ) -> Self {
        Self {
            serial,
            connection,
            created_at,
            properties,
            secret: Secret::new(format!("tok_{}", random.identifier(16))),
        }
    }

    /// The whole token: the URL that the application passes to `connect()`.
    pub(super) fn url(&self, websocket_url: &str, session: &str) -> String {
        format!(
            "{websocket_url}?sessionId={session}&token={}",
            self.secret.expose()
        )
    }

    /// Returns whether `presented` is this token. The time taken depends on lengths only.
    pub(super) fn admits(&self, presented: &PresentedToken<'_>) -> bool {
        self.secret.matches(presented.value.as_bytes())
    }
}

/// The two parts of a presented token URL that count; host, port and path may have been rewritten on the way.
#[derive(Clone, Copy)]
pub(super) struct PresentedToken<'a> {
    /// `sessionId`
    pub(super) session: &'a str,
    /// `token`
    value: &'a str,
}

impl<'a> PresentedToken<'a> {
    /// Reads a token URL as clients do: the query begins at the first `?`.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (_, query) = url.split_once('?')?;
        let parameter = |name| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        Some(Self {
            session: parameter("sessionId")?,
            value: parameter("token")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::Role;

    fn token() -> Token {
        let properties = ConnectionProperties {
            role: Role::Publisher,
            data: String::new(),
            record: true,
            kurento_options: None,
            kurento_options_json: None,
            custom_ice_servers: Vec::new(),
        };
        Token::new(0, "con_A".into(), 1, properties, &mut Random::seeded(3))
    }

    #[test]
    fn a_token_admits_itself_whatever_happened_to_host_and_path() {
        let token = token();
        let url = token.url("wss://ov.example.org", "S1");
        assert_eq!(
            url.len(),
            "wss://ov.example.org?sessionId=S1&token=".len() + 20
        );
        let moved = url.replace("wss://ov.example.org", "ws://other:4443/");
        for text in [&url, &moved] {
            let presented = PresentedToken::parse(text).unwrap();
            assert_eq!(presented.session, "S1");
            assert!(token.admits(&presented));
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let token = token();
        for text in [
            "",
            "tok_A",
            "wss://h",
            "wss://h?token=x",
            "wss://h?sessionId=S1",
        ] {
            assert!(PresentedToken::parse(text).is_none(), "{text}");
        }
        let longer = token.url("wss://h", "S1") + "x";
        assert!(!token.admits(&PresentedToken::parse(&longer).unwrap()));
        let empty = PresentedToken::parse("wss://h?sessionId=S1&token=").unwrap();
        assert!(!token.admits(&empty));
        assert!(!format!("{token:?}").contains("tok_"));
    }
}
