//! Picking up: from the experiment's directory into the directory of claimed files, by one rename.

pub(crate) mod backlog;
pub(crate) mod blocked;
pub(crate) mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use groma_spool::{Name, SpoolPath};

use crate::error::is_full;
use crate::events::Breach;
use crate::fault::{CrashPoint, reach};
use crate::pick_up::blocked::{Blocked, Reason};
use crate::shared::{Lane, Shared};
use crate::tree::{self, Found};

/// The result of offering a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Taken {
        found: Found,
    },
    /// A file of this name is claimed already and not yet published.
    SameName,
    /// It has several hard links, maybe only in the memory of its file system.
    SeveralLinks,
    /// A writer may still have it open, its datatype waits for room, or too many dates are open: later.
    Later,
    /// A writer has it open and has not written for longer than the age limit.
    HeldOpen,
    Gone,
    Refused(&'static str),
}

/// Dates that one datatype may have waiting at a time.
const OPEN_DATES: usize = 1_000;
/// The number of attempts of a rename while the worker removes the empty directory.
const RENAME_ATTEMPTS: usize = 10;

/// The part of the publisher that looks at the experiment's directory.
pub(crate) struct Picker {
    pub(crate) shared: Arc<Shared>,
    /// The files of each datatype that cannot be claimed.
    pub(crate) blocked: BTreeMap<Name, Blocked>,
    /// Directories that were reported because no datatype is configured for them.
    pub(crate) undeclared: BTreeSet<String>,
    /// A claim found no room.
    has_found_full: bool,
    /// The directories of the last file and of its claim: files come in swarms.
    from: Option<(String, OwnedFd)>,
    to: Option<(String, OwnedFd)>,
}

impl Picker {
    pub(crate) fn new(shared: Arc<Shared>) -> Picker {
        Picker {
            blocked: shared
                .lanes
                .keys()
                .map(|name| (name.clone(), Blocked::default()))
                .collect(),
            shared,
            undeclared: BTreeSet::new(),
            has_found_full: false,
            from: None,
            to: None,
        }
    }

    /// Forgets which directories were open: others may have their names meanwhile.
    pub(crate) fn forget_dirs(&mut self) {
        self.from = None;
        self.to = None;
    }

    /// Whether a claim found no room since this was asked last.
    pub(crate) fn found_full(&mut self) -> bool {
        std::mem::take(&mut self.has_found_full)
    }

    /// Offers a file that the watch reported: its absolute path, and whether a close event was seen.
    pub(crate) fn offer_path(&mut self, path: &Path, closed: bool) {
        let Ok(relative) = path.strip_prefix(self.shared.tree.path()) else {
            return;
        };
        self.offer(&relative.to_string_lossy(), closed);
    }

    /// Tries blocked files again, not all at once.
    pub(crate) fn offer_again(&mut self) {
        let mut again = Vec::new();
        for blocked in self.blocked.values_mut() {
            again.append(&mut blocked.next());
        }
        for (path, closed) in again {
            self.offer(&path, closed);
        }
    }

    /// Takes a file by its path below the experiment's directory, if it is one to take.
    pub(crate) fn offer(&mut self, relative: &str, closed: bool) {
        let mut parts = relative.split('/');
        let shared = Arc::clone(&self.shared);
        let first = parts.clone().next().unwrap_or_default();
        let Some(lane) = first
            .parse::<Name>()
            .ok()
            .and_then(|name| shared.lanes.get(&name))
        else {
            return;
        };
        // Unfinished and claimed files of a datatype on a volume of its own.
        if parts.any(|part| part.starts_with('.')) {
            return;
        }
        let path = match relative.parse::<SpoolPath>() {
            Ok(path) => path,
            Err(error) => {
                return self.block(lane, relative, closed, Reason::Name, &error.to_string());
            }
        };
        match self.claim(&path, closed) {
            Ok(Claim::Taken { found }) => {
                if !self.unblock(lane, relative) {
                    lane.metrics.found();
                }
                lane.metrics.claimed();
                if closed {
                    shared.metrics.claimed_after(found.age());
                }
                reach(&shared.config, CrashPoint::Claimed);
                let size_bytes = found.identity.size_bytes;
                lane.backlog.add(path.date, size_bytes, Instant::now());
            }
            Ok(Claim::Gone) => {
                if self.unblock(lane, relative) {
                    lane.metrics.dropped_unclaimed();
                }
            }
            Ok(Claim::Later) => {}
            Ok(Claim::SeveralLinks) => {
                let detail =
                    "it has several hard links; it waits until its writer has removed the others";
                self.block(lane, relative, closed, Reason::Links, detail);
            }
            Ok(Claim::SameName) => {
                let detail = "a file of this name is not published yet; it waits for that";
                self.block(lane, relative, closed, Reason::SameName, detail);
            }
            Ok(Claim::HeldOpen) => {
                let detail =
                    "not modified for long and still open for writing; it waits for its writer";
                self.block(lane, relative, closed, Reason::HeldOpen, detail);
            }
            Ok(Claim::Refused(reason)) => self.block(lane, relative, closed, Reason::Kind, reason),
            Err(error) => {
                if is_full(&error) {
                    self.has_found_full = true;
                    shared.reserve.release();
                }
                lane.metrics.error("claim");
                let reason = Reason::of(&error);
                self.block(lane, relative, closed, reason, &error.to_string());
            }
        }
    }

