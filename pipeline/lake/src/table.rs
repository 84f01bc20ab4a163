//! The tables of a lake and the folders of a table.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use groma_lake_layout::{INDEX_JSON, INDEX_PAGE, Kind, TablePath, date_of};
use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;

use crate::LakeError;

/// One datatype of one experiment in a lake.
#[derive(Clone, Debug)]
pub struct Table {
    store: LakeStore,
    paths: TablePath,
}

impl Table {
    /// Returns the table of this datatype, whether it exists yet or not.
    pub fn new(lake: impl Into<LakeStore>, experiment: Name, datatype: Name) -> Table {
        let store = lake.into();
        let paths = TablePath::new(store.root(), experiment, datatype);
        Table { store, paths }
    }

    /// Returns every table of a lake, by name.
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

    /// Returns the name of the experiment.
    pub fn experiment(&self) -> &Name {
        self.paths.experiment()
    }

    /// Returns the name of the datatype.
    pub fn datatype(&self) -> &Name {
        self.paths.datatype()
    }

    /// Returns the storage of its lake.
    pub fn store(&self) -> &LakeStore {
        &self.store
    }

    /// Returns the paths of its files.
    pub fn paths(&self) -> &TablePath {
        &self.paths
    }

    /// Returns the beginning of all paths of its lake; see [`LakeStore::root`].
    pub(crate) fn lake(&self) -> &Path {
        self.store.root()
    }

    /// Returns `<lake>/<experiment>/<datatype>`.
    pub fn dir(&self) -> PathBuf {
        self.paths.dir().to_owned()
    }

    pub(crate) fn day(&self, kind: Kind, date: Date) -> PathBuf {
        self.paths.day(kind, date)
    }

    pub(crate) fn file(&self, kind: Kind, date: Date, stem: &str) -> PathBuf {
        self.paths.file(kind, date, stem)
    }

    /// Reports whether the file exists.
    pub(crate) fn has(&self, path: &Path) -> Result<bool, LakeError> {
        let there = self.store.try_exists(path);
        there.map_err(LakeError::io("look for", path))
    }

    /// Returns every date of which the table has rows, oldest first.
    pub fn dates(&self) -> Result<Vec<Date>, LakeError> {
        self.dates_in(&[Kind::Live, Kind::Sealed])
    }

    /// Returns every date with files in one of these folders, oldest first.
    pub(crate) fn dates_in(&self, kinds: &[Kind]) -> Result<Vec<Date>, LakeError> {
        let mut dates = Vec::new();
        for kind in kinds {
            let names = list(&self.store, &self.paths.folder(*kind))?;
            dates.extend(names.iter().filter_map(|name| date_of(name)));
        }
        dates.sort_unstable();
        dates.dedup();
        Ok(dates)
    }
}

/// Reports whether a location has a table of a lake or is empty, so that a lake may begin there. A directory that contains only
/// other files is not a lake: its name was probably mistyped. A bucket is not listed and counts as a lake.
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
            if names.iter().any(|name| is_folder(name)) {
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
        name.starts_with('.') || ["lost+found", INDEX_PAGE, INDEX_JSON].contains(&name.as_str())
    };
    Ok(others.iter().all(is_known))
}

fn is_folder(name: &str) -> bool {
    Kind::ALL.into_iter().any(|kind| kind.as_str() == name)
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

/// Returns the names in a directory in any order; none if the directory does not exist.
pub(crate) fn list(store: &LakeStore, dir: &Path) -> Result<Vec<String>, LakeError> {
    store.list(dir).map_err(LakeError::io("list", dir))
}

/// Returns the file names without extension of the files of this kind and date, sorted.
pub(crate) fn stems(table: &Table, kind: Kind, date: Date) -> Result<Vec<String>, LakeError> {
    let mut stems: Vec<String> = list(table.store(), &table.day(kind, date))?
        .iter()
        .filter_map(|name| kind.stem_of(name))
        .map(str::to_owned)
        .collect();
    stems.sort_unstable();
    Ok(stems)
}
