//! How much time has passed, independent of the wall clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use groma_disk::{Replace, write_durable};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One reading of the clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// Which boot of the machine this is.
    pub(super) boot_id: String,
    /// Seconds since the boot, times of suspension included.
    pub(super) boot_seconds: u64,
    /// Wall clock, seconds since 1970.
    pub(super) wall_seconds: u64,
}

impl Reading {
    pub(super) fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        Self {
            // Without one every start counts as a boot, and the wall clock says how much time passed.
            boot_id: groma_uuid::boot_id().unwrap_or_default(),
            boot_seconds: boot.tv_sec.max(0).cast_unsigned(),
            wall_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |wall| wall.as_secs()),
        }
    }
}

/// The state that is kept between two lives.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    elapsed_seconds: u64,
    at: Reading,
    before_reboot: Option<Before>,
}

/// The last time before a reboot at which the wall clock was known.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Before {
    wall_seconds: u64,
    elapsed_seconds: u64,
}

/// A count of seconds that goes on over restarts and reboots.
///
/// Within a boot it follows the kernel's clock since boot, which cannot be set. Over a reboot it adds the difference of
/// the wall clock. A wall clock before the last known time, as on a machine without a battery, says
/// nothing until it is set.
#[derive(Debug)]
pub(super) struct Elapsed {
    path: PathBuf,
    base_seconds: u64,
    start: Reading,
    /// Set while the time that passed over a reboot is not known.
    before_reboot: Option<Before>,
}

impl Elapsed {
    /// Goes on from the file `path`. Where it is missing or cannot be read, at least `at_least` seconds have passed.
    pub(super) fn open(path: PathBuf, at_least: u64, now: Reading) -> Self {
        let saved = fs::read(&path).ok();
        let saved: Option<Saved> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut elapsed = Self {
            path,
            base_seconds: at_least,
            start: now,
            before_reboot: None,
        };
        if let Some(Saved {
            elapsed_seconds,
            at,
            before_reboot,
        }) = saved
        {
            elapsed.before_reboot = before_reboot;
            elapsed.base_seconds = elapsed_seconds.max(at_least);
            if at.boot_id == elapsed.start.boot_id && !at.boot_id.is_empty() {
                let passed = elapsed.start.boot_seconds.saturating_sub(at.boot_seconds);
                elapsed.base_seconds += passed;
            } else {
                elapsed.before_reboot.get_or_insert(Before {
                    wall_seconds: at.wall_seconds,
                    elapsed_seconds,
                });
            }
        }
        elapsed
    }

    /// Seconds that have passed.
    pub(super) fn seconds(&mut self, now: &Reading) -> u64 {
        let in_this_life = now.boot_seconds.saturating_sub(self.start.boot_seconds);
        let counted = self.base_seconds + in_this_life;
        let Some(before) = self.before_reboot else {
            return counted;
        };
        let Some(passed) = now.wall_seconds.checked_sub(before.wall_seconds) else {
            return counted;
        };
        let missing = (before.elapsed_seconds + passed).saturating_sub(counted);
        self.base_seconds += missing;
        self.before_reboot = None;
        counted + missing
    }

    /// Keeps the count for the next life.
    pub(super) fn save(&mut self, now: Reading) -> io::Result<()> {
        let saved = Saved {
            elapsed_seconds: self.seconds(&now),
            at: now,
            before_reboot: self.before_reboot,
        };
        let text = serde_json::to_vec(&saved).expect("numbers and a text");
        write_durable(&self.path, &text, Replace::Always)
    }
}

/// Reads the seconds in a name of [`name`].
pub(super) fn seconds_of(file: &Path) -> Option<u64> {
    let stem = file.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    stem.rsplit_once('-')?.1.parse().ok()
}

/// The name of a file of addresses that begins now: the minute for people, the seconds for [`Elapsed`].
pub(super) fn name(elapsed_seconds: u64) -> String {
    let minute = jiff::Timestamp::now().strftime("%Y%m%dT%H%MZ");
    format!("{minute}-{elapsed_seconds:012}.jsonl")
}

/// A duration in whole seconds.
pub(super) const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_2026: u64 = 1_796_000_000;

    fn reading(boot: &str, boot_seconds: u64, wall_seconds: u64) -> Reading {
        Reading {
            boot_id: boot.to_owned(),
            boot_seconds,
            wall_seconds,
        }
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        (dir, path)
    }

    #[test]
    fn steps_of_the_wall_clock_change_nothing_within_a_boot() {
        let (_dir, path) = place();
        let mut first = Elapsed::open(path.clone(), 0, reading("a", 100, YEAR_2026));
        assert_eq!(first.seconds(&reading("a", 160, 0)), 60);
        assert_eq!(first.seconds(&reading("a", 170, 2 * YEAR_2026)), 70);
        first.save(reading("a", 180, 5)).unwrap();
        let mut second = Elapsed::open(path, 0, reading("a", 200, 3 * YEAR_2026));
        assert_eq!(second.seconds(&reading("a", 210, 1)), 110);
    }

    #[test]
    fn over_a_reboot_the_wall_clock_counts_once_it_is_set() {
        let (_dir, path) = place();
        let mut first = Elapsed::open(path.clone(), 0, reading("a", 0, YEAR_2026));
        first.save(reading("a", 50, YEAR_2026 + 50)).unwrap();
        let mut second = Elapsed::open(path.clone(), 0, reading("b", 5, 1000));
        assert_eq!(second.seconds(&reading("b", 15, 1010)), 60);
        second.save(reading("b", 15, 1010)).unwrap();
        let mut third = Elapsed::open(path.clone(), 0, reading("c", 5, 1000));
        assert_eq!(third.seconds(&reading("c", 15, 1010)), 70);
        third.save(reading("c", 15, 1010)).unwrap();
        // The clock is set: the machine was off for most of 1000 seconds.
        let set = reading("c", 25, YEAR_2026 + 50 + 1000);
        assert_eq!(third.seconds(&set), 50 + 1000);
        third.save(set).unwrap();
        let mut fourth = Elapsed::open(path, 0, reading("c", 35, 0));
        assert_eq!(fourth.seconds(&reading("c", 35, 0)), 1060);
    }

    #[test]
    fn a_lost_count_never_makes_files_younger_than_they_were() {
        let (_dir, path) = place();
        fs::write(&path, "not json").unwrap();
        let mut elapsed = Elapsed::open(path, 5000, reading("a", 7, YEAR_2026));
        assert_eq!(elapsed.seconds(&reading("a", 17, YEAR_2026)), 5010);
    }

    #[test]
    fn names_say_when() {
        assert_eq!(seconds_of(Path::new(&name(123))), Some(123));
        assert_eq!(seconds_of(Path::new("clock")), None);
    }
}
