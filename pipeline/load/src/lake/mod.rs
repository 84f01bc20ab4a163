//! The lake: where tables stand, and how a file comes to stand there.
//!
//! `<root>/<experiment>/<datatype>/live/date=YYYY-MM-DD/<stem>.parquet` holds the rows of one archive object, and
//! `…/errors/date=…/<stem>.jsonl` what could not be made a row, and `…/account/date=…/<stem>.json` what became of how many. Files being written are in `<root>/.tmp`.

mod account;
mod errors;
mod moved;
mod new_file;
mod parquet;

pub(crate) use account::Account;
pub(crate) use errors::ErrorLog;
pub(crate) use new_file::Committed;
pub(crate) use parquet::ParquetFile;
pub use parquet::writer_properties;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use groma_spool::Name;
use jiff::civil::Date;

use crate::LoadError;

/// A lake in a directory. Several loaders, also of several machines, may share one.
#[derive(Clone, Debug)]
pub struct Lake {
    root: PathBuf,
}

impl Lake {
    /// The lake at `root`; the directory is created by the first load.
    pub fn new(root: impl Into<PathBuf>) -> Lake {
        Lake { root: root.into() }
    }

    /// The lake's directory.
    pub fn root(&self) -> &Path {
        &self.root
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

    /// The table files of a day, by name.
    pub fn live_files(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
    ) -> Result<Vec<PathBuf>, LoadError> {
        let dir = self.day(experiment, datatype, "live", date);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LoadError::lake("list", dir)(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(LoadError::lake("list", &dir))?.path();
            if path.extension().is_some_and(|suffix| suffix == "parquet") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn day(&self, experiment: &Name, datatype: &Name, kind: &str, date: Date) -> PathBuf {
        self.root
            .join(experiment.as_str())
            .join(datatype.as_str())
            .join(kind)
            .join(format!("date={date}"))
    }

    fn tmp_dir(&self) -> PathBuf {
        self.root.join(".tmp")
    }

    /// Removes unfinished files of loaders that died and returns how many; a living loader holds a lock on its own.
    pub fn clear_abandoned(&self) -> Result<usize, LoadError> {
        let dir = self.tmp_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(LoadError::lake("list", dir)(error)),
        };
        let mut cleared = 0;
        for entry in entries {
            let path = entry.map_err(LoadError::lake("list", &dir))?.path();
            // Whoever finishes meanwhile takes its file away, which is as good.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}
