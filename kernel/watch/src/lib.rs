//! Watches a directory tree for files that were closed or moved into place.
//!
//! inotify(7) watches single directories, so a tree watcher has a race: a
//! directory may be created and filled before its watch exists. This crate reads
//! every new directory once after it has added the watch. The reading finds older
//! files and the watch newer ones; a file may be reported twice, but is never missed.
//! When the kernel's queue overflows, events are lost, and the watch reports
//! [`Change::Rescan`].
//!
//! A process that may write below the root can create a directory that cannot be
//! watched: its path is too long for the kernel, it is not readable, the user has
//! no watch left, or it is nested too deeply. Such a directory never ends the
//! watch. It is left out; while any is left out, the watch reports
//! [`Change::Rescan`] once a minute and tries all of them again.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::event::{PollFd, PollFlags, poll};

/// A change in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file was closed after writing, or moved to this path, or was found in a
    /// new directory. The same file may be reported more than once.
    File {
        /// Its path.
        path: PathBuf,
        /// `true` if an event said that its writer closed it or moved it here;
        /// `false` if it was found by reading a new directory, when a writer may
        /// still have it open.
        closed: bool,
    },
    /// Events were lost, or a directory cannot be watched: walk the whole tree.
    Rescan,
}

/// The root could not be watched, or its events could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct WatchError {
    /// The operation that failed.
    pub operation: &'static str,
    /// The root.
    pub path: PathBuf,
    /// The error of the system; `ENOSPC` means that `fs.inotify.max_user_watches` is used up.
    pub source: io::Error,
}

/// Watches a directory and all directories below it, except hidden ones and those too deep.
#[derive(Debug)]
pub struct TreeWatch {
    inotify: Inotify,
    watches: Watches,
    root: PathBuf,
    max_depth: usize,
    directories: HashMap<WatchDescriptor, PathBuf>,
    buffer: Vec<u8>,
    found: Vec<Change>,
    unwatched: usize,
    // The time of the next attempt to watch the directories left out; `None` while there are none.
    retry_at: Option<Instant>,
    warned: bool,
}

/// The depth to which [`TreeWatch::new`] goes below the root. The spool needs 4 directories, an
/// object name of the archive 8.
pub const DEFAULT_MAX_DEPTH: usize = 12;

/// How often the watch tries directories that are left out again, and reports a rescan.
const RETRY_EVERY: Duration = Duration::from_mins(1);

/// Room for at least 200 events at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The most changes that wait for the caller; beyond them, walking the tree costs less than the list.
const MAX_CHANGES: usize = 100_000;

/// Whether the files found by reading a directory are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Reported,
    /// The caller walks the tree anyway.
    Ignored,
}

impl TreeWatch {
    /// Watches `root`, which must exist, and everything to [`DEFAULT_MAX_DEPTH`] below
    /// it. Existing files are not reported: the caller walks the tree after
    /// this returns. Only an error of the root itself makes it fail.
    pub fn new(root: &Path) -> Result<Self, WatchError> {
        Self::with_max_depth(root, DEFAULT_MAX_DEPTH)
    }

    /// Does the same with another limit: directories with more than `max_depth` names
    /// between them and the root are not entered. 0 is the root alone.
    pub fn with_max_depth(root: &Path, max_depth: usize) -> Result<Self, WatchError> {
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
            max_depth,
            directories: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            found: Vec::new(),
            unwatched: 0,
            retry_at: None,
            warned: false,
        };
        tree.watch_all()?;
        Ok(tree)
    }

    /// Returns how many directories are left out because they cannot be watched or are
    /// too deep, since the last walk of the tree. Changes in them are not reported.
    pub fn unwatched(&self) -> usize {
        self.unwatched
    }

    /// Waits for a change or until `timeout` has passed, and returns all changes
    /// since the last call, oldest first.
    ///
    /// A root that was removed and created again is watched, and reported as a rescan; one
    /// that was removed only is an error.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>, WatchError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.read_events()?;
            self.retry_unwatched()?;
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
            if !any || self.found.len() >= MAX_CHANGES {
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
            self.watch_all()?;
            self.found.clear();
            self.found.push(Change::Rescan);
            return Ok(());
        }
        if mask.contains(EventMask::IGNORED) {
            if self
                .directories
                .remove(wd)
                .is_some_and(|dir| dir == self.root)
            {
                // Somebody removed the root. A new one may have files already.
                self.watch_all()?;
                self.found.push(Change::Rescan);
            }
            return Ok(());
        }
        let (Some(dir), Some(name)) = (self.directories.get(wd), name) else {
            return Ok(());
        };
        let path = dir.join(name);
        if mask.contains(EventMask::ISDIR) {
            if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) && !is_hidden(name) {
                self.add(path, Found::Reported)?;
            }
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) && !is_hidden(name)
        {
            self.report(path, true);
        }
        Ok(())
    }

    /// Watches all directories that are not watched yet, without reporting files.
    fn watch_all(&mut self) -> Result<(), WatchError> {
        (self.unwatched, self.retry_at) = (0, None);
        self.add(self.root.clone(), Found::Ignored)
    }

    fn retry_unwatched(&mut self) -> Result<(), WatchError> {
        if self.retry_at.is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        // The caller must walk directories that stay left out, and may find files in those that are now watched.
        self.found.push(Change::Rescan);
        self.watch_all()
    }

    /// Watches a directory, reads it, and does the same with the directories in it. Only
    /// an error of the root is an error.
    fn add(&mut self, dir: PathBuf, found: Found) -> Result<(), WatchError> {
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            let is_root = dir == self.root;
            if let Err((operation, source)) = self.enter(&dir, found, &mut waiting) {
                if is_root {
                    return Err(self.failed(operation, source));
                }
                if !gone(&source) {
                    self.leave_out(operation, &dir, &source);
                }
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        dir: &Path,
        found: Found,
        waiting: &mut Vec<PathBuf>,
    ) -> Result<(), (&'static str, io::Error)> {
        let below = dir.strip_prefix(&self.root).unwrap_or(dir);
        if below.components().count() > self.max_depth {
            let reason = format!("more than {} directories deep", self.max_depth);
            return Err(("watch", io::Error::other(reason)));
        }
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW
            | WatchMask::EXCL_UNLINK;
        let watch = self.watches.add(dir, mask);
        let watch = watch.map_err(|source| ("watch", source))?;
        self.directories.insert(watch, dir.to_owned());
        self.read_directory(dir, found, waiting)
            .map_err(|source| ("list", source))
    }

    fn read_directory(
        &mut self,
        dir: &Path,
        found: Found,
        waiting: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // The entry may have been removed since the listing.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if is_hidden(&entry.file_name()) {
                continue;
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if found == Found::Reported {
                self.report(entry.path(), false);
            }
        }
        Ok(())
    }

    fn report(&mut self, path: PathBuf, closed: bool) {
        if self.found.len() >= MAX_CHANGES {
            self.found.clear();
            self.found.push(Change::Rescan);
        }
        self.found.push(Change::File { path, closed });
    }

    /// Leaves a directory out and asks the caller to walk it.
    fn leave_out(&mut self, operation: &'static str, dir: &Path, source: &io::Error) {
        self.unwatched += 1;
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + RETRY_EVERY);
            self.found.push(Change::Rescan);
        }
        // One line for the life of the watch: a process that fills the tree must not fill the log.
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                operation, directory = ?dir, error = %source,
                "cannot watch a directory; files in it and in others like it are found by walking the tree"
            );
        }
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

/// Returns whether a path stopped being a directory while it was being read.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests;
