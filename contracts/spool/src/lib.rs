//! The spool: where an experiment leaves its results and the publisher finds them.
//!
//! `<spool>/<experiment>/<datatype>/YYYY/MM/DD/<file>`, the date in UTC. A writer writes a file once, closes it once, and
//! then gives it up. Unfinished files are in `<spool>/<experiment>/.tmp/`, so that a half-written file never has its final
//! name. A datatype on a volume of its own, to which no file can be renamed from there, has its own `.tmp/` and
//! `.claimed/` inside the datatype's directory.

mod clock;
mod experiment_dir;
mod name;
mod path;
mod pending;
mod reservation;
mod volume;

pub use clock::is_plausible;
pub use experiment_dir::ExperimentDir;
pub use name::{FileName, Name, NameError};
pub use path::{PathError, SpoolPath, date_dir, parse_date_dir};
pub use pending::PendingFile;
pub use reservation::Reservation;
pub use volume::{Volume, probe, volume_below};

use std::io;
use std::path::PathBuf;

/// A step on the spool that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct SpoolError {
    /// The operation that failed, for instance `write spool file`.
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The error of the system.
    pub source: io::Error,
}

impl SpoolError {
    pub(crate) fn at(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            operation,
            path,
            source,
        }
    }

    /// Whether the file system has no room left (`ENOSPC` or `EDQUOT`).
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether the process or the system has no file descriptor left (`EMFILE` or
    /// `ENFILE`). Nothing happened then, and the same step may succeed a moment later.
    pub fn is_out_of_descriptors(&self) -> bool {
        let error = rustix::io::Errno::from_io_error(&self.source);
        matches!(
            error,
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
        )
    }

    /// Whether a file or directory on the way is missing.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether a file of that name exists already.
    pub fn is_exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}
