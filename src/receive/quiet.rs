//! Keeps a peer that is in trouble, or hostile, from filling the log.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::QUIET_PEERS_MAX;

const INTERVAL: Duration = Duration::from_secs(60);

/// When each kind of thing was last said about each peer; of the kind, its hash.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<HashMap<(IpAddr, u64), Instant>>);

impl Quiet {
    /// Whether this may be written about this peer: each kind once a minute, so that another fault is not missed. A kind is
    /// one of a few fixed texts of ours: what a peer can vary would fill the log, and then the table.
    pub(super) fn may_say(&self, peer: IpAddr, kind: &str) -> bool {
        let mut hash = DefaultHasher::new();
        kind.hash(&mut hash);
        let said_of = (peer, hash.finish());
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= QUIET_PEERS_MAX {
            said.retain(|_, at| now.duration_since(*at) < INTERVAL);
            if said.len() >= QUIET_PEERS_MAX {
                return false;
            }
        }
        match said.get(&said_of) {
            Some(at) if now.duration_since(*at) < INTERVAL => false,
            _ => said.insert(said_of, now).is_none_or(|at| at != now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_thing_of_each_peer_once_a_minute() {
        let quiet = Quiet::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let said = [(a, "x"), (a, "x"), (b, "x"), (a, "y")].map(|(peer, what)| quiet.may_say(peer, what));
        assert_eq!(said, [true, false, true, true]);
    }
}
