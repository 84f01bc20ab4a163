//! The objects of the archive by date, and the objects whose rows are in parts.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use groma_archive::Store;
use groma_lake_store::LakeStore;
use groma_names::{Form, ObjectName};
use groma_spool::Name;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::LakeError;
use crate::log::{self, Log, Part, Source};
use crate::table::Table;
use groma_lake_layout::{PartPath, Stem};

/// Experiment, datatype and date.
type Key = (String, String, Date);

/// Where the rows of an object belong; none for what holds no rows.
fn key(name: &str) -> Option<(Key, String)> {
    let name: ObjectName = name.parse().ok()?;
    if matches!(name.form(), Form::Index | Form::Table) {
        return None;
    }
    let bundled = || Some(name.timestamp()?.to_zoned(TimeZone::UTC).date());
    let date = name.date().or_else(bundled)?;
    let key = (
        name.experiment().to_owned(),
        name.datatype().to_owned(),
        date,
    );
    Some((key, name.stem()))
}

/// The objects of an archive by date, listed once and only when asked.
pub(crate) struct Archived<'a> {
    store: Option<&'a dyn Store>,
    stems: OnceCell<HashMap<Key, HashSet<String>>>,
}

impl<'a> Archived<'a> {
    pub(crate) fn new(store: Option<&'a dyn Store>) -> Self {
        Archived {
            store,
            stems: OnceCell::new(),
        }
    }

    fn stems(&self) -> Result<Option<&HashMap<Key, HashSet<String>>>, LakeError> {
        let Some(store) = self.store else {
            return Ok(None);
        };
        if self.stems.get().is_none() {
            let mut stems: HashMap<Key, HashSet<String>> = HashMap::new();
            for (key, stem) in store.list("")?.iter().filter_map(|name| key(name)) {
                stems.entry(key).or_default().insert(stem);
            }
            let _ = self.stems.set(stems);
        }
        Ok(self.stems.get())
    }

    /// How many objects of a date there are; `None` without an archive.
    pub(crate) fn count(&self, table: &Table, date: Date) -> Result<Option<u64>, LakeError> {
        let key = (
            table.experiment().to_string(),
            table.datatype().to_string(),
            date,
        );
        let count = |stems: &HashMap<Key, HashSet<String>>| {
            stems.get(&key).map_or(0, |stems| stems.len() as u64)
        };
        Ok(self.stems()?.map(count))
    }

    /// How many objects of a date are not among these; `None` without an archive.
    pub(crate) fn missing(
        &self,
        table: &Table,
        date: Date,
        known: &HashSet<&str>,
    ) -> Result<Option<u64>, LakeError> {
        let key = (
            table.experiment().to_string(),
            table.datatype().to_string(),
            date,
        );
        let missing = |all: &HashMap<Key, HashSet<String>>| {
            let stems = all.get(&key).into_iter().flatten();
            stems.filter(|stem| !known.contains(stem.as_str())).count() as u64
        };
        Ok(self.stems()?.map(missing))
    }

    /// Whether the archive has the object with this stem, of whatever date.
    pub(crate) fn has(&self, table: &Table, stem: &str) -> Result<bool, LakeError> {
        let is_of =
            |key: &Key| key.0 == table.experiment().as_str() && key.1 == table.datatype().as_str();
        Ok(self.stems()?.is_some_and(|all| {
            all.iter()
                .any(|(key, stems)| is_of(key) && stems.contains(stem))
        }))
    }
}

/// The objects whose rows are in compacted or sealed parts, with what the logs record of them.
///
/// A log is read again only when it has grown, so that asking for every object of an archive is cheap.
pub struct Sources {
    lake: LakeStore,
    known: Mutex<HashMap<(Name, Name, Date), Known>>,
}

/// The objects in the log of a date when it had `entries` entries.
struct Known {
    entries: usize,
    sources: HashMap<Stem, (Source, PartPath)>,
}

impl Sources {
    /// The objects of this lake.
    pub fn new(lake: impl Into<LakeStore>) -> Sources {
        Sources {
            lake: lake.into(),
            known: Mutex::default(),
        }
    }

    /// Returns the log's record of the object with this stem and the path of the part that has its rows; `None` while its rows
    /// are in no part.
    pub fn get(
        &self,
        experiment: &Name,
        datatype: &Name,
        date: Date,
        stem: &str,
    ) -> Result<Option<(Source, PartPath)>, LakeError> {
        let table = Table::new(self.lake.clone(), experiment.clone(), datatype.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (experiment.clone(), datatype.clone(), date);
        // The next number is free as long as nothing was done since.
        let seen = known.get(&key).map_or(0, |known| known.entries);
        if log::has(&table, date, seen)? {
            let log = Log::read(&table, date)?;
            let with_path = |part: &Part| {
                let path = part.path.clone();
                let sources = part.sources.clone().into_iter();
                sources.map(move |source| (source.stem.clone(), (source, path.clone())))
            };
            // A later part took over the rows of an earlier one.
            let sources = log.parts().flat_map(with_path).collect();
            let entries = log.entries.len();
            known.insert(key.clone(), Known { entries, sources });
        }
        Ok(known
            .get(&key)
            .and_then(|known| known.sources.get(stem))
            .cloned())
    }
}
