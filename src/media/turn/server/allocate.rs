//! Allocate and Refresh (RFC 8656 sections 7 and 8).

use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::answer::Content;
use super::authenticate::{Authenticated, Outcome};
use super::{MAX_LIFETIME, Server};
use crate::media::turn::allocation::{Allocation, Created, DEFAULT_LIFETIME, Relay, Traffic};
use crate::media::turn::channel::Channels;
use crate::media::turn::five_tuple::{Family, FiveTuple};
use crate::media::turn::permission::Permissions;
use crate::media::turn::relay_ports::Reservation;
use crate::media::turn::request::Request;
use crate::media::turn::token_bucket::TokenBucket;

/// The protocol number in REQUESTED-TRANSPORT (RFC 8656 section 18.7).
const UDP: u8 = 17;

/// How long a reserved port waits for its client (RFC 8656 section 7.2).
const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// What an Allocate asks for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    families: [bool; 2],
    port: Port,
    lifetime: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Any,
    Even,
    /// Even, and the next one reserved.
    Pair,
    Reserved([u8; 8]),
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
        who: &Authenticated,
    ) -> Outcome {
        if let Some(known) = self
            .allocation_of(from)
            .and_then(|id| self.allocations.get(id))
        {
            let repeated = known.created.transaction == request.message.transaction_id()
                && *known.username == *who.username;
            return if repeated {
                Ok(Content::Created(known.created))
            } else {
                Err(437)
            };
        }
        let wish = Wish::read(request)?;
        if self.is_draining {
            return Err(508);
        }
        let source = from.client.ip();
        let places = match wish.port {
            // A reserved port has been counted since it was reserved.
            Port::Reserved(_) => 0,
            Port::Any | Port::Even => 1,
            Port::Pair => 2,
        };
        if !self
            .quotas
            .take(&self.limits, &who.username, source, places)
        {
            return Err(486);
        }
        let taken = self.take_ports(now, &wish, who, from);
        if taken.is_err() {
            self.quotas.give_back(&who.username, source, places);
        }
        let (ports, token, missing) = taken?;
        let expires_at = now + wish.lifetime;
        let relayed = Family::BOTH.map(|family| {
            let port = ports[family.index()]?;
            Some(self.relays[family.index()]?.told(port))
        });
        let created = Created {
            transaction: request.message.transaction_id(),
            lifetime: wish.lifetime,
            relayed,
            token,
            missing,
        };
        let id = self.allocations.insert(Allocation {
            five_tuple: *from,
            username: who.username.as_str().into(),
            key: who.key,
            created,
            created_at: now,
            deadline: expires_at,
            relays: ports.map(|port| {
                Some(Relay {
                    port: port?,
                    expires_at,
                    is_open: false,
                    reaches_workers: false,
                })
            }),
            permissions: Permissions::default(),
            channels: Channels::default(),
            rate: TokenBucket::full(now),
            traffic: Traffic::default(),
        });
        for (pool, port) in self.ports.iter_mut().zip(ports) {
            if let Some(port) = port {
                pool.assign(port, id.slot, &self.live_ports);
            }
        }
        self.by_five_tuple.insert(*from, id);
        let user = self.hash_of(&who.username);
        self.by_user.insert((user, id));
        self.deadlines.insert((expires_at, id));
        self.counters.allocations += 1;
        *self.live(from.protocol) += 1;
        Ok(Content::Created(created))
    }

    pub(super) fn refresh(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
        who: &Authenticated,
    ) -> Outcome {
        let id = self.own_allocation(from, who)?;
        let only = match request.family.map(family) {
            // A family that nobody has is not this allocation's (RFC 8656 section 8.2).
            Some(Err(440)) => return Err(443),
            Some(wanted) => Some(wanted?),
            None => None,
        };
        let known = self.allocations.get(id).ok_or(437u16)?;
        if only.is_some_and(|family| known.relay(now, family).is_none()) {
            return Err(443);
        }
        let families = || {
            Family::BOTH
                .into_iter()
                .filter(|family| only.is_none_or(|only| only == *family))
        };
        if request.lifetime.is_some_and(|value| value == [0; 4]) {
            for family in families() {
                self.end_relay(now, id, family);
            }
            return Ok(Content::Refreshed(Duration::ZERO));
        }
        let lifetime = lifetime(request)?;
        if let Some(known) = self.allocations.get_mut(id) {
            for family in families() {
                if let Some(relay) = known.relay_mut(family) {
                    relay.expires_at = now + lifetime;
                }
            }
        }
        self.schedule(now, id);
        Ok(Content::Refreshed(lifetime))
    }

    /// Takes the ports wished for. Of two families one is enough; why the other is missing is said.
    #[expect(clippy::type_complexity, reason = "named where it is taken apart")]
    fn take_ports(
        &mut self,
        now: Instant,
        wish: &Wish,
        who: &Authenticated,
        from: &FiveTuple,
    ) -> Result<([Option<u16>; 2], Option<[u8; 8]>, Option<u16>), u16> {
        if let Port::Reserved(token) = wish.port {
            let (family, port) = self.redeem(now, token, who)?;
            self.quotas.add(&who.username, from.client.ip());
            let mut ports = [None; 2];
            ports[family.index()] = Some(port);
            return Ok((ports, None, None));
        }
        let (mut ports, mut missing) = ([None; 2], None);
        for family in Family::BOTH {
            if !wish.families[family.index()] {
                continue;
            }
            match self.take_port(family, wish.port) {
                Ok(port) => ports[family.index()] = Some(port),
                Err(code) => missing = Some(code),
            }
        }
        if let ([None, None], Some(code)) = (ports, missing) {
            return Err(code);
        }
        let token = match wish.port {
            Port::Pair => ports
                .iter()
                .zip(Family::BOTH)
                .find_map(|(port, family)| Some((family, (*port)?.checked_add(1)?)))
                .map(|(family, next)| self.reserve(now, family, next, who, from)),
            Port::Any | Port::Even | Port::Reserved(_) => None,
        };
        Ok((ports, token, missing))
    }

    fn take_port(&mut self, family: Family, port: Port) -> Result<u16, u16> {
        if self.relays[family.index()].is_none() {
            return Err(440);
        }
        let pool = &mut self.ports[family.index()];
        match port {
            Port::Any | Port::Reserved(_) => pool.take(&mut self.random),
            Port::Even => pool.take_even(&mut self.random, false),
            Port::Pair => pool.take_even(&mut self.random, true),
        }
        .ok_or(508)
    }

    fn reserve(
        &mut self,
        now: Instant,
        family: Family,
        port: u16,
        who: &Authenticated,
        from: &FiveTuple,
    ) -> [u8; 8] {
        let mut token = [0; 8];
        self.random.fill(&mut token);
        self.reservations.push_back(Reservation {
            token,
            family,
            port,
            username: who.username.as_str().into(),
            source: from.client.ip(),
            expires_at: now + RESERVATION_LIFETIME,
        });
        token
    }

    /// The port reserved under a token, for the user that reserved it.
    fn redeem(
        &mut self,
        now: Instant,
        token: [u8; 8],
        who: &Authenticated,
    ) -> Result<(Family, u16), u16> {
        let at = self
            .reservations
            .iter()
            .position(|reservation| {
                bool::from(reservation.token.ct_eq(&token))
                    && *reservation.username == *who.username
                    && now < reservation.expires_at
            })
            .ok_or(508u16)?;
        let reservation = self.reservations.remove(at).ok_or(508u16)?;
        self.quotas
            .give_back(&reservation.username, reservation.source, 1);
        Ok((reservation.family, reservation.port))
    }
}

