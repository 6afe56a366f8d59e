//! CreatePermission and ChannelBind (RFC 8656 sections 10 and 12.2): where peers are let in, or not.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::answer::Content;
use super::authenticate::{Authenticated, Outcome};
use super::{Output, Server};
use crate::media::stun::AttributeType;
use crate::media::turn::AllocationId;
use crate::media::turn::channel::{BindError, ChannelNumber};
use crate::media::turn::five_tuple::{Family, FiveTuple};
use crate::media::turn::peer_policy::Reach;
use crate::media::turn::request::Request;

impl Server {
    pub(super) fn create_permission(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
        who: &Authenticated,
    ) -> Outcome {
        let id = self.own_allocation(from, who)?;
        let mut peers: Vec<(IpAddr, bool)> = Vec::new();
        for attribute in request.message.attributes() {
            if attribute.kind != AttributeType::XOR_PEER_ADDRESS {
                continue;
            }
            let peer = request.message.decode_xor_address(&attribute);
            let peer = peer.ok_or(400u16)?.ip();
            if peers.iter().any(|(known, _)| *known == peer) {
                continue;
            }
            if peers.len() >= self.limits.permissions {
                return Err(508);
            }
            peers.push((peer, self.judge(now, id, peer)?));
        }
        if peers.is_empty() {
            return Err(400);
        }
        self.install(now, id, &peers)?;
        Ok(Content::Done)
    }

    pub(super) fn channel_bind(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
        who: &Authenticated,
    ) -> Outcome {
        let id = self.own_allocation(from, who)?;
        let number = match request.channel {
            Some([high, low, _, _]) => ChannelNumber::new(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let peer = request
            .peer
            .and_then(|attribute| request.message.decode_xor_address(&attribute));
        let (Some(number), Some(peer)) = (number, peer) else {
            return Err(400);
        };
        let is_own = self.judge(now, id, peer.ip())?;
        self.judge_port(peer, is_own)?;
        let max = self.limits.channels;
        let known = self.allocations.get_mut(id).ok_or(437u16)?;
        known
            .channels
            .check(now, number, peer, max)
            .map_err(|error| match error {
                BindError::Conflict => 400u16,
                BindError::Full => 508,
            })?;
        self.install(now, id, &[(peer.ip(), is_own)])?;
        if let Some(known) = self.allocations.get_mut(id) {
            known.channels.bind(now, number, peer, is_own);
        }
        Ok(Content::Done)
    }

    /// Whether the peer is our own address; an error if it may not be reached, or not from this allocation.
    fn judge(&self, now: Instant, id: AllocationId, peer: IpAddr) -> Result<bool, u16> {
        let is_own = match self.policy.classify(peer, &self.own_addresses) {
            Reach::Own => true,
            Reach::Foreign => false,
            Reach::Denied => return Err(403),
        };
        let known = self.allocations.get(id).ok_or(437u16)?;
        known.relay(now, Family::of(peer)).ok_or(443u16)?;
        Ok(is_own)
    }

    /// Of our own addresses only the ports of workers and relayed addresses are for clients.
    fn judge_port(&self, peer: SocketAddr, is_own: bool) -> Result<(), u16> {
        if peer.port() == 0 {
            Err(400)
        } else if is_own && self.way_inside(peer).is_none() {
            Err(403)
        } else {
            Ok(())
        }
    }

    /// Installs all permissions or none, and asks for relay sockets where foreign peers need them.
    fn install(
        &mut self,
        now: Instant,
        id: AllocationId,
        peers: &[(IpAddr, bool)],
    ) -> Result<(), u16> {
        let known = self.allocations.get_mut(id).ok_or(437u16)?;
        if !known
            .permissions
            .has_room(now, peers, self.limits.permissions)
        {
            return Err(508);
        }
        let needs_socket = |(peer, is_own): &(IpAddr, bool)| {
            let relay = known.relays[Family::of(*peer).index()];
            !is_own && relay.is_some_and(|relay| !relay.is_open)
        };
        if !self.can_open && peers.iter().any(needs_socket) {
            return Err(508);
        }
        for (peer, is_own) in peers {
            known.permissions.install(now, *peer, *is_own);
            let family = Family::of(*peer);
            let address = self.relays[family.index()];
            let relay = known.relay_mut(family).filter(|relay| !relay.is_open);
            if let (false, Some(address), Some(relay)) = (*is_own, address, relay) {
                relay.is_open = true;
                self.outputs.push_back(Output::OpenRelay {
                    allocation: id,
                    bound: address.bound(relay.port),
                });
            }
        }
        Ok(())
    }
}
