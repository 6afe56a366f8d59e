//! Our TURN server beside coturn: the same requests to each, and what they say to them compared.
//!
//! Ours runs in virtual time, coturn as a process on the loopback interface. Where they differ, [`DIFFERENCES`] says what
//! each says and why ours is meant: anything else that differs is an error, and so is a difference that is gone.

mod coturn;
mod differences;
mod ours;
mod scenes;
mod seen;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use hanok::media::stun::{
    AttributeType, Class, LongTermKey, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

pub use self::coturn::Coturn;
pub use self::differences::{DIFFERENCES, Difference};
pub use self::scenes::{Part, Scene, Seal, Step, scenes};

/// The realm of both servers.
pub(crate) const REALM: &str = "hanok";

/// Their users and passwords.
pub(crate) const USERS: [(&str, &str); 2] = [("alice", "wonder"), ("bob", "builder")];

/// A server, or a way to it.
trait Subject {
    /// What it answers to a client's bytes.
    fn exchange(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<Reply>;

    /// The address at which it sees the client.
    fn address(&self, client: usize) -> SocketAddr;
}

/// What came back; `None` is silence.
type Reply = Option<Vec<u8>>;

/// What was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Messages that both servers got.
    pub messages: usize,
    /// Of those, the ones to which both said the same.
    pub same: usize,
    /// And those whose difference is explained.
    pub explained: usize,
}

/// Plays every scene to both servers.
///
/// # Errors
/// Somewhere they differ without a reason, or agree where a difference was announced; all such places are listed.
pub fn compare() -> anyhow::Result<Compared> {
    let coturn = Coturn::start()?;
    let mut compared = Compared::default();
    let (mut wrong, mut found) = (Vec::new(), Vec::new());
    for scene in scenes() {
        let ours = play(&scene, &mut ours::Ours::new())?;
        let theirs = play(&scene, &mut coturn.visit()?);
        let theirs = theirs.with_context(|| format!("coturn, {}", scene.name))?;
        for ((step, ours), theirs) in scene.steps.iter().zip(ours).zip(theirs) {
            compared.messages += 1;
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            let at = format!("{}: {}", scene.name, step.label);
            let known = DIFFERENCES.iter().find(|row| row.at == at);
            found.extend(known.map(|row| row.at));
            match known {
                None if ours == theirs => compared.same += 1,
                Some(row) if row.ours == ours && row.theirs == theirs => compared.explained += 1,
                _ => wrong.push(format!(
                    "    at: {at:?},\n    ours: {ours:?},\n    theirs: {theirs:?},"
                )),
            }
        }
    }
    for row in DIFFERENCES.iter().filter(|row| !found.contains(&row.at)) {
        wrong.push(format!("{:?} is no step of any scene", row.at));
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
    Ok(compared)
}

fn play(scene: &Scene, subject: &mut dyn Subject) -> anyhow::Result<Vec<seen::Seen>> {
    let mut player = Player {
        subject,
        nonces: BTreeMap::new(),
        next_id: 0,
    };
    let steps = scene.steps.iter();
    steps
        .map(|step| {
            let seen = player.play(step);
            seen.with_context(|| format!("{}: {}", scene.name, step.label))
        })
        .collect()
}

/// Plays the steps of one scene to one server.
struct Player<'a> {
    subject: &'a mut dyn Subject,
    nonces: BTreeMap<usize, Vec<u8>>,
    next_id: u32,
}

impl Player<'_> {
    fn play(&mut self, step: &Step) -> anyhow::Result<seen::Seen> {
        if let Some(whose) = step.seal.nonce_of(step.client) {
            self.challenge(whose)?;
        }
        if !step.again {
            self.next_id += 1;
        }
        let id = self.id();
        let bytes = match step.raw {
            Some(bytes) => bytes.to_vec(),
            None => self.message(step, id),
        };
        let reply = self.subject.exchange(step.client, &bytes)?;
        let key = step.seal.key();
        let address = self.subject.address(step.client);
        seen::Seen::of(reply, step.method, id, key.as_ref(), address)
    }

    fn id(&self) -> TransactionId {
        let mut id = [3; 12];
        id[..4].copy_from_slice(&self.next_id.to_be_bytes());
        TransactionId(id)
    }

    /// Lets a client be challenged once.
    fn challenge(&mut self, client: usize) -> anyhow::Result<()> {
        if self.nonces.contains_key(&client) {
            return Ok(());
        }
        self.next_id += 1;
        let bare = written(Class::Request, Method::ALLOCATE, self.id(), |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        let answer = self
            .subject
            .exchange(client, &bare)?
            .context("a challenge")?;
        let message = Message::parse(&answer).context("the challenge")?;
        let nonce = message.get(AttributeType::NONCE).context("a nonce")?;
        self.nonces.insert(client, nonce.value.to_vec());
        Ok(())
    }

    fn message(&self, step: &Step, id: TransactionId) -> Vec<u8> {
        written(step.class, step.method, id, |writer| {
            for part in &step.parts {
                part.write(writer);
            }
            let whose = step.seal.nonce_of(step.client);
            let nonce = whose.and_then(|whose| self.nonces.get(&whose));
            step.seal.write(writer, nonce.map(Vec::as_slice));
            if step.fingerprint {
                writer.fingerprint();
            }
        })
    }
}

fn written(
    class: Class,
    method: Method,
    id: TransactionId,
    build: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    hanok::testing::turn::written(class, method, id, build)
}

/// The key of one of the users, or of somebody else.
fn key(user: &str, password: &str, algorithm: PasswordAlgorithm) -> LongTermKey {
    LongTermKey::new(algorithm, user, REALM, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_server_answers_as_coturn_but_for_what_is_explained() {
        let compared = compare().expect("no other difference");
        assert!(compared.messages > 100, "{compared:?}");
        assert!(compared.same > 100, "{compared:?}");
    }
}
