//! The lake: where tables stand, and how a file comes to stand there.
//!
//! `<root>/<experiment>/<datatype>/live/date=YYYY-MM-DD/<stem>.parquet` holds the rows of one archive object, and
//! `…/errors/date=…/<stem>.jsonl` what could not be made a row, and `…/account/date=…/<stem>.json` what became of how many. In a directory files
//! being written are in `<root>/.tmp`.

mod account;
mod claim;
mod errors;
mod evolution;
mod held;
mod parquet;
#[cfg(test)]
mod schedules;

pub(crate) use account::Account;
pub(crate) use errors::ErrorLog;
pub(crate) use held::{HeldObject, Place};
pub(crate) use parquet::ParquetFile;
pub use parquet::writer_properties;

use std::path::{Path, PathBuf};

use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;

use crate::LoadError;

/// Before each step that another loader may see, or by which it is seen; where tests let one loader wait for another.
#[inline]
fn step() {
    #[cfg(test)]
    schedules::wait_for_turn();
}

/// A lake in a directory or a bucket. Several loaders, also of several machines, may share one.
#[derive(Clone, Debug)]
pub struct Lake {
    store: LakeStore,
}

impl Lake {
    /// The lake at this place; a directory is created by the first load.
    pub fn new(place: impl Into<LakeStore>) -> Lake {
        Lake {
            store: place.into(),
        }
    }

    /// Where it is.
    pub fn store(&self) -> &LakeStore {
        &self.store
    }

    /// Whether a file of the lake stands already; a lake that does not say is an error, which may pass.
    pub(crate) fn exists(&self, path: &Path) -> Result<bool, LoadError> {
        step();
        self.stands(path)
    }

    fn stands(&self, path: &Path) -> Result<bool, LoadError> {
        self.store
            .try_exists(path)
            .map_err(LoadError::lake("look for", path))
    }

    /// What all its paths begin with: its directory, or nothing for a bucket.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Where the rows of the archive object with this stem stand.
    pub fn live_path(&self, experiment: &Name, datatype: &Name, date: Date, stem: &str) -> PathBuf {
        self.day(experiment, datatype, "live", date)
            .join(format!("{stem}.parquet"))
    }

    /// Where the error list of the archive object with this stem stands; there is none when all its members are rows.
    pub fn errors_path(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        stem: &str,
    ) -> PathBuf {
        self.day(experiment, datatype, "errors", date)
            .join(format!("{stem}.jsonl"))
    }

    /// Where the account of the archive object with this stem stands: one JSON object with the keys `object`, `members`,
    /// `loaded`, `failed`, `skipped`, `rows`, `errors`, `damaged` and `unknown_fields`; `members = loaded + failed + skipped`.
    pub fn account_path(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        stem: &str,
    ) -> PathBuf {
        self.day(experiment, datatype, "account", date)
            .join(format!("{stem}.json"))
    }

    fn day(&self, experiment: &Name, datatype: &Name, kind: &str, date: Date) -> PathBuf {
        self.root()
            .join(experiment.as_str())
            .join(datatype.as_str())
            .join(kind)
            .join(format!("date={date}"))
    }

    /// Removes unfinished files of loaders that died and returns how many; a living loader holds a lock on its own.
    pub fn clear_abandoned(&self) -> Result<usize, LoadError> {
        self.store
            .clear_abandoned()
            .map_err(LoadError::lake("clear", self.root()))
    }
}
