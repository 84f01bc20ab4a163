//! Why an object did not come into `BigQuery`.

use std::io;
use std::path::PathBuf;

use groma_load::LoadError;
use jiff::civil::Date;

/// A load that did not happen, or of which it is not known; running it again finds out and goes on.
#[derive(Debug, thiserror::Error)]
pub enum BigQueryError {
    /// A name that `BigQuery` does not accept.
    #[error("{what} {name:?}: {reason}")]
    Name {
        /// The kind of thing that it should name.
        what: &'static str,
        /// As given.
        name: String,
        /// The reason.
        reason: &'static str,
    },
    /// `BigQuery` could not be reached, or its answer cannot be parsed.
    #[error("{operation} {thing}: {reason}")]
    Unreachable {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        thing: String,
        /// Why not.
        reason: String,
    },
    /// `BigQuery` refused, in its own words.
    #[error("{operation} {thing}: BigQuery answers {status}: {reason}")]
    Refused {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        thing: String,
        /// The HTTP status.
        status: u16,
        /// `BigQuery`'s message.
        reason: String,
    },
    /// The dataset does not exist. Its owner must create it and choose the location of the data.
    #[error(
        "cannot find the dataset {dataset}; create it in a location of your choice, for instance with: bq mk --dataset --location=EU {dataset}"
    )]
    NoDataset {
        /// Project and dataset.
        dataset: String,
    },
    /// A column of the table is not what it is in the schema.
    #[error(
        "table {table}: its column {column} is {found} and has to be {wanted}; load into another dataset"
    )]
    Column {
        /// The table.
        table: String,
        /// Dotted path of the column.
        column: String,
        /// Type and mode in the table.
        found: String,
        /// Type and mode in the schema.
        wanted: String,
    },
    /// A quota is used up, such as that of load jobs into one table in a day.
    #[error("BigQuery's quota is used up: {reason}; run this again when there is a new one")]
    Quota {
        /// `BigQuery`'s message.
        reason: String,
    },
    /// An earlier load job found the rows invalid, and they are the same still.
    #[error("load job {job} failed before: {reason}; --again tries once more")]
    Invalid {
        /// Its id.
        job: String,
        /// `BigQuery`'s words.
        reason: String,
    },
    /// A load job failed, so that none of its rows are there.
    #[error("load job {job}: {reason}")]
    Job {
        /// Its id.
        job: String,
        /// `BigQuery`'s words.
        reason: String,
    },
    /// The object has rows under another date than the one asked for.
    #[error(
        "object {object}: its rows in {table} are those of {other}, so they cannot be those of {asked} too; leave out --date"
    )]
    OtherDate {
        /// The object.
        object: String,
        /// The table.
        table: String,
        /// The date asked for, or that of its name.
        asked: Date,
        /// The date that it has.
        other: Date,
    },
    /// The object could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file on the way could not be read or written.
    #[error("{operation} {path}: {source}")]
    Scratch {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
}

impl BigQueryError {
    /// Whether other objects would end in the same way, so that a run better ends.
    pub fn ends_run(&self) -> bool {
        match self {
            BigQueryError::Unreachable { .. } | BigQueryError::Quota { .. } => true,
            BigQueryError::Refused { status, .. } => [401, 403].contains(status),
            _ => false,
        }
    }

    pub(crate) fn scratch(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> BigQueryError {
        let path = path.into();
        move |source| BigQueryError::Scratch {
            operation,
            path,
            source,
        }
    }
}
