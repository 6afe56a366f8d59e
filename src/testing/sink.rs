//! Where a router's packets go in tests.

use crate::media::sfu::{Sink, TransportKey};

/// What a router has sent, in order and as it was written.
#[derive(Debug, Default)]
pub struct Recording {
    /// To whom, and what.
    pub sent: Vec<(TransportKey, Vec<u8>)>,
    /// No transport can send.
    pub refuses: bool,
}

impl Sink for Recording {
    fn send_rtp(
        &mut self,
        to: TransportKey,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        if self.refuses {
            return false;
        }
        // What is not written over would show.
        let mut packet = vec![0xee; max_len];
        let len = write(&mut packet);
        assert!((12..=max_len).contains(&len), "{len} of {max_len}");
        packet.truncate(len);
        self.sent.push((to, packet));
        true
    }
}
