//! A flag for results whose date comes from an implausible clock.

use std::time::{Duration, SystemTime};

use groma_spool::{ExperimentDir, is_plausible};
use jiff::Timestamp;

use crate::NameValue;

/// The name of the flag in the server's metadata.
const CLOCK: &str = "clock";
const IMPLAUSIBLE: &str = "implausible";
/// Clocks are stepped by seconds when they are set.
const STEPS: Duration = Duration::from_mins(1);

/// The latest time that the clock of this machine has shown.
#[derive(Debug)]
pub(crate) struct Clock {
    /// When an earlier run of the experiment last created a file.
    last_seen: Option<SystemTime>,
}

impl Clock {
    /// Reads the time of the last file of an earlier run. Call it before this run creates files.
    pub(crate) fn open(dir: &ExperimentDir) -> Self {
        let found = dir.tmp_dir().metadata();
        let clock = Self {
            last_seen: found.and_then(|found| found.modified()).ok(),
        };
        if let Some(mark) = clock.mark() {
            tracing::warn!(
                clock = mark.value,
                "the clock is wrong: results are kept under its date and marked in their server metadata"
            );
        }
        clock
    }

    /// Returns the server's entry about the clock if the clock is implausible: before the release of this program, after 2099, or
    /// before a time that it has shown already.
    pub(crate) fn mark(&self) -> Option<NameValue> {
        let now = SystemTime::now();
        let is_possible = Timestamp::try_from(now).is_ok_and(is_plausible);
        let goes_back = self
            .last_seen
            .is_some_and(|seen| seen > now.checked_add(STEPS).unwrap_or(now));
        (!is_possible || goes_back).then(|| NameValue {
            name: CLOCK.to_owned(),
            value: IMPLAUSIBLE.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_went_back_is_marked() {
        let now = SystemTime::now();
        let hour = Duration::from_hours(1);
        for (last_seen, is_marked) in [
            (None, false),
            (Some(now - hour), false),
            (Some(now + hour), true),
        ] {
            let clock = Clock { last_seen };
            assert_eq!(clock.mark().is_some(), is_marked, "{last_seen:?}");
        }
    }
}
