//! The tables of a lake and the folders of a table.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;

use crate::LakeError;
use crate::names::is_file_name;

/// A folder of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Rows of days that may still grow.
    Live,
    /// Rows of days that are closed.
    Sealed,
    /// Who compacted or sealed what.
    Log,
    /// What could not be made rows.
    Errors,
    /// Which row of a part has which key.
    Keys,
    /// Rows of whole objects that are to replace rows of damaged ones in parts.
    Corrections,
    /// Objects that were removed on purpose.
    Removed,
    /// Files whose bytes do not have their checksum.
    Damaged,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Live => "live",
            Kind::Sealed => "sealed",
            Kind::Log => "log",
            Kind::Errors => "errors",
            Kind::Keys => "keys",
            Kind::Corrections => "corrections",
            Kind::Removed => "removed",
            Kind::Damaged => "damaged",
        }
    }
}

/// Directories of a table; every table has at least one of them.
const FOLDERS: [&str; 7] = [
    "live", "sealed", "log", "claims", "account", "moved", "errors",
];

/// One datatype of one experiment in a lake.
#[derive(Clone, Debug)]
pub struct Table {
    store: LakeStore,
    experiment: Name,
    datatype: Name,
}

impl Table {
    /// The table of this datatype in the lake at this place, whether there is one yet or not.
    pub fn new(lake: impl Into<LakeStore>, experiment: Name, datatype: Name) -> Table {
        Table {
            store: lake.into(),
            experiment,
            datatype,
        }
    }

    /// Every table of the lake at this place, by name.
    pub fn all(lake: impl Into<LakeStore>) -> Result<Vec<Table>, LakeError> {
        let lake = lake.into();
        let mut tables = Vec::new();
        for experiment in names_in(&lake, lake.root())? {
            for datatype in names_in(&lake, &lake.root().join(experiment.as_str()))? {
                tables.push(Table::new(lake.clone(), experiment.clone(), datatype));
            }
        }
        Ok(tables)
    }

    /// The experiment's name.
    pub fn experiment(&self) -> &Name {
        &self.experiment
    }

    /// The datatype's name.
    pub fn datatype(&self) -> &Name {
        &self.datatype
    }

    /// Where its lake is.
    pub fn store(&self) -> &LakeStore {
        &self.store
    }

    /// What all paths of its lake begin with; see [`LakeStore::root`].
    pub(crate) fn lake(&self) -> &Path {
        self.store.root()
    }

    /// `<lake>/<experiment>/<datatype>`.
    pub fn dir(&self) -> PathBuf {
        self.lake()
            .join(self.experiment.as_str())
            .join(self.datatype.as_str())
    }

    pub(crate) fn day(&self, kind: Kind, date: Date) -> PathBuf {
        self.dir().join(kind.as_str()).join(format!("date={date}"))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &Path) -> Result<bool, LakeError> {
        let there = self.store.try_exists(path);
        there.map_err(LakeError::io("look for", path))
    }

    /// Every date of which the table has rows, oldest first.
    pub fn dates(&self) -> Result<Vec<Date>, LakeError> {
        self.dates_in(&[Kind::Live, Kind::Sealed])
    }

    /// Every date with files in one of these folders, oldest first.
    pub(crate) fn dates_in(&self, kinds: &[Kind]) -> Result<Vec<Date>, LakeError> {
        let mut dates = Vec::new();
        for kind in kinds {
            let names = list(&self.store, &self.dir().join(kind.as_str()))?;
            dates.extend(names.iter().filter_map(|name| date_of(name)));
        }
        dates.sort_unstable();
        dates.dedup();
        Ok(dates)
    }
}

/// Whether a location has a table of a lake or is empty, so that a lake may begin there. It is not a lake where it has other
/// files only: then its name was mistyped. A bucket is not listed and counts as a lake.
pub fn is_lake(lake: &LakeStore) -> Result<bool, LakeError> {
    if lake.is_bucket() {
        return Ok(true);
    }
    let mut others: HashSet<String> = list(lake, lake.root())?.into_iter().collect();
    for experiment in names_in(lake, lake.root())? {
        let dir = lake.root().join(experiment.as_str());
        let mut is_empty = true;
        for datatype in list(lake, &dir)? {
            let names = list(lake, &dir.join(datatype))?;
            if names.iter().any(|name| FOLDERS.contains(&name.as_str())) {
                return Ok(true);
            }
            is_empty &= names.is_empty();
        }
        // A loader that was killed may have left empty directories.
        if is_empty {
            others.remove(experiment.as_str());
        }
    }
    // A new volume has a directory of its file system.
    let is_known = |name: &String| {
        name.starts_with('.') || ["lost+found", "index.html", "index.json"].contains(&name.as_str())
    };
    Ok(others.iter().all(is_known))
}

/// The date of a folder `date=YYYY-MM-DD`. No other spelling of a date names a folder of a table.
pub(crate) fn date_of(folder: &str) -> Option<Date> {
    let date: Date = folder.strip_prefix("date=")?.parse().ok()?;
    (format!("date={date}") == folder).then_some(date)
}

fn names_in(store: &LakeStore, dir: &Path) -> Result<Vec<Name>, LakeError> {
    let folders = store.folders(dir).map_err(LakeError::io("list", dir))?;
    let mut names: Vec<Name> = folders
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The names in a folder, in no order; none when it does not exist.
pub(crate) fn list(store: &LakeStore, dir: &Path) -> Result<Vec<String>, LakeError> {
    store.list(dir).map_err(LakeError::io("list", dir))
}

/// The stems of the Parquet files in a directory.
pub(crate) fn parquet_stems(store: &LakeStore, dir: &Path) -> Result<Vec<String>, LakeError> {
    let mut stems: Vec<String> = list(store, dir)?
        .iter()
        .filter_map(|name| name.strip_suffix(".parquet"))
        .filter(|stem| is_file_name(stem))
        .map(str::to_owned)
        .collect();
    stems.sort_unstable();
    Ok(stems)
}
