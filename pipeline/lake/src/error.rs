//! The error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

use groma_lake_layout::FieldError;

/// The error of a run that could not finish. The completed steps stay valid, and the next run continues.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
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
    /// A Parquet file cannot be read or written.
    #[error("{operation} {path}: {source}")]
    Parquet {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the Parquet library.
        source: parquet::errors::ParquetError,
    },
    /// An entry of a log is not what this version writes.
    #[error("log entry {path}: {reason}")]
    Log {
        /// The entry.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file of the lake has a name that is not one file name.
    #[error("file {path}: {source}")]
    Name {
        /// The file.
        path: PathBuf,
        /// The rule that the name violates.
        source: FieldError,
    },
    /// A copy would be larger than it may be.
    #[error(
        "the requested tables and dates have {size_bytes} bytes, the copy may have {most_bytes}: select fewer tables or dates, or allow more"
    )]
    TooLarge {
        /// Bytes of all requested files.
        size_bytes: u64,
        /// The most that was allowed.
        most_bytes: u64,
    },
    /// The directory of the copy contains another lake.
    #[error("{path} contains a lake that is not a copy of {lake}; name another directory")]
    NotACopy {
        /// The directory of the copy.
        path: PathBuf,
        /// The lake to copy.
        lake: String,
    },
    /// The directory of the copy is inside the lake, or the lake is inside the copy.
    #[error(
        "{path} and the lake {lake} are not apart; name a directory for the copy beside the lake"
    )]
    Overlaps {
        /// The directory of the copy.
        path: PathBuf,
        /// The lake to copy.
        lake: String,
    },
    /// A lake that was copied before has no table at all.
    #[error(
        "{lake} has no table, and its copy {copy} is left as it is; look whether the lake is there, or remove the copy"
    )]
    Vanished {
        /// The lake.
        lake: String,
        /// The copy, which has tables.
        copy: PathBuf,
    },
    /// The lake does not have an object, or does not know from which bytes its rows were made.
    #[error("the lake has no object {object} on {date} whose bytes it knows; load it first")]
    Unknown {
        /// The object's stem.
        object: String,
        /// The date of its rows.
        date: jiff::civil::Date,
    },
    /// Other processes added to the log each time that this one tried.
    #[error("cannot add to the log of {date}: other processes add to it all the time; try again")]
    Busy {
        /// The date.
        date: jiff::civil::Date,
    },
    /// A part has other bytes than its log says.
    #[error("{path} has other bytes than its log says; copy it again, or read its date without it")]
    Damaged {
        /// The part.
        path: PathBuf,
    },
    /// The archive cannot be listed.
    #[error(transparent)]
    Store(#[from] groma_archive::StoreError),
}

impl LakeError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> LakeError {
        let path = path.into();
        move |source| LakeError::Io {
            operation,
            path,
            source,
        }
    }

    pub(crate) fn name(path: &Path) -> impl FnOnce(FieldError) -> LakeError {
        let path = path.to_owned();
        move |source| LakeError::Name { path, source }
    }

    pub(crate) fn parquet(
        operation: &'static str,
        path: &Path,
    ) -> impl Fn(parquet::errors::ParquetError) -> LakeError {
        let path = path.to_owned();
        move |source| LakeError::Parquet {
            operation,
            path: path.clone(),
            source,
        }
    }

    /// Whether a table file is damaged, so that reading it again does not help.
    pub fn is_damage(&self) -> bool {
        match self {
            LakeError::Parquet { .. } | LakeError::Damaged { .. } => true,
            LakeError::Io { source, .. } => groma_lake_store::is_damage(source),
            _ => false,
        }
    }

    /// Whether a file that was to be read was gone: another sealer had replaced it.
    pub fn is_gone(&self) -> bool {
        matches!(self, LakeError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
