//! The error type of the publisher.

use std::io;
use std::path::{Path, PathBuf};

use groma_archive::StoreError;

/// A publisher could not be opened or had to end. Failures of single files or bundles are logged, counted and retried instead.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or directory operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// Another publisher works on this directory.
    #[error("{path} is in use by another publisher")]
    InUse {
        /// The state directory or the directory of claimed files.
        path: PathBuf,
    },
    /// The configuration names a datatype twice.
    #[error("datatype {datatype} is configured twice")]
    Twice {
        /// The datatype.
        datatype: String,
    },
    /// An object name cannot be made of the configuration.
    #[error("name an object of {datatype}: {reason}")]
    ObjectName {
        /// The datatype.
        datatype: String,
        /// The rule of object names that is violated.
        reason: String,
    },
    /// The archive failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The quarantine is full; nothing is deleted to make room.
    #[error(
        "no room in quarantine for {file}: it may have {max_bytes} bytes; look with `groma quarantine list`, \
         and release or drop files"
    )]
    QuarantineFull {
        /// The file that has no place.
        file: String,
        /// The limit of the configuration.
        max_bytes: u64,
    },
    /// The worker of a datatype ended by a broken invariant; nothing is lost, a new start recovers.
    #[error("the worker of {datatype} ended unexpectedly")]
    WorkerDied {
        /// The datatype.
        datatype: String,
    },
}

impl PublishError {
    /// A path on the disk that has no room left, if that is what is wrong: one of ours or the archive's.
    pub(crate) fn full_at(&self) -> Option<&Path> {
        match self {
            PublishError::Io { path, source, .. }
            | PublishError::Store(StoreError::Io { path, source, .. }) => {
                is_full(source).then_some(path)
            }
            _ => None,
        }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> PublishError {
        let path = path.to_path_buf();
        move |source| PublishError::Io {
            operation,
            path,
            source,
        }
    }
}

/// Whether a disk, or what its user may have of it, is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
