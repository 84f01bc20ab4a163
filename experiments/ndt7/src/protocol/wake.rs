//! Wakes the receiver once for many packets. On a fast path, most of a receiver's cost is one notification per packet, and
//! on loopback both ends pay for it.

use std::os::fd::AsFd;
use std::time::Duration;

use groma_sock::set_receive_low_water;
use tokio::time::Instant;

/// The longest time for which arrived bytes may stay unread, so that the count of load is never much older.
const UNSEEN: Duration = Duration::from_millis(2);
/// Less is not worth a system call.
const LEAST_BYTES: u64 = 1 << 15;
/// More saves nothing, and would take receive buffer.
const MOST_BYTES: u64 = 1 << 18;

/// Tells the kernel how much must have arrived before a socket is called readable.
pub(crate) struct Wake<'a, F> {
    socket: &'a F,
    /// The last value that was set in the kernel.
    told_bytes: u64,
    /// The bytes that arrive within [`UNSEEN`], at the rate of the last such period.
    worth_bytes: u64,
    since: Instant,
    bytes: u64,
}

impl<'a, F: AsFd> Wake<'a, F> {
    pub(crate) fn new(socket: &'a F) -> Self {
        Self {
            socket,
            told_bytes: 1,
            worth_bytes: 0,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Records that `bytes` were read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let elapsed = self.since.elapsed();
        if elapsed >= UNSEEN {
            self.worth_bytes = worth(self.bytes, elapsed);
            (self.since, self.bytes) = (Instant::now(), 0);
        }
    }

    /// To be called before every wait: `certain_bytes` will come through the socket whatever happens, unless the
    /// connection ends. A wait for more than that might never end.
    pub(crate) fn wait_for(&mut self, certain_bytes: u64) {
        let wanted = certain_bytes.min(self.worth_bytes);
        let wanted = if wanted < LEAST_BYTES { 1 } else { wanted };
        if wanted != self.told_bytes && set_receive_low_water(self.socket, wanted as u32).is_ok() {
            self.told_bytes = wanted;
        }
    }
}

fn worth(bytes: u64, elapsed: Duration) -> u64 {
    let expected = bytes as f64 * UNSEEN.as_secs_f64() / elapsed.as_secs_f64();
    (expected as u64).min(MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fast_path_is_worth_waiting_for() {
        let mbit = |rate: u64| worth(rate * 125_000 / 10, Duration::from_millis(100));
        assert!(mbit(1) < LEAST_BYTES && mbit(100) < LEAST_BYTES);
        assert!(mbit(1_000) >= LEAST_BYTES && mbit(1_000) < MOST_BYTES);
        assert_eq!(mbit(100_000), MOST_BYTES);
    }
}
