//! What is answered, and its bytes. Answers are as short as they may be: nothing to amplify with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Server;
use crate::media::stun::{AttributeType, Class, IntegrityKey, Writer};
use crate::media::turn::allocation::Created;
use crate::media::turn::five_tuple::{Family, FiveTuple};
use crate::media::turn::request::Request;

/// Unknown attributes that a 420 names at most; further ones are not listed.
const MAX_UNKNOWN: usize = 8;

/// The value of PASSWORD-ALGORITHMS: SHA-256, then MD5, without parameters (RFC 8489 sections 14.11 and 18.5).
pub(super) const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// What a request led to.
#[derive(Debug)]
pub(super) enum Content {
    /// A Binding: the client's address.
    Mapped,
    /// An Allocate.
    Created(Created),
    /// A Refresh: what is left of the allocation's life.
    Refreshed(Duration),
    /// A CreatePermission or ChannelBind.
    Done,
    /// An error code.
    Refused(u16),
}

/// An answer, and the key that seals it if the client has proved that it knows it.
#[derive(Debug)]
pub(super) struct Answer {
    content: Content,
    seal: Option<IntegrityKey>,
}

impl Answer {
    pub(super) const fn mapped() -> Self {
        Self {
            content: Content::Mapped,
            seal: None,
        }
    }

    pub(super) const fn refusal(code: u16) -> Self {
        Self {
            content: Content::Refused(code),
            seal: None,
        }
    }

    pub(super) fn sealed(result: Result<Content, u16>, seal: IntegrityKey) -> Self {
        Self {
            content: result.unwrap_or_else(Content::Refused),
            seal: Some(seal),
        }
    }

    pub(super) const fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    pub(super) const fn is_mapped(&self) -> bool {
        matches!(self.content, Content::Mapped)
    }

    pub(super) const fn error(&self) -> Option<u16> {
        match self.content {
            Content::Refused(code) => Some(code),
            Content::Mapped | Content::Created(_) | Content::Refreshed(_) | Content::Done => None,
        }
    }
}

impl Server {
    /// Writes the answer; `None` if it does not fit.
    pub(super) fn write_answer(
        &self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
        answer: &Answer,
        fingerprint: bool,
        out: &mut [u8],
    ) -> Option<usize> {
        let class = match answer.error() {
            Some(_) => Class::Error,
            None => Class::Success,
        };
        let message = &request.message;
        let mut writer = Writer::new(out, class, message.method(), message.transaction_id());
        match &answer.content {
            Content::Mapped => writer.xor_mapped_address(from.client),
            Content::Created(created) => write_created(&mut writer, created, from.client),
            Content::Refreshed(lifetime) => write_lifetime(&mut writer, *lifetime),
            Content::Done => {}
            Content::Refused(code) => {
                writer.error_code(*code);
                if *code == 420 {
                    writer.unknown_attributes(request.unknown().take(MAX_UNKNOWN));
                }
                if matches!(*code, 401 | 438) {
                    let realm = self.credentials.realm();
                    writer.attribute(AttributeType::REALM, realm.as_bytes());
                    writer.attribute(AttributeType::NONCE, &self.nonces.issue(now, from));
                    writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
                }
            }
        }
        if let Some(seal) = &answer.seal {
            writer.integrity(seal);
        }
        if fingerprint {
            writer.fingerprint();
        }
        writer.finish().ok()
    }
}

/// The answer to an Allocate (RFC 8656 section 7.2).
fn write_created(writer: &mut Writer<'_>, created: &Created, client: SocketAddr) {
    for relayed in created.relayed.iter().flatten() {
        writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *relayed);
    }
    write_lifetime(writer, created.lifetime);
    if let Some(token) = created.token {
        writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
    }
    if let Some(code) = created.missing {
        let family = match created.relayed {
            [None, _] => Family::V4,
            [Some(_), _] => Family::V6,
        };
        let [class, number] = [code / 100, code % 100].map(|part| part as u8);
        let value = [family.number(), 0, class & 0x07, number];
        writer.attribute(AttributeType::ADDRESS_ERROR_CODE, &value);
    }
    writer.xor_mapped_address(client);
}

fn write_lifetime(writer: &mut Writer<'_>, lifetime: Duration) {
    let secs = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    writer.attribute(AttributeType::LIFETIME, &secs.to_be_bytes());
}
