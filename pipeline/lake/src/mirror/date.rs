//! A date of a table, and how the copy becomes what the lake is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_archive::hex;
use groma_lake_store::LakeStore;
use jiff::civil::Date;
use parquet::file::reader::ChunkReader as _;
use sha2::{Digest as _, Sha256};

use crate::LakeError;
use crate::log::{Entry, Log, Part};
use crate::seal::{Late, clear};
use crate::table::Table;
use groma_lake_layout::{Kind, TablePath, date_of, is_file_name};

use super::Mirrored;

/// Bytes copied at a time.
const PIECE_BYTES: u64 = 8 << 20;
/// How often a date is listed that changes while it is copied.
const ATTEMPTS: usize = 10;
/// The copied folders of a table, in the order of listing: live files first, so that one that is gone by then has its rows in a
/// part that is listed.
const KINDS: [Kind; 4] = [Kind::Live, Kind::Sealed, Kind::Log, Kind::Keys];

/// Sizes in bytes.
pub(super) type Files = BTreeMap<(Kind, String), u64>;

/// The files of all dates of a table.
pub(super) fn dates(table: &Table) -> Result<BTreeMap<Date, Files>, LakeError> {
    let mut dates: BTreeMap<Date, Files> = BTreeMap::new();
    for kind in KINDS {
        let dir = table.dir().join(kind.as_str());
        let folders = table.store().sizes_by_folder(&dir);
        for (folder, sizes) in folders.map_err(LakeError::io("list", &dir))? {
            if let Some(date) = date_of(&folder)
                && !sizes.is_empty()
            {
                let files = sizes.into_iter().filter(|(name, _)| is_file_name(name));
                let files = files.map(|(name, size_bytes)| ((kind, name), size_bytes));
                dates.entry(date).or_default().extend(files);
            }
        }
    }
    Ok(dates)
}

fn sizes(store: &LakeStore, dir: &Path) -> Result<HashMap<String, u64>, LakeError> {
    store.sizes(dir).map_err(LakeError::io("list", dir))
}

/// A date of a table, in the lake and in the copy.
pub(super) struct Day {
    pub(super) table: Table,
    pub(super) copied: Table,
    pub(super) date: Date,
}

impl Day {
    pub(super) fn warn(&self, error: &LakeError) {
        tracing::warn!(%error, date = %self.date, "a date could not be copied");
    }

