//! The addresses of connections that were not admitted, for operators, for 72 hours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_disk::sync_dir;

use super::elapsed::{Elapsed, Reading, name, seconds_of, whole_seconds};
use crate::file::create_private;

/// No address is kept longer.
pub(crate) const KEEP_SECONDS: u64 = whole_seconds(Duration::from_hours(72));
/// A file takes addresses for this long, and is deleted as a whole when its first one is due.
const FILE_SECONDS: u64 = whole_seconds(Duration::from_mins(10));

/// A directory of JSON lines, mode 0700, the files 0600.
#[derive(Debug)]
pub(super) struct Addresses {
    dir: PathBuf,
    elapsed: Elapsed,
    /// The file that takes addresses now, and since when.
    current: Option<(File, u64)>,
}

impl Addresses {
    /// Opens the store and deletes what is due.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        create_private(&dir)?;
        let now = Reading::now();
        let newest = files(&dir)?.into_iter().map(|(_, at)| at).max();
        let elapsed = Elapsed::open(dir.join("clock"), newest.unwrap_or(0), now);
        let mut addresses = Self {
            dir,
            elapsed,
            current: None,
        };
        addresses.sweep(Reading::now())?;
        Ok(addresses)
    }

    /// Adds lines, durably. After an error some of them may be there.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let now = self.elapsed.seconds(&Reading::now());
        let current = self.current.take();
        let current = current.filter(|(_, since)| now - since < FILE_SECONDS);
        let (mut file, since) = match current {
            Some(current) => current,
            None => (self.create(now)?, now),
        };
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.current = Some((file, since));
        Ok(())
    }

    fn create(&self, now: u64) -> io::Result<File> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.join(name(now)))?;
        sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Deletes files whose first address is 72 hours old, and keeps the count of time.
    pub(super) fn sweep(&mut self, now: Reading) -> io::Result<()> {
        let seconds = self.elapsed.seconds(&now);
        let mut deleted = 0;
        for (path, since) in files(&self.dir)? {
            if seconds.saturating_sub(since) >= KEEP_SECONDS {
                fs::remove_file(path)?;
                deleted += 1;
            }
        }
        if deleted > 0 {
            sync_dir(&self.dir)?;
            tracing::info!(
                files = deleted,
                "deleted addresses of unadmitted connections after 72 hours"
            );
        }
        self.elapsed.save(now)
    }
}

/// Files of addresses, with the count of seconds at which each began.
fn files(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some(since) = seconds_of(&path) {
            found.push((path, since));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn later(seconds: u64) -> Reading {
        let mut now = Reading::now();
        now.boot_seconds += seconds;
        now
    }

    fn lines(dir: &Path) -> Vec<String> {
        let mut all: Vec<String> = files(dir)
            .unwrap()
            .into_iter()
            .map(|(path, _)| fs::read_to_string(path).unwrap())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn addresses_are_deleted_after_72_hours_whatever_the_wall_clock_says() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("addresses");
        let mut addresses = Addresses::open(dir.clone()).unwrap();
        addresses.append("one\n").unwrap();
        let mut stepped = later(KEEP_SECONDS - 60);
        stepped.wall_seconds *= 2;
        addresses.sweep(stepped).unwrap();
        assert_eq!(lines(&dir), ["one\n"], "the clock was set, no time passed");
        let mut back = later(KEEP_SECONDS + 60);
        back.wall_seconds = 0;
        addresses.sweep(back).unwrap();
        assert!(lines(&dir).is_empty());
    }

    #[test]
    fn a_start_deletes_what_is_due() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("addresses");
        let mut addresses = Addresses::open(dir.clone()).unwrap();
        addresses.append("old\n").unwrap();
        drop(addresses);
        // As if 72 hours had passed since: the count goes on from here.
        let clock = fs::read_to_string(dir.join("clock")).unwrap();
        let mut clock: serde_json::Value = serde_json::from_str(&clock).unwrap();
        clock["elapsed_seconds"] = (KEEP_SECONDS + 5).into();
        fs::write(dir.join("clock"), clock.to_string()).unwrap();
        let mut addresses = Addresses::open(dir.clone()).unwrap();
        assert!(lines(&dir).is_empty());
        addresses.append("new\n").unwrap();
        drop(addresses);
        drop(Addresses::open(dir.clone()).unwrap());
        assert_eq!(lines(&dir), ["new\n"]);
    }

    #[test]
    fn only_the_user_of_the_recorder_can_read_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("addresses");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let mut addresses = Addresses::open(dir.clone()).unwrap();
        addresses.append("one\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for (path, _) in files(&dir).unwrap() {
            assert_eq!(mode(&path), 0o600);
        }
    }
}
