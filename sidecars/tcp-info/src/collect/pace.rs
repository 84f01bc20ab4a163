//! When to poll next, and the record of it.

use std::time::{Duration, Instant};

use crate::record::Polls;

/// A poll may take this share of the interval; when it takes more the interval stretches, so that a machine under load
/// is left with something to measure with.
const SHARE: f64 = 0.8;
/// Share of the newest poll in the running mean of their cost.
const WEIGHT: f64 = 0.1;
/// No interval is longer: below a second, which a crash may cost.
const LONGEST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Pace {
    wanted: Duration,
    cost_s: f64,
    last: Option<Instant>,
    due: Instant,
    pub(crate) polls: Polls,
}

impl Pace {
    pub(crate) fn new(wanted: Duration, now: Instant) -> Self {
        let polls = Polls {
            target_us: wanted.as_micros() as u64,
            ..Polls::default()
        };
        Self {
            wanted,
            cost_s: 0.0,
            last: None,
            due: now,
            polls,
        }
    }

    /// A poll begins. Returns the time since the last one, `None` for the first.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Duration> {
        let interval = self.last.map(|last| now.saturating_duration_since(last));
        if let Some(interval) = interval {
            self.polls.interval(interval);
        }
        if now.saturating_duration_since(self.due) > self.target() / 2 {
            self.polls.late += 1;
        }
        self.last = Some(now);
        interval
    }

    /// A poll ends, for better or worse. Returns how long to wait: never a burst to catch up.
    pub(crate) fn end(&mut self, began: Instant, now: Instant, complete: bool) -> Duration {
        if complete {
            self.polls.made += 1;
        } else {
            self.polls.failed += 1;
        }
        let cost_s = now.saturating_duration_since(began).as_secs_f64();
        self.cost_s += WEIGHT * (cost_s - self.cost_s);
        let target = self.target();
        self.polls.target_us = target.as_micros() as u64;
        self.due = (self.due + target).max(now);
        self.due.saturating_duration_since(now)
    }

    fn target(&self) -> Duration {
        let needed = Duration::from_secs_f64(self.cost_s / SHARE).min(LONGEST);
        self.wanted.max(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Duration = Duration::from_millis(10);

    /// Polls of one cost, one after another; returns the waits.
    fn run(cost_ms: u64, polls: usize) -> (Pace, Vec<Duration>) {
        let mut now = Instant::now();
        let mut pace = Pace::new(WANTED, now);
        let mut waits = Vec::new();
        for _ in 0..polls {
            pace.begin(now);
            let end = now + Duration::from_millis(cost_ms);
            let wait = pace.end(now, end, true);
            waits.push(wait);
            now = end + wait;
        }
        (pace, waits)
    }

    #[test]
    fn cheap_polls_keep_the_interval() {
        let (pace, waits) = run(3, 100);
        assert!(waits.iter().all(|wait| *wait == Duration::from_millis(7)));
        assert_eq!(
            (pace.polls.made, pace.polls.late, pace.polls.intervals[0]),
            (100, 0, 99)
        );
        assert_eq!(pace.polls.target_us, 10_000);
    }

    #[test]
    fn dear_polls_stretch_it_and_that_is_on_record() {
        let (pace, waits) = run(24, 100);
        let last = waits.last().unwrap();
        assert!((5..=7).contains(&last.as_millis()), "{last:?}");
        assert!((29_000..=30_000).contains(&pace.polls.target_us));
        assert!(pace.polls.intervals[4] > 90, "{:?}", pace.polls);
    }

    #[test]
    fn a_pause_is_one_late_poll_and_no_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(WANTED, start);
        pace.begin(start);
        assert_eq!(pace.end(start, start, true), WANTED);
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.begin(late), Some(Duration::from_secs(5)));
        assert_eq!(pace.end(late, late, false), Duration::ZERO);
        assert_eq!(pace.end(late, late, true), WANTED);
        assert_eq!(
            (pace.polls.late, pace.polls.failed, pace.polls.intervals[8]),
            (1, 1, 1)
        );
    }
}
