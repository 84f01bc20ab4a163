//! The time by which receipts grow old: it never moves faster than twice the time that the publisher runs.
//!
//! The clock of a machine may start a hundred days ahead, or be set wrongly for an hour; the receipts of months must not be
//! deleted for that. A machine that was off for a week catches up within a week.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use groma_disk::Disk;
use groma_spool::is_plausible;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::deliver::receipts::RECEIPTS_DIR;
use crate::files::visible_entries;
use crate::seal::journal::STATE_MODE;
use crate::{Config, PublishError};

const CLOCK_FILE: &str = "receipts-clock";

/// The time by which receipts grow old.
#[derive(Debug)]
pub(crate) struct Aging {
    path: PathBuf,
    /// `None` until the clock has shown a time that can be right.
    time: Option<Timestamp>,
    ticked: Instant,
}

impl Aging {
    /// Goes on where an earlier run ended. Where that is not known, the time of the oldest receipt is a beginning that deletes
    /// none: a newer one may have the date of a wrong clock.
    pub(crate) fn open(state_dir: &Path) -> Aging {
        let path = state_dir.join(CLOCK_FILE);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let known = text.trim().parse().ok().filter(|time| is_plausible(*time));
        Aging {
            time: known.or_else(|| oldest_receipt(state_dir)),
            path,
            ticked: Instant::now(),
        }
    }

    /// Moves the time on, as far as the clock and the time since the last call allow. Returns it, unless it is not known.
    pub(crate) fn tick(&mut self, config: &Config) -> Result<Option<Timestamp>, PublishError> {
        let elapsed = self.ticked.elapsed();
        self.ticked = Instant::now();
        let time = advance(self.time, (config.clock)(), elapsed);
        if time != self.time
            && let Some(time) = time
        {
            write(&config.disk, &self.path, time)?;
        }
        self.time = time;
        Ok(time)
    }
}

fn advance(time: Option<Timestamp>, now: Timestamp, elapsed: Duration) -> Option<Timestamp> {
    let Some(time) = time else {
        return is_plausible(now).then_some(now);
    };
    let most = SignedDuration::try_from(elapsed.saturating_mul(2)).unwrap_or(SignedDuration::MAX);
    let most = time.checked_add(most).unwrap_or(time);
    Some(time.max(now.min(most)))
}

fn oldest_receipt(state_dir: &Path) -> Option<Timestamp> {
    let days = visible_entries(&state_dir.join(RECEIPTS_DIR)).ok()?;
    let times = days.iter().filter_map(|day| {
        let day: Date = day.file_name()?.to_str()?.parse().ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    times.filter(|time| is_plausible(*time)).min()
}

fn write(disk: &Disk, path: &Path, time: Timestamp) -> Result<(), PublishError> {
    disk.rewrite_durable(path, time.to_string().as_bytes(), STATE_MODE)
        .map_err(PublishError::io("write the time of receipts", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn time_follows_the_clock_at_most_twice_as_fast_and_never_back() {
        let start = at("2026-11-30T00:00:00Z");
        for (now, expected) in [
            ("2026-11-30T01:00:00Z", "2026-11-30T01:00:00Z"),
            ("2027-03-30T00:00:00Z", "2026-11-30T02:00:00Z"),
            ("1970-01-01T00:00:05Z", "2026-11-30T00:00:00Z"),
            ("9999-12-30T00:00:00Z", "2026-11-30T02:00:00Z"),
        ] {
            assert_eq!(
                advance(Some(start), at(now), HOUR),
                Some(at(expected)),
                "{now}"
            );
        }
        assert_eq!(advance(None, at("1970-01-01T00:00:05Z"), HOUR), None);
        assert_eq!(advance(None, start, HOUR), Some(start));
    }

    #[test]
    fn the_oldest_receipt_is_the_time_of_a_state_that_knows_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Aging::open(dir.path()).time, None);
        for day in [
            "1970-01-01",
            "2026-08-01",
            "2026-11-29",
            "9999-12-31",
            "odd",
        ] {
            std::fs::create_dir_all(dir.path().join(RECEIPTS_DIR).join(day)).unwrap();
        }
        let oldest = Some(at("2026-08-01T00:00:00Z"));
        assert_eq!(Aging::open(dir.path()).time, oldest);
        for damaged in ["", "garbage", "9999-12-31T23:59:59Z"] {
            std::fs::write(dir.path().join(CLOCK_FILE), damaged).unwrap();
            assert_eq!(Aging::open(dir.path()).time, oldest, "{damaged:?}");
        }
    }
}
