//! Why work on the lake failed.

use std::io;
use std::path::{Path, PathBuf};

use groma_lake_layout::FieldError;

/// A pass over a table that could not be finished; what it had done stays right, and the next one goes on.
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
        /// What the Parquet library said.
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
        /// What is wrong with the name.
        source: FieldError,
    },
    /// A copy would be larger than it may be.
    #[error(
        "what is asked for has {size_bytes} bytes and the copy may have {most_bytes}: ask for fewer tables or dates, or allow more"
    )]
    TooLarge {
        /// Bytes of all that is asked for.
        size_bytes: u64,
        /// The most that was allowed.
        most_bytes: u64,
    },
    /// A lake that is not a copy of that one stands where the copy is to be.
    #[error("{path} holds a lake that is no copy of {lake}; name another directory")]
    NotACopy {
        /// Where the copy was to be.
        path: PathBuf,
        /// What was to be copied.
        lake: String,
    },
    /// A copy was to stand in the lake, or the lake stands in it.
    #[error(
        "{path} and the lake {lake} are not apart; name a directory for the copy beside the lake"
    )]
    Overlaps {
        /// Where the copy was to be.
        path: PathBuf,
        /// What was to be copied.
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
