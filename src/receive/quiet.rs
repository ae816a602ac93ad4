//! Keeps a peer that is in trouble, or hostile, from filling the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::QUIET_PEERS_MAX;

const INTERVAL: Duration = Duration::from_secs(60);

/// When something was last said about each peer.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<HashMap<IpAddr, Instant>>);

impl Quiet {
    /// Whether one more line about this peer may be written: one a minute.
    pub(super) fn may_say(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= QUIET_PEERS_MAX {
            said.retain(|_, at| now.duration_since(*at) < INTERVAL);
            if said.len() >= QUIET_PEERS_MAX {
                return false;
            }
        }
        match said.get(&peer) {
            Some(at) if now.duration_since(*at) < INTERVAL => false,
            _ => said.insert(peer, now).is_none_or(|at| at != now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_once_a_minute_of_each_peer() {
        let quiet = Quiet::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!([quiet.may_say(a), quiet.may_say(a), quiet.may_say(b)], [true, false, true]);
    }
}
