//! Watching a directory tree for files that were closed or moved into place.
//!
//! inotify(7) watches single directories, so a tree watcher has a race: a
//! directory may be made and filled before its watch exists. Here every new
//! directory is read once after its watch stands, so that what came before is
//! found by the reading and what comes after by the watch; a file may then be
//! told twice, but never not at all. When the kernel's queue overflows, events
//! are lost for good, and [`Change::Rescan`] says so.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::event::{PollFd, PollFlags, poll};

/// What happened in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file was closed after writing, or moved to this path, or was found in a
    /// directory that is new. The same file may be told more than once.
    File {
        /// Where it stands.
        path: PathBuf,
        /// `true` if an event said that its writer closed it or moved it here;
        /// `false` if it was found by reading a new directory, when a writer may
        /// still have it open.
        closed: bool,
    },
    /// Events were lost: walk the whole tree.
    Rescan,
}

/// A watch that could not be set up or read.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct WatchError {
    /// What was being done.
    pub operation: &'static str,
    /// The directory.
    pub path: PathBuf,
    /// What the system said; `ENOSPC` means that `fs.inotify.max_user_watches` is used up.
    pub source: io::Error,
}

/// Watches a directory and all directories below it, except hidden ones.
#[derive(Debug)]
pub struct TreeWatch {
    inotify: Inotify,
    watches: Watches,
    root: PathBuf,
    directories: HashMap<WatchDescriptor, PathBuf>,
    buffer: Vec<u8>,
    found: Vec<Change>,
}

/// Room for at least 200 events at a time.
const BUFFER_BYTES: usize = 64 * 1024;

impl TreeWatch {
    /// Watches `root`, which must exist, and everything below it. Files that are
    /// there already are not told: the caller walks the tree after this returned.
    pub fn new(root: &Path) -> Result<Self, WatchError> {
        let inotify = Inotify::init().map_err(|source| WatchError {
            operation: "start watching",
            path: root.to_owned(),
            source,
        })?;
        let watches = inotify.watches();
        let mut tree = Self {
            inotify,
            watches,
            root: root.to_owned(),
            directories: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            found: Vec::new(),
        };
        tree.add(root.to_owned(), true)?;
        tree.found.clear();
        Ok(tree)
    }

    /// Waits until something happened or `timeout` passed, and tells all that
    /// happened since the last call, oldest first.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>, WatchError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.read_events()?;
            if !self.found.is_empty() {
                return Ok(std::mem::take(&mut self.found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let timespec = rustix::event::Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
            match poll(&mut fds, timespec.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.failed("wait for changes below", error.into())),
            }
        }
    }

    fn read_events(&mut self) -> Result<(), WatchError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_events_into(&mut buffer);
        self.buffer = buffer;
        result
    }

    fn read_events_into(&mut self, buffer: &mut [u8]) -> Result<(), WatchError> {
        loop {
            let events = match self.inotify.read_events(buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.failed("read changes below", error)),
            };
            let mut any = false;
            for event in events {
                any = true;
                self.take(event.mask, &event.wd, event.name)?;
            }
            if !any {
                return Ok(());
            }
        }
    }

    fn take(
        &mut self,
        mask: EventMask,
        wd: &WatchDescriptor,
        name: Option<&OsStr>,
    ) -> Result<(), WatchError> {
        if mask.contains(EventMask::Q_OVERFLOW) {
            tracing::warn!(root = %self.root.display(), "the kernel's event queue overflowed; walking the tree again");
            self.add(self.root.clone(), true)?;
            self.found.clear();
            self.found.push(Change::Rescan);
            return Ok(());
        }
        if mask.contains(EventMask::IGNORED) {
            self.directories.remove(wd);
            return Ok(());
        }
        let (Some(dir), Some(name)) = (self.directories.get(wd), name) else {
            return Ok(());
        };
        let path = dir.join(name);
        if mask.contains(EventMask::ISDIR) {
            if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) && !is_hidden(name) {
                self.add(path, false)?;
            }
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) && !is_hidden(name)
        {
            self.found.push(Change::File { path, closed: true });
        }
        Ok(())
    }

    /// Watches a directory, then reads it; the root alone must not be missing.
    fn add(&mut self, dir: PathBuf, must_exist: bool) -> Result<(), WatchError> {
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVED_TO
                | WatchMask::CREATE
                | WatchMask::ONLYDIR
                | WatchMask::DONT_FOLLOW
                | WatchMask::EXCL_UNLINK;
            match self.watches.add(&dir, mask) {
                Ok(descriptor) => self.directories.insert(descriptor, dir.clone()),
                Err(error) if gone(&error) && !(must_exist && dir == self.root) => continue,
                Err(source) => {
                    return Err(WatchError {
                        operation: "watch",
                        path: dir,
                        source,
                    });
                }
            };
            self.read_directory(&dir, &mut waiting)?;
        }
        Ok(())
    }

    fn read_directory(&mut self, dir: &Path, waiting: &mut Vec<PathBuf>) -> Result<(), WatchError> {
        let failed = |source| WatchError {
            operation: "list",
            path: dir.to_owned(),
            source,
        };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // An entry that vanished between the listing and this line needs no word.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if is_hidden(&entry.file_name()) {
                continue;
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            } else {
                self.found.push(Change::File {
                    path: entry.path(),
                    closed: false,
                });
            }
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> WatchError {
        WatchError {
            operation,
            path: self.root.clone(),
            source,
        }
    }
}

