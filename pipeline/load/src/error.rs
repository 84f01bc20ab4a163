//! The error of a load that failed as a whole. A member that cannot be read is an entry of the error list instead.

use std::io;
use std::path::PathBuf;

use groma_archive::StoreError;
use jiff::civil::Date;

/// A load that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The name says too little: not an archive object, no date, or not one of data.
    #[error("object {name}: {reason}")]
    Name {
        /// The object's name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The object has rows under another date than the one asked for.
    #[error(
        "object {name}: its rows are those of {other} ({path}), so they cannot be those of {asked} too; leave out --date"
    )]
    OtherDate {
        /// The object's name.
        name: String,
        /// The date asked for.
        asked: Date,
        /// The date that it has.
        other: Date,
        /// The file of its rows, which may have been compacted since.
        path: PathBuf,
    },
    /// An object of the same file name in another date directory has rows already. A file that lost its directories could be
    /// either, so that they are taken for one.
    #[error(
        "object {name}: one of the same file name in the directory of {other} has its rows here already; load it into another lake"
    )]
    Namesake {
        /// The object's name.
        name: String,
        /// The date directory of the other one.
        other: Date,
    },
    /// The object has other bytes than the one of its name that was loaded without errors.
    #[error(
        "object {name}: its rows were made from other bytes ({} bytes, sha256 {}; now {} bytes, sha256 {}); nothing was changed",
        loaded.0, loaded.1, found.0, found.1
    )]
    OtherBytes {
        /// The object's name.
        name: String,
        /// Size in bytes and SHA-256 of the object that was loaded.
        loaded: (u64, String),
        /// The same of the object that is there now.
        found: (u64, String),
    },
    /// An object of these bytes was removed from the lake on purpose.
    #[error(
        "object {name}: it was removed from the lake on purpose ({reason}) and is not loaded again"
    )]
    Removed {
        /// The object's name.
        name: String,
        /// Why, in the words of the person who removed it.
        reason: String,
    },
    /// The object is being written, or changed while it was read.
    #[error("object {name}: it is still being written; load it again when it is complete")]
    Changing {
        /// The object's name.
        name: String,
    },
    /// The object ends early and was changed a short while ago: its writer may come back.
    #[error(
        "object {name}: it is not complete yet, or damaged; it is loaded as it is when it has not changed for 10 minutes"
    )]
    Incomplete {
        /// The object's name.
        name: String,
    },
    /// The schema given for a table changes a column that the table has.
    #[error(
        "table {experiment}/{datatype}: column {change}; engines could not read old and new files together: give the old type, or load into another lake"
    )]
    Evolution {
        /// Its experiment.
        experiment: String,
        /// Its datatype.
        datatype: String,
        /// The column and its change.
        change: String,
    },
    /// The lake's log could not be read.
    #[error(transparent)]
    Log(#[from] groma_lake::LakeError),
    /// The object's name has the mark of an embargo.
    #[error(
        "object {name}: under embargo, as the -e in its name says; load it with --embargoed, into a lake that is not public"
    )]
    Embargoed {
        /// The object's name.
        name: String,
    },
    /// No datatype is configured for the object.
    #[error("object {name}: no schema for {experiment}/{datatype}")]
    UnknownDatatype {
        /// The object's name.
        name: String,
        /// Its experiment.
        experiment: String,
        /// Its datatype.
        datatype: String,
    },
    /// The archive could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive failed while the object was read, or ended before the object did.
    #[error("read object {name}: {source}")]
    Read {
        /// The object's name.
        name: String,
        /// The error of the archive.
        source: io::Error,
    },
    /// The lake could not be written.
    #[error("{operation} {path}: {source}")]
    Lake {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// Rows could not be encoded.
    #[error("encode {path}: {reason}")]
    Encode {
        /// The Parquet file.
        path: PathBuf,
        /// What Arrow or Parquet said.
        reason: String,
    },
    /// The archive's directory cannot be watched.
    #[error("watch {path}: {reason}")]
    Watch {
        /// The directory.
        path: PathBuf,
        /// The error of the watcher.
        reason: String,
    },
}

impl LoadError {
    /// Whether trying again cannot help: the name or the configuration is at fault.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            LoadError::Name { .. }
                | LoadError::OtherDate { .. }
                | LoadError::Namesake { .. }
                | LoadError::OtherBytes { .. }
                | LoadError::Removed { .. }
                | LoadError::Evolution { .. }
                | LoadError::Embargoed { .. }
                | LoadError::UnknownDatatype { .. }
                | LoadError::Store(StoreError::Name { .. })
        )
    }

    pub(crate) fn lake(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> LoadError {
        let path = path.into();
        move |source| LoadError::Lake {
            operation,
            path,
            source,
        }
    }
}