    /// Counts a file that cannot be claimed, and reports it once.
    fn block(&mut self, lane: &Lane, relative: &str, closed: bool, reason: Reason, detail: &str) {
        let Some(blocked) = self.blocked.get_mut(&lane.datatype.name) else {
            return;
        };
        if !blocked.add(relative, reason, closed, &lane.metrics) {
            return;
        }
        let breach = match reason {
            Reason::Name => Breach::Name,
            Reason::Kind => Breach::Kind,
            Reason::SameName => Breach::Blocked,
            Reason::HeldOpen => Breach::HeldOpen,
            Reason::Links => return,
            _ => {
                let reason = reason.as_str();
                tracing::warn!(
                    file = relative,
                    reason,
                    detail,
                    "cannot claim a file; it stays and will be tried again"
                );
                return;
            }
        };
        self.shared.breach(breach, relative, detail);
    }

    fn unblock(&mut self, lane: &Lane, relative: &str) -> bool {
        let blocked = self.blocked.get_mut(&lane.datatype.name);
        blocked.is_some_and(|blocked| blocked.remove(relative, &lane.metrics))
    }

    /// Shows in the metrics and in `/ready` what cannot be claimed.
    pub(crate) fn show_blocked(&self) {
        let mut faults = Vec::new();
        for (name, blocked) in &self.blocked {
            let metrics = &self.shared.lanes[name].metrics;
            metrics.oldest_blocked(blocked.oldest().as_secs(), blocked.dirs());
            faults.extend(blocked.fault(name));
        }
        let Some(lifecycle) = &self.shared.config.lifecycle else {
            return;
        };
        let part = format!("publish {}", self.shared.config.spool.experiment());
        if faults.is_empty() {
            lifecycle.recovered(&part);
        } else {
            lifecycle.failed(&part, &faults.join("; "));
        }
    }

    fn claim(&mut self, path: &SpoolPath, closed: bool) -> io::Result<Claim> {
        let shared = Arc::clone(&self.shared);
        let name = path.file.as_str();
        let Some(found) = self.find(&tree::spool_dir(path), name)? else {
            return Ok(Claim::Gone);
        };
        let Some((_, dir)) = &self.from else {
            return Ok(Claim::Gone);
        };
        if found.may_have_fewer_links() {
            return Ok(Claim::SeveralLinks);
        }
        if let Some(reason) = found.objection() {
            return Ok(Claim::Refused(reason));
        }
        if !closed && let Some(later) = self.may_be_open(dir, name, &found)? {
            return Ok(later);
        }
        let lane = &shared.lanes[&path.datatype];
        if lane.is_held() {
            return Ok(Claim::Later);
        }
        if lane.backlog.dates() >= OPEN_DATES {
            return Ok(Claim::Later);
        }
        let claimed_dir = shared.tree.claimed_dir(&path.datatype, path.date);
        for _ in 0..RENAME_ATTEMPTS {
            let claimed = match self.to.take() {
                Some((relative, claimed)) if relative == claimed_dir => claimed,
                _ => shared.tree.create_dir(&claimed_dir)?,
            };
            let renamed = shared.tree.rename_new(dir, &claimed, name);
            match renamed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => {
                    self.to = Some((claimed_dir, claimed));
                    return match renamed {
                        Ok(()) => Ok(Claim::Taken { found }),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            Ok(Claim::SameName)
                        }
                        Err(error) => Err(error),
                    };
                }
            }
            if shared.tree.look(dir, name)?.is_none() {
                return Ok(Claim::Gone);
            }
        }
        Ok(Claim::Later)
    }

    /// Looks for a file, and leaves its directory open. One that was open is opened again before it is believed that
    /// the file is not there.
    fn find(&mut self, relative: &str, name: &str) -> io::Result<Option<Found>> {
        let tree = &self.shared.tree;
        if let Some((open, dir)) = &self.from
            && open == relative
            && let Some(found) = tree.look(dir, name)?
        {
            return Ok(Some(found));
        }
        self.from = None;
        match tree.dir(relative) {
            Ok(dir) => {
                let found = tree.look(&dir, name)?;
                self.from = Some((relative.to_owned(), dir));
                Ok(found)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the result for a file whose close event was not seen; `None` if it can be claimed.
    fn may_be_open(&self, dir: &OwnedFd, name: &str, found: &Found) -> io::Result<Option<Claim>> {
        let is_old = found.age() >= self.shared.config.settle;
        if let Some(has_writer) = self.shared.config.writer_probe {
            let file = self.shared.tree.open_file(dir, name)?;
            if tree::look_open(&file)?.objection().is_some() {
                return Ok(Some(Claim::Later));
            }
            // If the file system or missing rights prevent the check, only the age decides.
            if let Ok(is_open) = has_writer(file.as_fd()) {
                return Ok(match (is_open, is_old) {
                    (false, _) => None,
                    (true, false) => Some(Claim::Later),
                    (true, true) => Some(Claim::HeldOpen),
                });
            }
        }
        Ok((!is_old).then_some(Claim::Later))
    }
}
