//! Where a test is on its way from the server's disk to the tables.
//!
//! [`search`] finds tests by what they measured. [`show`] looks in the order in which data moves, at each part of the pipeline
//! that exists: the spool, the files that the publisher has claimed, its receipts, and the lake. [`trace`] does the same for
//! what was recorded of the test's connection. All three only read.

mod error;
mod keys;
mod lake;
mod network;
mod one_row;
mod pages;
mod row;
mod search;
mod spool;
mod trace;

use std::path::{Path, PathBuf};

use groma_lake_store::LakeStore;
use groma_publish::{Receipt, Wanted, find_receipts};
use groma_uuid::Uuid;
use serde::Serialize;
use serde_json::Value;

pub use error::FindError;
pub use network::Network;
pub use search::{Query, Searched, Test, search};
pub use trace::{Detail, Trace, trace};

/// Where the parts of the pipeline keep their files; none of them has to exist.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// Parent of the experiments' spools.
    pub spool: PathBuf,
    /// Parent of the publishers' state, one directory per experiment.
    pub publish_state: PathBuf,
    /// Where the lake is.
    pub lake: LakeStore,
}

impl Dirs {
    /// The directories of a lab: `spool`, `state/publish` and `lake` below `dir`.
    pub fn of_lab(dir: &Path) -> Dirs {
        Dirs {
            spool: dir.join("spool"),
            publish_state: dir.join("state/publish"),
            lake: dir.join("lake").into(),
        }
    }
}

/// How far a test has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not found anywhere.
    Unknown,
    /// Its file is in the spool.
    Pending,
    /// The publisher has its file.
    Claimed,
    /// Its file is in an archive object.
    Published,
    /// Its row is in a table.
    Loaded,
}

impl Stage {
    /// The stage as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Published => "published",
            Self::Loaded => "loaded",
        }
    }
}

/// Everything that was found about a UUID.
#[derive(Clone, Debug)]
pub struct Report {
    /// The furthest stage that was seen.
    pub stage: Stage,
    /// The file in the spool or among the claimed.
    pub spool_file: Option<PathBuf>,
    /// The publisher's receipt.
    pub receipt: Option<Receipt>,
    /// Its row in every table that has one, newest date first, and of one date in the order of the tables' names.
    pub rows: Vec<FoundRow>,
    /// Table files that could not be read, so that a row may be in one of them.
    pub unreadable: Vec<PathBuf>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundRow {
    /// The table, as `<experiment>.<datatype>`.
    pub table: String,
    /// The Parquet file that holds the row.
    pub table_file: PathBuf,
    /// The row as JSON, nested, with its `date`.
    pub row: Value,
}

/// Looks for the test with this connection UUID. Rows of sidecars about its connection do not count; see [`trace`]. An
/// unreadable table file does not end the search.
pub fn show(dirs: &Dirs, uuid: &str) -> Result<Report, FindError> {
    let uuid: Uuid = uuid.parse().map_err(|source| FindError::Uuid { source })?;
    let in_spool = spool::find(&dirs.spool, uuid.as_str(), is_result)?;
    let receipt = receipt(&dirs.publish_state, uuid.as_str(), is_result)?;
    let in_lake = lake::find(&dirs.lake, uuid.as_str(), is_result)?;
    let spool_stage = in_spool.as_ref().map(|found| found.stage);
    let stages = [
        spool_stage,
        receipt.as_ref().map(|_| Stage::Published),
        in_lake.found.first().map(|_| Stage::Loaded),
    ];
    Ok(Report {
        stage: stages.into_iter().flatten().max().unwrap_or(Stage::Unknown),
        spool_file: in_spool.map(|found| found.path),
        receipt,
        rows: in_lake.found,
        unreadable: in_lake.unreadable,
    })
}

/// Whether files of this datatype are results of tests.
fn is_result(datatype: &str) -> bool {
    !trace::is_trace(datatype)
}

/// The newest receipt of any experiment for a file of a datatype that is wanted.
fn receipt(
    state: &Path,
    uuid: &str,
    wanted: fn(&str) -> bool,
) -> Result<Option<Receipt>, FindError> {
    let of_this = |file: &str| {
        let (datatype, name) = (file.split('/').next(), file.rsplit('/').next());
        datatype.is_some_and(wanted) && name.is_some_and(|name| spool::is_named_for(name, uuid))
    };
    for experiment in spool::directories(state)? {
        let this = Wanted::Uuid(uuid.to_owned());
        let found = find_receipts(&experiment, &this).map_err(|error| FindError::Receipts {
            path: experiment.clone(),
            reason: error.to_string(),
        })?;
        if let Some(receipt) = found.into_iter().find(|receipt| of_this(&receipt.file)) {
            return Ok(Some(receipt));
        }
    }
    Ok(None)
}
