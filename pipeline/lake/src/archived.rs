//! What the archive holds: how many objects of a date, and which of them need no loading.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use groma_archive::{Put, Stat, Store, StoreError};
use groma_lake_store::LakeStore;
use groma_names::{Form, ObjectName};
use groma_spool::Name;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::LakeError;
use crate::log::{self, Log};
use crate::table::Table;

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

/// Objects per date, listed once and only when asked.
pub(crate) struct Archived<'a> {
    store: Option<&'a dyn Store>,
    counts: OnceCell<HashMap<Key, u64>>,
}

impl<'a> Archived<'a> {
    pub(crate) fn new(store: Option<&'a dyn Store>) -> Self {
        Archived {
            store,
            counts: OnceCell::new(),
        }
    }

    pub(crate) fn count(&self, table: &Table, date: Date) -> Result<Option<u64>, LakeError> {
        let Some(store) = self.store else {
            return Ok(None);
        };
        if self.counts.get().is_none() {
            let mut counts = HashMap::new();
            for (key, _) in store.list("")?.iter().filter_map(|name| key(name)) {
                *counts.entry(key).or_default() += 1;
            }
            let _ = self.counts.set(counts);
        }
        let key = (
            table.experiment().to_string(),
            table.datatype().to_string(),
            date,
        );
        let counts = self.counts.get();
        Ok(Some(
            counts
                .and_then(|counts| counts.get(&key))
                .copied()
                .unwrap_or(0),
        ))
    }
}

/// An archive that lists only objects whose rows are not compacted or sealed yet, so that a loader which starts again does
/// not load what has left its place among the live files.
pub struct Unsealed {
    store: Arc<dyn Store>,
    lake: LakeStore,
    known: Mutex<HashMap<Key, Known>>,
}

/// What the log of a date replaced when it had so many entries.
struct Known {
    entries: usize,
    stems: HashSet<String>,
}

impl Unsealed {
    /// The same archive, seen by loaders into `lake`.
    pub fn new(store: Arc<dyn Store>, lake: impl Into<LakeStore>) -> Unsealed {
        Unsealed {
            store,
            lake: lake.into(),
            known: Mutex::default(),
        }
    }

    /// Whether the rows of an object stand in a compacted or sealed part.
    pub fn is_replaced(&self, name: &str) -> Result<bool, LakeError> {
        let Some((key, stem)) = key(name) else {
            return Ok(false);
        };
        let (Ok(experiment), Ok(datatype)) = (key.0.parse::<Name>(), key.1.parse::<Name>()) else {
            return Ok(false);
        };
        let table = Table::new(self.lake.clone(), experiment, datatype);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let date = key.2;
        // The next number is free as long as nothing was done since.
        let seen = known.get(&key).map_or(0, |known| known.entries);
        if log::has(&table, date, seen)? {
            let log = Log::read(&table, date)?;
            let stems = log.replaced().into_iter().map(str::to_owned).collect();
            let entries = log.entries.len();
            known.insert(key.clone(), Known { entries, stems });
        }
        Ok(known
            .get(&key)
            .is_some_and(|known| known.stems.contains(&stem)))
    }
}

impl Store for Unsealed {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        self.store.put_new(name, body)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.store.stat(name)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.size(name)
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.store.open(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.store.list(prefix)?;
        names.retain(|name| {
            // In doubt it is loaded once more: a second copy counts for nothing.
            !self.is_replaced(name).unwrap_or(false)
        });
        Ok(names)
    }

    fn url(&self, name: &str) -> String {
        self.store.url(name)
    }
}
