//! Peers whose NAT gives them another port while they know nothing of it (`robustness` R05).
//!
//! Their checks tell where they are, but only every 2.5 s (Chromium) or 5 s (Firefox). Their media comes at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::streams::Streams;
use super::Loop;
use crate::media::transport::Path;

/// How often media from strangers is compared with the peers that have fallen silent, which looks through all of them.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(10);

/// So many of them are tried.
const FOLLOWED: usize = 16;

impl Loop {
    /// Media from an address that belongs to nobody: perhaps of a peer whose NAT has given it another port (`robustness`
    /// R05). Returns whether its peer was found.
    pub(super) fn follow(&mut self, now: Instant, path: Path, start: usize, len: usize) -> bool {
        if Streams::slot(path.link).is_some() || path.remote.port() == 0 || now < self.next_follow {
            return false;
        }
        self.next_follow = now + FOLLOW_INTERVAL;
        let neighbours = self
            .peers_by_addr
            .iter()
            .filter(|((link, remote), _)| *link == path.link && remote.ip() == path.remote.ip());
        let silent: BTreeSet<u32> = neighbours
            .map(|(_, index)| *index)
            .filter(|index| {
                let peer = self.peers.get(*index);
                peer.is_some_and(|peer| peer.transport.may_have_moved(now, &path))
            })
            .take(FOLLOWED)
            .collect();
        let mut is_found = false;
        for index in silent {
            let Some(room) = self.peers.get(index).map(|peer| peer.room) else {
                continue;
            };
            self.contained(now, room, Some(index), |this| {
                let Some(peer) = this.peers.get_mut(index) else {
                    return;
                };
                // Who fails to open a packet spoils it.
                let mut datagram = this.buffers.bytes()[start..start + len].to_vec();
                let Some(input) = peer.transport.follow(now, path, &mut datagram) else {
                    return;
                };
                is_found = true;
                this.buffers.bytes_mut()[start..start + len].copy_from_slice(&datagram);
                this.learn_address(now, index, path);
                this.take_input(now, path, index, start, input);
            });
            if is_found {
                break;
            }
        }
        is_found
    }
}
