//! A record of the polls themselves, which separates "no change" from "not polled".

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the histogram of intervals between two polls, in microseconds. A last bucket holds longer intervals.
pub(crate) const BOUNDS_US: [u64; 8] = [
    10_500, 12_000, 15_000, 20_000, 40_000, 100_000, 400_000, 1_000_000,
];

/// How often the kernel was asked, and how regularly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polls {
    /// Polls that gave a complete answer.
    #[serde(rename = "Made")]
    pub made: u64,
    /// Polls that began later than they should, by more than half an interval.
    #[serde(rename = "Late")]
    pub late: u64,
    /// Polls whose answer failed or was interrupted.
    #[serde(rename = "Failed")]
    pub failed: u64,
    /// How often the kernel dropped final messages because they were not fetched in time.
    #[serde(rename = "Overruns")]
    pub overruns: u64,
    /// The interval aimed at, in microseconds; it stretches when the machine cannot hold it.
    #[serde(rename = "TargetUs")]
    pub target_us: u64,
    /// Intervals between polls, counted by length: up to 10.5, 12, 15, 20, 40, 100, 400, 1000 ms, and longer.
    #[serde(rename = "Intervals")]
    pub intervals: [u64; BOUNDS_US.len() + 1],
}

impl Polls {
    pub(crate) fn interval(&mut self, interval: Duration) {
        let us = interval.as_micros() as u64;
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound);
        self.intervals[bucket.unwrap_or(BOUNDS_US.len())] += 1;
    }

    /// The difference since `earlier`, with the present target.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        since.made -= earlier.made;
        since.late -= earlier.late;
        since.failed -= earlier.failed;
        since.overruns -= earlier.overruns;
        for (now, then) in since.intervals.iter_mut().zip(earlier.intervals) {
            *now -= then;
        }
        since
    }
}
