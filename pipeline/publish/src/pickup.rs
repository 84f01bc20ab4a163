//! Picking up: from the experiment's directory into the directory of claimed files, by one rename.

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
use crate::shared::Shared;
use crate::tree::{self, Found};

/// What became of a file that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Taken {
        found: Found,
    },
    /// A file of this name is claimed already and not yet published, or too many dates are open: later.
    Blocked,
    /// A writer may still have it open, or its datatype waits for room: later.
    Later,
    /// A writer has it open and has not written for longer than the age limit.
    HeldOpen,
    Gone,
    Refused(&'static str),
}

/// Names that are remembered, so that each is warned about once and retried at once.
const REMEMBERED: usize = 1_000;
/// Dates that one datatype may have waiting at a time.
const OPEN_DATES: usize = 1_000;
/// A rename is tried so often when the worker removes the emptied directory at the same instant.
const RENAME_ATTEMPTS: usize = 10;

/// The part of the publisher that looks at the experiment's directory.
pub(crate) struct Picker {
    pub(crate) shared: Arc<Shared>,
    warned: BTreeSet<String>,
    /// A claim found no room.
    has_found_full: bool,
    /// What is offered again soon, and whether its writer was seen to close it: files that stood behind one of the same
    /// name, or failed to be picked up.
    again: BTreeMap<SpoolPath, bool>,
    /// The directories of the last file and of its claim: files come in swarms.
    from: Option<(String, OwnedFd)>,
    to: Option<(String, OwnedFd)>,
}

impl Picker {
    pub(crate) fn new(shared: Arc<Shared>) -> Picker {
        Picker {
            shared,
            warned: BTreeSet::new(),
            has_found_full: false,
            again: BTreeMap::new(),
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

    /// Takes what the watch told: an absolute path, and whether its writer was seen to close it.
    pub(crate) fn offer_path(&mut self, path: &Path, closed: bool) {
        let Ok(relative) = path.strip_prefix(self.shared.tree.path()) else {
            return;
        };
        self.offer(&relative.to_string_lossy(), closed);
    }

    /// Offers again the files that stood behind one of the same name, or failed to be picked up.
    pub(crate) fn offer_again(&mut self) {
        for (path, closed) in self.again.clone() {
            self.offer(&path.to_string(), closed);
        }
    }

    /// Takes a file by its path below the experiment's directory, if it is one to take.
    pub(crate) fn offer(&mut self, relative: &str, closed: bool) {
        let first = relative.split('/').next().unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        let Some(lane) = first
            .parse::<Name>()
            .ok()
            .and_then(|name| shared.lanes.get(&name))
        else {
            return;
        };
        let path = match relative.parse::<SpoolPath>() {
            Ok(path) => path,
            Err(error) => return self.breach(Breach::Name, relative, &error.to_string()),
        };
        let claim = self.claim(&path, closed);
        if !matches!(claim, Ok(Claim::Blocked) | Err(_)) {
            self.again.remove(&path);
        }
        match claim {
            Ok(Claim::Taken { found }) => {
                lane.metrics.spooled();
                if closed {
                    shared.metrics.claimed_after(found.age());
                }
                reach(&shared.config, CrashPoint::Claimed);
                let size_bytes = found.identity.size_bytes;
                lane.backlog.add(path.date, size_bytes, Instant::now());
            }
            Ok(Claim::Blocked) => {
                if self.remember(path, true) {
                    let detail = "a file of this name is not published yet; it waits for that";
                    shared.breach(Breach::Blocked, relative, detail);
                }
            }
            Ok(Claim::Later | Claim::Gone) => {}
            Ok(Claim::HeldOpen) => {
                let detail =
                    "not modified for long and still open for writing; it waits for its writer";
                self.breach(Breach::HeldOpen, relative, detail);
            }
            Ok(Claim::Refused(reason)) => self.breach(Breach::Kind, relative, reason),
            Err(error) => {
                if is_full(&error) {
                    self.has_found_full = true;
                    shared.reserve.release();
                }
                lane.metrics.error("claim");
                if self.remember(path, closed) {
                    tracing::warn!(file = relative, %error, "could not pick up a file; it stays and will be tried again");
                }
            }
        }
    }

    /// Has a file offered again soon; whether that is new. Of too many, the rest wait for the next walk.
    fn remember(&mut self, path: SpoolPath, closed: bool) -> bool {
        self.again.len() < REMEMBERED && self.again.insert(path, closed).is_none()
    }

    /// Puts on record, once, why a file stays where it is.
    fn breach(&mut self, breach: Breach, relative: &str, detail: &str) {
        if self.warned.len() < REMEMBERED && self.warned.insert(relative.to_owned()) {
            self.shared.breach(breach, relative, detail);
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
            return Ok(Claim::Blocked);
        }
        let claimed_dir = tree::claimed_dir(&path.datatype, path.date);
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
                            Ok(Claim::Blocked)
                        }
                        Err(error) => Err(error),
                    };
                }
            }
            if shared.tree.look(dir, name)?.is_none() {
                return Ok(Claim::Gone);
            }
        }
        Ok(Claim::Blocked)
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

    /// What is to be said of a file whose closing was not seen, unless it can be taken.
    fn may_be_open(&self, dir: &OwnedFd, name: &str, found: &Found) -> io::Result<Option<Claim>> {
        let is_old = found.age() >= self.shared.config.settle;
        if let Some(has_writer) = self.shared.config.writer_probe {
            let file = self.shared.tree.open_file(dir, name)?;
            if !tree::look_open(&file)?.is(found) {
                return Ok(Some(Claim::Later));
            }
            // Where the file system or our rights do not let the kernel tell, only the age is left.
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