    /// Makes the copy what the lake is.
    pub(super) fn follow(
        &self,
        linger: Duration,
        mirrored: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let mut attempt = 1;
        loop {
            let listed = Listed::read(self)?;
            if listed.has_no_rows() {
                return self.empty(mirrored);
            }
            match listed.copy(linger, mirrored) {
                // It was replaced by another that is in no older listing.
                Err(error) if error.is_gone() && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Removes the date from the copy: its rows first, then what explains them.
    pub(super) fn empty(&self, mirrored: &mut Mirrored) -> Result<(), LakeError> {
        for kind in [Kind::Live, Kind::Sealed, Kind::Keys, Kind::Log] {
            let dir = self.copied.day(kind, self.date);
            for name in sizes(self.copied.store(), &dir)?.keys() {
                self.remove(&dir.join(name), mirrored)?;
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path, mirrored: &mut Mirrored) -> Result<(), LakeError> {
        let removed = self.copied.store().remove(path);
        mirrored.removed += usize::from(removed.map_err(LakeError::io("remove", path))?);
        Ok(())
    }
}

/// A date as it was listed.
struct Listed<'a> {
    day: &'a Day,
    files: Files,
}

impl Listed<'_> {
    fn read(day: &Day) -> Result<Listed<'_>, LakeError> {
        let mut files = Files::new();
        for kind in KINDS {
            let listed = sizes(day.table.store(), &day.table.day(kind, day.date))?;
            // Hidden names are those of files that are being written.
            let listed = listed.into_iter().filter(|(name, _)| is_file_name(name));
            files.extend(listed.map(|(name, size_bytes)| ((kind, name), size_bytes)));
        }
        Ok(Listed { day, files })
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let of_kind = self.files.keys().filter(move |file| file.0 == kind);
        of_kind.map(|(_, name)| name.as_str())
    }

    fn has_no_rows(&self) -> bool {
        self.of(Kind::Live)
            .chain(self.of(Kind::Sealed))
            .next()
            .is_none()
    }

    fn copy(&self, linger: Duration, mirrored: &mut Mirrored) -> Result<(), LakeError> {
        let Day { copied, date, .. } = self.day;
        for name in self.of(Kind::Log) {
            self.copy_entry(name, mirrored)?;
        }
        let log = Log::read(copied, *date)?;
        // Corrections change files under their names, perhaps without changing their sizes.
        let is_corrected = log.has_amendments();
        let part_of = |kind: Kind, name: &str| {
            let place = format!("{}/date={date}/{name}", kind.as_str());
            log.parts().find(|part| *part.path == *place)
        };
        let parts = self
            .files
            .keys()
            .filter_map(|(kind, name)| part_of(*kind, name));
        let void: HashSet<&str> = parts.flat_map(Part::replaced).collect();
        for kind in [Kind::Live, Kind::Sealed] {
            for name in self.of(kind) {
                let rows = Kind::Live.stem_of(name);
                if rows.is_some_and(|stem| !void.contains(stem)) {
                    let sha256 = part_of(kind, name).map(|part| &*part.sha256);
                    self.copy_file(kind, name, sha256, is_corrected, mirrored)?;
                }
            }
        }
        // Manifests say that the parts are there.
        for name in self
            .of(Kind::Sealed)
            .filter(|name| TablePath::is_manifest(name))
        {
            self.copy_file(Kind::Sealed, name, None, is_corrected, mirrored)?;
        }
        for name in self
            .of(Kind::Keys)
            .filter(|name| Kind::Keys.stem_of(name).is_some())
        {
            self.copy_file(Kind::Keys, name, None, is_corrected, mirrored)?;
        }
        mirrored.removed += clear(copied, *date, &log, linger, Late::Remove)?;
        self.remove_withdrawn(&void, mirrored)
    }

    /// Removes files that the lake no longer has, except those in `void`: a part replaces them, and they may linger.
    fn remove_withdrawn(
        &self,
        void: &HashSet<&str>,
        mirrored: &mut Mirrored,
    ) -> Result<(), LakeError> {
        for kind in [Kind::Live, Kind::Sealed, Kind::Keys, Kind::Log] {
            let dir = self.day.copied.day(kind, self.day.date);
            for name in sizes(self.day.copied.store(), &dir)?.keys() {
                let stem = name
                    .rsplit_once('.')
                    .map_or(name.as_str(), |(stem, _)| stem);
                let path = dir.join(name);
                if !void.contains(stem) && !self.files.contains_key(&(kind, name.clone())) {
                    self.day.remove(&path, mirrored)?;
                }
            }
        }
        Ok(())
    }

    /// Copies an entry of the log after parsing it: its names decide what is moved and removed in the copy.
    fn copy_entry(&self, name: &str, mirrored: &mut Mirrored) -> Result<(), LakeError> {
        let Day {
            table,
            copied,
            date,
        } = self.day;
        let from = table.day(Kind::Log, *date).join(name);
        let wrong = |reason: String| LakeError::Log {
            path: from.clone(),
            reason,
        };
        let number = TablePath::log_number(name)
            .ok_or_else(|| wrong("its name is not the number of an entry".to_owned()))?;
        let to = copied.day(Kind::Log, *date).join(name);
        let size_bytes = self.files.get(&(Kind::Log, name.to_owned())).copied();
        if copied
            .store()
            .open_file(&to)
            .ok()
            .map(|file| file.size_bytes())
            == size_bytes
        {
            return Ok(());
        }
        let text = table.store().read(&from);
        let text = text.map_err(LakeError::io("read", &from))?;
        let entry = Entry::parse(&text, table, *date, number).map_err(wrong)?;
        let bytes = entry.to_bytes();
        let written = copied.store().replace(&to, &bytes);
        written.map_err(LakeError::io("write", &to))?;
        mirrored.files += 1;
        mirrored.copied_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether the copy of a file has its bytes.
    fn is_equal(&self, from: &Path, to: &Path, sha256: Option<&str>) -> Result<bool, LakeError> {
        let copied = self.day.copied.store();
        if let Some(sha256) = sha256 {
            let file = copied.open_file(to).map_err(LakeError::io("open", to))?;
            return Ok(file.verify_sha256(sha256).is_ok());
        }
        if from
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            return Ok(true);
        }
        let theirs = self.day.table.store().read(from);
        let ours = copied.read(to).map_err(LakeError::io("read", to))?;
        Ok(theirs.map_err(LakeError::io("read", from))? == ours)
    }

    /// Copies a file that is missing in the copy or has another size there.
    fn copy_file(
        &self,
        kind: Kind,
        name: &str,
        sha256: Option<&str>,
        may_have_changed: bool,
        mirrored: &mut Mirrored,
    ) -> Result<(), LakeError> {
        let Day {
            table,
            copied,
            date,
        } = self.day;
        let from = table.day(kind, *date).join(name);
        let to = copied.day(kind, *date).join(name);
        let size = |path: &PathBuf| Some(copied.store().open_file(path).ok()?.size_bytes());
        let is_there = size(&to) == self.files.get(&(kind, name.to_owned())).copied();
        if is_there && !may_have_changed {
            return Ok(());
        }
        if is_there && self.is_equal(&from, &to, sha256)? {
            return Ok(());
        }
        let source = table.store().open_file(&from);
        let source = source.map_err(LakeError::io("open", &from))?;
        let write = |error| LakeError::io("write", &to)(error);
        let mut target = copied.store().new_file(to.clone()).map_err(write)?;
        let mut digest = Sha256::new();
        let mut at = 0;
        while at < source.size_bytes() {
            let length = PIECE_BYTES.min(source.size_bytes() - at);
            let piece = source.get_bytes(at, usize::try_from(length).unwrap_or(usize::MAX));
            let piece = match piece {
                Err(_) if !table.has(&from)? => {
                    return Err(LakeError::io("read", &from)(io::ErrorKind::NotFound.into()));
                }
                piece => piece.map_err(LakeError::parquet("read", &from))?,
            };
            digest.update(&piece);
            target.write_all(&piece).map_err(write)?;
            at += length;
        }
        if sha256.is_some_and(|sha256| sha256 != hex(&digest.finalize())) {
            return Err(LakeError::Damaged { path: from });
        }
        // Other table files have their checksum in themselves.
        if sha256.is_none() && Kind::Live.stem_of(name).is_some() {
            source.verify().map_err(LakeError::io("read", &from))?;
        }
        target.commit_over().map_err(write)?;
        mirrored.files += 1;
        mirrored.copied_bytes += at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_changes_under_its_copier_is_listed_again() {
        let dir = tempfile::tempdir().unwrap();
        let [table, copied] = ["lake", "copy"].map(|place| {
            let [experiment, datatype] = ["lab", "rows"].map(|name| name.parse().unwrap());
            Table::new(dir.path().join(place), experiment, datatype)
        });
        let date = jiff::civil::date(2026, 11, 24);
        let file = |name: &str| table.day(Kind::Live, date).join(name);
        let day = Day {
            table: table.clone(),
            copied,
            date,
        };
        let mut mirrored = Mirrored::default();
        table
            .store()
            .create(&file("old.parquet"), b"rows of a file PAR1")
            .unwrap();
        let listed = Listed::read(&day).unwrap();
        table
            .store()
            .create(&file("new.parquet"), b"rows of a file PAR1")
            .unwrap();
        table.store().remove(&file("old.parquet")).unwrap();
        let gone = listed.copy(Duration::ZERO, &mut mirrored).unwrap_err();
        assert!(gone.is_gone(), "{gone}");
        day.follow(Duration::ZERO, &mut mirrored).unwrap();
        assert_eq!(dates(&day.copied).unwrap(), dates(&day.table).unwrap());
    }
}
