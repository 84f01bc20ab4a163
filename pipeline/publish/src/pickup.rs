//! Picking up: from the experiment's directory into the directory of claimed files, by one rename.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use groma_spool::{Name, SpoolPath};

use crate::fault::{CrashPoint, reach};
use crate::shared::Shared;
use crate::tree::{self, Found};

/// What became of a file that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Taken {
        size_bytes: u64,
    },
    /// A file of this name is claimed already and not yet published, or too many dates are open: later.
    Blocked,
    /// A writer may still have it open: later.
    Open,
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
    blocked: BTreeSet<SpoolPath>,
}

impl Picker {
    pub(crate) fn new(shared: Arc<Shared>) -> Picker {
        Picker {
            shared,
            warned: BTreeSet::new(),
            blocked: BTreeSet::new(),
        }
    }

    /// Takes what the watch told: an absolute path, and whether its writer was seen to close it.
    pub(crate) fn offer_path(&mut self, path: &Path, closed: bool) {
        let Ok(relative) = path.strip_prefix(self.shared.tree.path()) else {
            return;
        };
        self.offer(&relative.to_string_lossy(), closed);
    }

    /// Offers again the files that stood behind one of the same name.
    pub(crate) fn offer_blocked(&mut self) {
        for path in self.blocked.clone() {
            self.offer(&path.to_string(), true);
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
            Err(error) => return self.refuse(relative, "name", &error.to_string()),
        };
        let claim = self.claim(&path, closed);
        if !matches!(claim, Ok(Claim::Blocked)) {
            self.blocked.remove(&path);
        }
        match claim {
            Ok(Claim::Taken { size_bytes }) => {
                lane.metrics.spooled();
                reach(&self.shared.config, CrashPoint::Claimed);
                lane.backlog.add(path.date, size_bytes, Instant::now());
            }
            Ok(Claim::Blocked) => {
                if self.blocked.len() < REMEMBERED && self.blocked.insert(path) {
                    self.shared.metrics.violation("blocked");
                }
            }
            Ok(Claim::Open | Claim::Gone) => {}
            Ok(Claim::Refused(reason)) => self.refuse(relative, "kind", reason),
            Err(error) => {
                lane.metrics.error("claim");
                tracing::warn!(file = %path, %error, "could not pick up a file; it stays and will be tried again");
            }
        }
    }

    fn refuse(&mut self, relative: &str, kind: &'static str, reason: &str) {
        if self.warned.len() < REMEMBERED && self.warned.insert(relative.to_owned()) {
            self.shared.metrics.violation(kind);
            tracing::warn!(
                file = relative,
                reason,
                "not published and left where it is"
            );
        }
    }

    fn claim(&self, path: &SpoolPath, closed: bool) -> io::Result<Claim> {
        let shared = &self.shared;
        let name = path.file.as_str();
        let dir = match shared.tree.dir(&tree::spool_dir(path)) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Gone),
            Err(error) => return Err(error),
        };
        let Some(found) = shared.tree.look(&dir, name)? else {
            return Ok(Claim::Gone);
        };
        if let Some(reason) = found.objection() {
            return Ok(Claim::Refused(reason));
        }
        if !closed && self.may_be_open(&dir, name, &found)? {
            return Ok(Claim::Open);
        }
        if shared.lanes[&path.datatype].backlog.dates() >= OPEN_DATES {
            return Ok(Claim::Blocked);
        }
        for _ in 0..RENAME_ATTEMPTS {
            let claimed = shared
                .tree
                .create_dir(&tree::claimed_dir(&path.datatype, path.date))?;
            match shared.tree.rename_new(&dir, &claimed, name) {
                Ok(()) => {
                    return Ok(Claim::Taken {
                        size_bytes: found.identity.size_bytes,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(Claim::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if shared.tree.look(&dir, name)?.is_none() {
                return Ok(Claim::Gone);
            }
        }
        Ok(Claim::Blocked)
    }

    /// Whether a writer may still have a file open whose closing was not seen.
    fn may_be_open(&self, dir: &OwnedFd, name: &str, found: &Found) -> io::Result<bool> {
        if let Some(has_writer) = self.shared.config.writer_probe {
            let file = self.shared.tree.open_file(dir, name)?;
            if tree::look_open(&file)? != *found {
                return Ok(true);
            }
            // Where the file system or our rights do not let the kernel tell, only the age is left.
            if let Ok(answer) = has_writer(file.as_fd()) {
                return Ok(answer);
            }
        }
        Ok(found.age() < self.shared.config.settle)
    }
}
