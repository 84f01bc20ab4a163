//! A copy of a lake, or of some of its tables and dates, in a directory: for engines that read no bucket.
//!
//! What is in force in the copy is in force in the lake, at every moment of copying: files are listed before the log that
//! says what they replace, the log is copied before them, and what they replaced goes last.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_lake_store::LakeStore;
use groma_spool::Name;
use jiff::civil::Date;
use parquet::file::reader::ChunkReader as _;
use sha2::{Digest as _, Sha256};

use crate::LakeError;
use crate::log::{Log, Part};
use crate::merge::hex;
use crate::seal::clear;
use crate::table::{Kind, Table};

/// The file of a copy that says of what.
const MARK: &str = ".mirror-of";
/// Bytes copied at a time.
const PIECE_BYTES: u64 = 8 << 20;

/// What is copied.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Experiments and datatypes; all when there are none.
    pub tables: Vec<(Name, Name)>,
    /// From this date on (UTC).
    pub since: Option<Date>,
    /// To this date, included.
    pub until: Option<Date>,
    /// The most bytes that the copy of these may have.
    pub most_bytes: u64,
    /// How long replaced files stay for those who read the copy.
    pub linger: Duration,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Files copied.
    pub files: usize,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Bytes of all that was asked for.
    pub size_bytes: u64,
    /// Files removed from the copy.
    pub removed: usize,
}

/// Makes the tables that are wanted in `copy` what they are in `lake`; other dates of them leave the copy. Nothing is copied
/// when all of it would be too large.
pub fn mirror(lake: &LakeStore, copy: &LakeStore, wanted: &Wanted) -> Result<Mirrored, LakeError> {
    claim(lake, copy)?;
    let mut days = Vec::new();
    let mut mirrored = Mirrored::default();
    for table in Table::all(lake.clone())? {
        let (experiment, datatype) = (table.experiment().clone(), table.datatype().clone());
        let name = (experiment.clone(), datatype.clone());
        if !wanted.tables.is_empty() && !wanted.tables.contains(&name) {
            continue;
        }
        let copied = Table::new(copy.clone(), experiment, datatype);
        for date in copied.dates()? {
            if !is_wanted(wanted, date) {
                mirrored.removed += empty(&copied, date)?;
            }
        }
        for date in table.dates()? {
            if is_wanted(wanted, date) {
                days.push(Listed::read(table.clone(), copied.clone(), date)?);
            }
        }
    }
    mirrored.size_bytes = days.iter().map(Listed::size_bytes).sum();
    if mirrored.size_bytes > wanted.most_bytes {
        return Err(LakeError::TooLarge {
            size_bytes: mirrored.size_bytes,
            most_bytes: wanted.most_bytes,
        });
    }
    for day in &days {
        day.copy(wanted.linger, &mut mirrored)?;
    }
    Ok(mirrored)
}

/// Marks the copy as one of this lake, lest a lake of its own loses what the other one has not.
fn claim(lake: &LakeStore, copy: &LakeStore) -> Result<(), LakeError> {
    let path = copy.root().join(MARK);
    let name = lake.to_string();
    match copy.read(&path) {
        Ok(text) if text == name.as_bytes() => Ok(()),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && Table::all(copy.clone())?.is_empty() =>
        {
            let marked = copy.create(&path, name.as_bytes());
            marked.map_err(LakeError::io("write", path))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LakeError::io("read", path)(error))
        }
        _ => Err(LakeError::NotACopy {
            path: copy.root().to_owned(),
            lake: name,
        }),
    }
}

fn is_wanted(wanted: &Wanted, date: Date) -> bool {
    wanted.since.is_none_or(|since| date >= since) && wanted.until.is_none_or(|until| date <= until)
}

/// Removes a date from the copy: its rows first, then what explains them.
fn empty(copied: &Table, date: Date) -> Result<usize, LakeError> {
    let mut removed = 0;
    for kind in [Kind::Live, Kind::Sealed, Kind::Keys, Kind::Log] {
        let dir = copied.day(kind, date);
        for name in sizes(copied.store(), &dir)?.keys() {
            removed += usize::from(remove(copied, &dir.join(name))?);
        }
    }
    Ok(removed)
}

fn remove(copied: &Table, path: &Path) -> Result<bool, LakeError> {
    let removed = copied.store().remove(path);
    removed.map_err(LakeError::io("remove", path))
}

fn sizes(store: &LakeStore, dir: &Path) -> Result<HashMap<String, u64>, LakeError> {
    store.sizes(dir).map_err(LakeError::io("list", dir))
}

