//! The lake: the files of each archive object, and how a file appears under its name.
//!
//! `live/` has the rows of one archive object, `errors/` the members that could not become rows, and `account/` the counts of
//! both; [`groma_lake_layout`] defines the paths. In a directory, unfinished files are in `<lake>/.tmp`.

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

use groma_lake_layout::{Kind, TablePath};
use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;

use crate::LoadError;
use crate::object::Object;

/// Called before each step that another loader can observe; tests make one loader wait here for another.
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
    /// Returns the lake at this location; the first load creates its directory.
    pub fn new(place: impl Into<LakeStore>) -> Lake {
        Lake {
            store: place.into(),
        }
    }

    /// Returns its storage.
    pub fn store(&self) -> &LakeStore {
        &self.store
    }

    /// Reports whether a file of the lake exists. If the lake does not answer, the error may be temporary.
    pub(crate) fn exists(&self, path: &Path) -> Result<bool, LoadError> {
        step();
        self.is_there(path)
    }

    fn is_there(&self, path: &Path) -> Result<bool, LoadError> {
        self.store
            .try_exists(path)
            .map_err(LoadError::lake("look for", path))
    }

    /// Returns the beginning of all its paths: its directory, or nothing for a bucket.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Returns the file with the rows of the archive object with this name without extension.
    pub fn live_path(&self, experiment: &Name, datatype: &Name, date: Date, stem: &str) -> PathBuf {
        self.table(experiment, datatype)
            .file(Kind::Live, date, stem)
    }

    /// Returns the error list of an archive object. The file does not exist if all members of the object are rows.
    pub fn errors_path(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        stem: &str,
    ) -> PathBuf {
        self.table(experiment, datatype)
            .file(Kind::Errors, date, stem)
    }

    /// Returns the account of an archive object: one JSON object with the keys `object`, `members`,
    /// `loaded`, `failed`, `skipped`, `rows`, `errors`, `damaged` and `unknown_fields`; `members = loaded + failed + skipped`.
    pub fn account_path(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        stem: &str,
    ) -> PathBuf {
        self.table(experiment, datatype)
            .file(Kind::Account, date, stem)
    }

    fn table(&self, experiment: &Name, datatype: &Name) -> TablePath {
        TablePath::new(self.root(), experiment.clone(), datatype.clone())
    }

    fn table_of(&self, object: &Object) -> TablePath {
        self.table(&object.experiment, &object.datatype)
    }

    /// Removes unfinished files of loaders that died and returns their number. A running loader holds a lock on each of its files.
    pub fn clear_abandoned(&self) -> Result<usize, LoadError> {
        self.store
            .clear_abandoned()
            .map_err(LoadError::lake("clear", self.root()))
    }
}
