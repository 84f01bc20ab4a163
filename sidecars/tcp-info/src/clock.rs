//! Wall-clock time that never runs backwards within a file.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// Wall clock and monotonic clock may drift apart by this much before it counts as a step.
const STEP: Duration = Duration::from_millis(500);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Reading {
    pub(crate) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }
}

/// Wall time counted on the monotonic clock from an anchor. A step of the wall clock moves the anchor. The clock reports
/// each step, so that the caller starts new files and none holds times from both sides of it.
#[derive(Debug)]
pub(crate) struct Clock {
    anchor: Reading,
}

impl Clock {
    pub(crate) fn new(now: Reading) -> Self {
        Self { anchor: now }
    }

    /// The time now, and whether the wall clock was set since the last call.
    pub(crate) fn read(&mut self, now: Reading) -> (Timestamp, bool) {
        let expected = self.anchor.wall
            + now
                .monotonic
                .saturating_duration_since(self.anchor.monotonic);
        let apart = match now.wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if apart <= STEP {
            return (timestamp(expected), false);
        }
        self.anchor = now;
        (timestamp(now.wall), true)
    }
}

/// A wall clock beyond the year 9999 or before 1970 is broken; the epoch is as good as any answer.
fn timestamp(wall: SystemTime) -> Timestamp {
    Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_drift_is_followed_by_the_monotonic_clock_and_a_step_is_told_once() {
        let start = Reading::now();
        let mut clock = Clock::new(start);
        let at = |elapsed_ms: u64, offset_ms: i64| Reading {
            monotonic: start.monotonic + Duration::from_millis(elapsed_ms),
            wall: if offset_ms < 0 {
                start.wall + Duration::from_millis(elapsed_ms)
                    - Duration::from_millis(offset_ms.unsigned_abs())
            } else {
                start.wall
                    + Duration::from_millis(elapsed_ms)
                    + Duration::from_millis(offset_ms.unsigned_abs())
            },
        };
        let (first, _) = clock.read(at(10, 0));
        let (second, step) = clock.read(at(20, -300));
        assert!(!step && second > first);
        let (back, step) = clock.read(at(30, -3_600_000));
        assert!(step && back < first);
        let (after, step) = clock.read(at(40, -3_600_000));
        assert!(!step && after > back);
        assert!(clock.read(at(50, 0)).1);
    }
}
