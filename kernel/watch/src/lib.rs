//! Watching a directory tree for files that were closed or moved into place.
//!
//! inotify(7) watches single directories, so a tree watcher has a race: a
//! directory may be made and filled before its watch exists. Here every new
//! directory is read once after its watch stands, so that what came before is
//! found by the reading and what comes after by the watch; a file may then be
//! told twice, but never not at all. When the kernel's queue overflows, events
//! are lost for good, and [`Change::Rescan`] says so.
//!
//! Whoever may write below the root may also make a directory that cannot be
//! watched: a path too long for the kernel, one that we may not read, one more
//! than the user may watch, one nested without end. Such a directory never ends
//! the watch. It is left out, and as long as one is, [`Change::Rescan`] comes
//! once a minute, when everything is also tried again.

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
    /// Events were lost, or a directory cannot be watched: walk the whole tree.
    Rescan,
}

/// The root could not be watched, or its events could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct WatchError {
    /// What was being done.
    pub operation: &'static str,
    /// The root.
    pub path: PathBuf,
    /// What the system said; `ENOSPC` means that `fs.inotify.max_user_watches` is used up.
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
    // When the unwatched are tried again; `None` while there are none.
    retry_at: Option<Instant>,
    warned: bool,
}

/// How deep [`TreeWatch::new`] goes below the root. The spool needs 4 directories, an
/// object name of the archive 8.
pub const DEFAULT_MAX_DEPTH: usize = 12;

/// How often directories that could not be watched are tried again, and a rescan is asked for.
const RETRY_EVERY: Duration = Duration::from_mins(1);

/// Room for at least 200 events at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The most changes that are kept for the caller; beyond them a walk costs less than the list.
const MAX_CHANGES: usize = 100_000;

/// Whether the files that reading a directory finds are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Told,
    /// The caller walks the tree anyway.
    Untold,
}

impl TreeWatch {
    /// Watches `root`, which must exist, and everything to [`DEFAULT_MAX_DEPTH`] below
    /// it. Files that are there already are not told: the caller walks the tree after
    /// this returned. Only the root itself can make it fail.
    pub fn new(root: &Path) -> Result<Self, WatchError> {
        Self::with_max_depth(root, DEFAULT_MAX_DEPTH)
    }

    /// As [`TreeWatch::new`], but with a limit of its own: directories with more than
    /// `max_depth` names between them and the root are not entered. 0 is the root alone.
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

    /// How many directories could not be watched or lie too deep, when the tree was
    /// last looked through and since. What happens in them is not told.
    pub fn unwatched(&self) -> usize {
        self.unwatched
    }

    /// Waits until something happened or `timeout` passed, and tells all that
    /// happened since the last call, oldest first.
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
            self.directories.remove(wd);
            return Ok(());
        }
        let (Some(dir), Some(name)) = (self.directories.get(wd), name) else {
            return Ok(());
        };
        let path = dir.join(name);
        if mask.contains(EventMask::ISDIR) {
            if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) && !is_hidden(name) {
                self.add(path, Found::Told)?;
            }
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) && !is_hidden(name)
        {
            self.tell(path, true);
        }
        Ok(())
    }

    /// Watches what is not watched yet, and tells none of the files it meets.
    fn watch_all(&mut self) -> Result<(), WatchError> {
        (self.unwatched, self.retry_at) = (0, None);
        self.add(self.root.clone(), Found::Untold)
    }

    fn retry_unwatched(&mut self) -> Result<(), WatchError> {
        if self.retry_at.is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        // Those that are still left out must be walked; those no longer may hold files already.
        self.found.push(Change::Rescan);
        self.watch_all()
    }

    /// Watches a directory, then reads it, and so on with those in it. The root alone
    /// must not be missing, and only what is wrong with the root is an error.
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
            // An entry that vanished between the listing and this line needs no word.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if is_hidden(&entry.file_name()) {
                continue;
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if found == Found::Told {
                self.tell(entry.path(), false);
            }
        }
        Ok(())
    }

    fn tell(&mut self, path: PathBuf, closed: bool) {
        if self.found.len() >= MAX_CHANGES {
            self.found.clear();
            self.found.push(Change::Rescan);
        }
        self.found.push(Change::File { path, closed });
    }

    /// Goes on without a directory, and has the caller look into it by itself.
    fn leave_out(&mut self, operation: &'static str, dir: &Path, source: &io::Error) {
        self.unwatched += 1;
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + RETRY_EVERY);
            self.found.push(Change::Rescan);
        }
        // One line for the life of the watch: whoever fills the tree must not fill the log.
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                operation, directory = ?dir, error = %source,
                "left out of the watch, as will be others like it: only walks of the tree see what is in them"
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

/// Whether a path stopped being a directory while it was looked at.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests;