/// A date as it was listed: live files first, so that one that is gone by then has its rows in a part that is listed.
struct Listed {
    table: Table,
    copied: Table,
    date: Date,
    files: Vec<File>,
}

struct File {
    kind: Kind,
    name: String,
    size_bytes: u64,
}

impl Listed {
    fn read(table: Table, copied: Table, date: Date) -> Result<Listed, LakeError> {
        let mut files = Vec::new();
        for kind in [Kind::Live, Kind::Sealed, Kind::Log, Kind::Keys] {
            let listed = sizes(table.store(), &table.day(kind, date))?.into_iter();
            files.extend(listed.map(|(name, size_bytes)| File {
                kind,
                name,
                size_bytes,
            }));
        }
        Ok(Listed {
            table,
            copied,
            date,
            files,
        })
    }

    fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.kind == kind)
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        self.of(kind).any(|file| file.name == name)
    }

    fn copy(&self, linger: Duration, mirrored: &mut Mirrored) -> Result<(), LakeError> {
        for entry in self.of(Kind::Log) {
            self.copy_file(entry, None, mirrored)?;
        }
        let log = Log::read(&self.copied, self.date)?;
        let of_log = |file: &File| {
            let place = format!("{}/date={}/{}", file.kind.as_str(), self.date, file.name);
            log.parts().find(|part| part.path == place)
        };
        let parts = self.files.iter().filter_map(of_log);
        let void: HashSet<&str> = parts.flat_map(Part::replaced).collect();
        let is_rows = |file: &&File| file.name.ends_with(".parquet");
        for file in self
            .of(Kind::Live)
            .chain(self.of(Kind::Sealed))
            .filter(is_rows)
        {
            let stem = file.name.trim_end_matches(".parquet");
            if !void.contains(stem) {
                let sha256 = of_log(file).map(|part| part.sha256.as_str());
                self.copy_file(file, sha256, mirrored)?;
            }
        }
        // Manifests say that the parts are there.
        for file in self.of(Kind::Sealed).filter(|file| !is_rows(file)) {
            self.copy_file(file, None, mirrored)?;
        }
        for file in self.of(Kind::Keys) {
            self.copy_file(file, None, mirrored)?;
        }
        mirrored.removed += clear(&self.copied, self.date, &log, linger)?;
        mirrored.removed += self.remove_withdrawn(&log)?;
        Ok(())
    }

    /// What the lake has no more although no part took it over.
    fn remove_withdrawn(&self, log: &Log) -> Result<usize, LakeError> {
        let replaced = log.replaced();
        let mut removed = 0;
        for kind in [Kind::Live, Kind::Sealed] {
            let dir = self.copied.day(kind, self.date);
            for name in sizes(self.copied.store(), &dir)?.keys() {
                if !self.has(kind, name) && !replaced.contains(name.trim_end_matches(".parquet")) {
                    removed += usize::from(remove(&self.copied, &dir.join(name))?);
                }
            }
        }
        Ok(removed)
    }

    /// Copies a file that the copy lacks or has in another size. One that is gone was replaced by another that is listed.
    fn copy_file(
        &self,
        file: &File,
        sha256: Option<&str>,
        mirrored: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let from = self.table.day(file.kind, self.date).join(&file.name);
        let to = self.copied.day(file.kind, self.date).join(&file.name);
        let size = |path: &PathBuf| Some(self.copied.store().open_file(path).ok()?.size_bytes());
        if size(&to) == Some(file.size_bytes) {
            return Ok(());
        }
        let source = match self.table.store().open_file(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(LakeError::io("open", &from))?,
        };
        let write = |error| LakeError::io("write", &to)(error);
        let mut target = self.copied.store().new_file(to.clone()).map_err(write)?;
        let mut digest = Sha256::new();
        let mut at = 0;
        while at < source.size_bytes() {
            let length = PIECE_BYTES.min(source.size_bytes() - at);
            let piece = source.get_bytes(at, usize::try_from(length).unwrap_or(usize::MAX));
            let piece = match piece {
                Err(_) if !self.table.has(&from)? => return Ok(()),
                piece => piece.map_err(LakeError::parquet("read", &from))?,
            };
            digest.update(&piece);
            target.write_all(&piece).map_err(write)?;
            at += length;
        }
        if sha256.is_some_and(|sha256| sha256 != hex(&digest.finalize())) {
            return Err(LakeError::Damaged { path: from });
        }
        target.commit_over().map_err(write)?;
        mirrored.files += 1;
        mirrored.copied_bytes += at;
        Ok(())
    }
}
