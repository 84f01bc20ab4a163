//! Files that are closed and cannot be claimed: which, why and since when.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use groma_spool::Name;
use rustix::io::Errno;

use crate::metrics::DatatypeMetrics;

/// Files that are remembered. More are in a log line only.
const MOST: usize = 10_000;
/// Files that are tried again at a time.
pub(crate) const AT_A_TIME: usize = 1_000;
/// A file that waits for another one or for its writer becomes a fault after this time.
const MAY_WAIT: Duration = Duration::from_mins(1);

/// Why a file cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its path is not of the form `<datatype>/YYYY/MM/DD/<file>`, or a name has other characters.
    Name,
    /// It is a link, a pipe, a directory, or has several hard links.
    Kind,
    /// It has several hard links, one of which its writer may be about to remove.
    Links,
    /// A file of the same name is not published yet.
    SameName,
    /// Its writer has it open for longer than the age limit.
    HeldOpen,
    /// The publisher may not move it: the directory's permissions, or an immutable file.
    Permission,
    /// Its directory is on another volume than its datatype.
    OtherVolume,
    /// The file system is read-only.
    ReadOnly,
    /// No room for the directory of claimed files.
    NoRoom,
    /// Another error of the system.
    Io,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Reason; 10] = [
        Reason::Name,
        Reason::Kind,
        Reason::Links,
        Reason::SameName,
        Reason::HeldOpen,
        Reason::Permission,
        Reason::OtherVolume,
        Reason::ReadOnly,
        Reason::NoRoom,
        Reason::Io,
    ];

    pub(crate) fn of(error: &io::Error) -> Reason {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Reason::Permission,
            io::ErrorKind::CrossesDevices => Reason::OtherVolume,
            io::ErrorKind::ReadOnlyFilesystem => Reason::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::NoRoom,
            _ if Errno::from_io_error(error) == Some(Errno::PERM) => Reason::Permission,
            _ => Reason::Io,
        }
    }

    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Reason::Name => "name",
            Reason::Kind => "kind",
            Reason::Links => "links",
            Reason::SameName => "same_name",
            Reason::HeldOpen => "held_open",
            Reason::Permission => "permission",
            Reason::OtherVolume => "other_volume",
            Reason::ReadOnly => "read_only",
            Reason::NoRoom => "no_room",
            Reason::Io => "io",
        }
    }

    fn may_pass(self) -> bool {
        matches!(self, Reason::Links | Reason::SameName | Reason::HeldOpen)
    }
}

/// One blocked file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    reason: Reason,
    is_closed: bool,
    since: Instant,
    /// The number of the walk that saw it last.
    walk: u64,
}

/// The blocked files of one datatype, by their paths below the experiment's directory.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    files: BTreeMap<String, Entry>,
    /// Directories that cannot be read.
    dirs: BTreeMap<String, Reason>,
    walk: u64,
    /// Where the next round of tries begins.
    next: String,
}

impl Blocked {
    /// Takes a file in. Returns whether it is new or blocked for another reason than before.
    pub(crate) fn add(
        &mut self,
        path: &str,
        reason: Reason,
        is_closed: bool,
        metrics: &DatatypeMetrics,
    ) -> bool {
        if let Some(entry) = self.files.get_mut(path) {
            entry.walk = self.walk;
            entry.is_closed |= is_closed;
            let before = std::mem::replace(&mut entry.reason, reason);
            if before != reason {
                metrics.unblocked(before.as_str());
                metrics.blocked(reason.as_str());
            }
            return before != reason;
        }
        if self.files.len() >= MOST {
            return false;
        }
        let entry = Entry {
            reason,
            is_closed,
            since: Instant::now(),
            walk: self.walk,
        };
        self.files.insert(path.to_owned(), entry);
        metrics.found();
        metrics.blocked(reason.as_str());
        true
    }

    /// Takes a file out. Returns whether it was there.
    pub(crate) fn remove(&mut self, path: &str, metrics: &DatatypeMetrics) -> bool {
        let entry = self.files.remove(path);
        if let Some(entry) = &entry {
            metrics.unblocked(entry.reason.as_str());
        }
        entry.is_some()
    }

    /// Notes that a directory can be read, or why not. Returns whether that is new.
    pub(crate) fn set_dir(&mut self, path: &str, reason: Option<Reason>) -> bool {
        match reason {
            Some(reason) => self.dirs.insert(path.to_owned(), reason) != Some(reason),
            None => self.dirs.remove(path).is_some(),
        }
    }

    /// Begins a walk.
    pub(crate) fn begin_walk(&mut self) {
        self.walk += 1;
    }

    /// Takes out files that a whole walk did not see and that are known by name only. Returns how many.
    pub(crate) fn end_walk(&mut self, metrics: &DatatypeMetrics) -> usize {
        let walk = self.walk;
        let gone: Vec<String> = self
            .files
            .iter()
            .filter(|(_, entry)| entry.walk < walk && entry.reason == Reason::Name)
            .map(|(path, _)| path.clone())
            .collect();
        for path in &gone {
            self.remove(path, metrics);
        }
        gone.len()
    }

    /// The next files to try again, and whether their closing was seen.
    pub(crate) fn next(&mut self) -> Vec<(String, bool)> {
        let after = self.files.range(self.next.clone()..);
        let before = self.files.range(..self.next.clone());
        let mut files = after.chain(before);
        let some: Vec<_> = files
            .by_ref()
            .take(AT_A_TIME)
            .map(|(path, entry)| (path.clone(), entry.is_closed))
            .collect();
        self.next = files
            .next()
            .map_or_else(String::new, |(path, _)| path.clone());
        some
    }

    /// Since when the oldest file is blocked.
    pub(crate) fn oldest(&self) -> Duration {
        let ages = self.files.values().map(|entry| entry.since.elapsed());
        ages.max().unwrap_or_default()
    }

    pub(crate) fn dirs(&self) -> usize {
        self.dirs.len()
    }

    /// Describes the first fault of the datatype in one sentence.
    pub(crate) fn fault(&self, datatype: &Name) -> Option<String> {
        if let Some((dir, reason)) = self.dirs.first_key_value() {
            let count = self.dirs.len();
            let reason = reason.as_str();
            return Some(format!(
                "{count} directories of {datatype} cannot be read ({reason}), for example {dir:?}"
            ));
        }
        let is_fault =
            |entry: &Entry| !entry.reason.may_pass() || entry.since.elapsed() >= MAY_WAIT;
        let mut faults = self.files.iter().filter(|(_, entry)| is_fault(entry));
        let (path, entry) = faults.next()?;
        let (count, reason) = (1 + faults.count(), entry.reason.as_str());
        Some(format!(
            "{count} files of {datatype} cannot be claimed, for example {path:?} ({reason})"
        ))
    }
}
