//! How fast a peer has to go on with a message. Each PDU comes within its own time, but a peer that sends one byte in
//! each would keep its association for days. It reads no clock.

use std::time::Duration;

use crate::limits::MESSAGE_BYTES_PER_S_MIN;

/// What was received of a message, and how long the peer was waited for meanwhile; the time that we take does not count.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// A PDU came after so long, with so many bytes of values.
    pub(super) fn came(&mut self, after: Duration, bytes: usize) {
        self.waited += after;
        self.bytes += bytes as u64;
    }

    /// The message is whole: the next one begins.
    pub(super) fn ended(&mut self) {
        *self = Pace::default();
    }

    /// Why the peer is too slow; `idle` is how long it may say nothing, before a message and once within it.
    pub(super) fn too_slow(&self, idle: Duration) -> Option<String> {
        let allowed = 2 * idle + Duration::from_secs(self.bytes / MESSAGE_BYTES_PER_S_MIN);
        let (bytes, waited) = (self.bytes, self.waited.as_secs());
        (self.waited > allowed).then(|| {
            format!("found {bytes} bytes of a message in {waited} s, expected {MESSAGE_BYTES_PER_S_MIN} bytes a second")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    /// After how many PDUs of a size, each after so many seconds, a peer is too slow.
    fn slow_after(bytes: usize, seconds: f64) -> Option<usize> {
        let mut pace = Pace::default();
        (1..=10_000).find(|_| {
            pace.came(Duration::from_secs_f64(seconds), bytes);
            pace.too_slow(IDLE).is_some()
        })
    }

    #[test]
    fn a_byte_at_a_time_is_too_slow_and_a_thin_line_is_not() {
        assert_eq!(slow_after(1, 1.0), Some(61));
        assert_eq!(slow_after(0, 29.0), Some(3), "empty fragments are no progress");
        assert_eq!(slow_after(16_384, 15.0), None, "a line of 9,600 baud");
        assert_eq!(slow_after(1, 0.001), None, "small, and quick");
    }

    #[test]
    fn each_message_begins_anew() {
        let mut pace = Pace::default();
        for _ in 0..1_000 {
            pace.came(IDLE, 100);
            assert_eq!(pace.too_slow(IDLE), None, "a peer that asks now and then");
            pace.ended();
        }
    }
}