impl AsFd for TreeWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

/// Whether a path stopped being a directory while it was looked at.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Collects until the tree has been silent for a moment.
    fn all(tree: &mut TreeWatch) -> Vec<Change> {
        let mut changes = Vec::new();
        loop {
            let more = tree.wait(Duration::from_millis(200)).unwrap();
            if more.is_empty() {
                return changes;
            }
            changes.extend(more);
        }
    }

    fn files(changes: &[Change]) -> BTreeSet<PathBuf> {
        changes
            .iter()
            .filter_map(|change| match change {
                Change::File { path, .. } => Some(path.clone()),
                Change::Rescan => None,
            })
            .collect()
    }

    #[test]
    fn a_closed_and_a_moved_file_are_told_an_open_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        let open = fs::File::create(dir.path().join("open")).unwrap();
        fs::write(dir.path().join("closed"), "x").unwrap();
        fs::write(dir.path().join(".hidden"), "x").unwrap();
        fs::rename(dir.path().join(".hidden"), dir.path().join("moved")).unwrap();
        let told = files(&all(&mut tree));
        assert_eq!(
            told,
            ["closed", "moved"]
                .iter()
                .map(|name| dir.path().join(name))
                .collect()
        );
        drop(open);
        assert_eq!(all(&mut tree).len(), 1);
    }

    #[test]
    fn files_of_a_directory_made_and_filled_at_once_are_all_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        let mut expected = BTreeSet::new();
        for day in 1..=28 {
            let date = dir.path().join(format!("ndt7/2026/02/{day:02}"));
            fs::create_dir_all(&date).unwrap();
            for serial in 0..20 {
                let path = date.join(format!("{serial}.json"));
                fs::write(&path, "{}").unwrap();
                expected.insert(path);
            }
        }
        assert_eq!(files(&all(&mut tree)), expected);
    }

    #[test]
    fn hidden_directories_and_links_are_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        fs::create_dir(dir.path().join(".tmp")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        all(&mut tree);
        fs::write(dir.path().join(".tmp/a"), "x").unwrap();
        fs::write(outside.path().join("b"), "x").unwrap();
        assert_eq!(all(&mut tree), []);
    }

    #[test]
    fn a_missing_root_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(TreeWatch::new(&dir.path().join("none")).is_err());
    }

    #[test]
    fn an_overflowing_queue_is_told_as_a_rescan() {
        let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if limit > 100_000 {
            println!("skipped: the kernel's queue of {limit} events is too long to fill here");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        for serial in 0..=limit {
            // Two names in turn, because the kernel merges equal events that follow each other.
            fs::write(dir.path().join(format!("{}", serial % 2)), "x").unwrap();
        }
        assert!(all(&mut tree).contains(&Change::Rescan));
        fs::write(dir.path().join("after"), "x").unwrap();
        assert!(files(&all(&mut tree)).contains(&dir.path().join("after")));
    }
}