impl Wish {
    /// Reads what RFC 8656 section 7.2 wants read, in its order.
    fn read(request: &Request<'_>) -> Result<Self, u16> {
        match request.transport {
            Some([UDP, ..]) if request.transport.is_some_and(|value| value.len() == 4) => {}
            Some(value) if value.len() == 4 => return Err(442),
            _ => return Err(400),
        }
        let port = match (request.token, request.even_port) {
            (Some(token), None) => {
                if request.family.is_some() || request.additional_family.is_some() {
                    return Err(400);
                }
                Port::Reserved(token.try_into().map_err(|_| 400u16)?)
            }
            (None, Some([flags])) if flags & 0x80 != 0 => Port::Pair,
            (None, Some([_])) => Port::Even,
            (None, None) => Port::Any,
            _ => return Err(400),
        };
        let families = match (request.family, request.additional_family) {
            (None, None) => [true, false],
            (Some(value), None) => match family(value)? {
                Family::V4 => [true, false],
                Family::V6 => [false, true],
            },
            (None, Some(value)) => match (family(value), port) {
                (Ok(Family::V6), Port::Any | Port::Even) => [true, true],
                _ => return Err(400),
            },
            (Some(_), Some(_)) => return Err(400),
        };
        Ok(Self {
            families,
            port,
            lifetime: lifetime(request)?,
        })
    }
}

/// The value of REQUESTED-ADDRESS-FAMILY (RFC 8656 section 18.8).
fn family(value: &[u8]) -> Result<Family, u16> {
    match value {
        [1, _, _, _] => Ok(Family::V4),
        [2, _, _, _] => Ok(Family::V6),
        [_, _, _, _] => Err(440),
        _ => Err(400),
    }
}

/// What is granted of the lifetime asked for (RFC 8656 section 7.2): no less than the default.
fn lifetime(request: &Request<'_>) -> Result<Duration, u16> {
    let Some(value) = request.lifetime else {
        return Ok(DEFAULT_LIFETIME);
    };
    let secs = u32::from_be_bytes(value.try_into().map_err(|_| 400u16)?);
    Ok(Duration::from_secs(secs.into()).clamp(DEFAULT_LIFETIME, MAX_LIFETIME))
}
