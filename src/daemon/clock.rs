//! The time of the gateway: wall time at its start plus monotonic time since, so that a step of the wall clock neither
//! completes a series early nor holds one back.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    /// Reads both clocks once.
    pub fn start() -> Clock {
        Clock { wall: Timestamp::now(), monotonic: Instant::now() }
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.monotonic.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}
