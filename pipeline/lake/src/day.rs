//! The current files of a date: the one rule for every reader of live and sealed rows.

use groma_lake_layout::Kind;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::LakeError;
use crate::log::{Act, Entry, Log, Part, Source};
use crate::table::{Table, stems};

/// A date of a table at one moment. Its files contain every row exactly once, also while sealers are working.
#[derive(Debug)]
pub struct Day {
    /// The date.
    pub date: Date,
    /// The current Parquet files. If one is gone when it is opened, read the date again.
    pub files: Vec<PathBuf>,
    /// Whether the date has been sealed. Rows of late objects may still be live.
    pub is_sealed: bool,
    pub(crate) log: Log,
}

impl Day {
    /// Reads the current files.
    ///
    /// The function lists live files first. The rows of a live file that is removed later are in a data file that is already in
    /// place.
    pub fn read(table: &Table, date: Date) -> Result<Day, LakeError> {
        let live = stems(table, Kind::Live, date)?;
        let log = Log::read(table, date)?;
        let mut placed: Vec<&Part> = Vec::new();
        for part in log.parts() {
            if table.has(&table.dir().join(&part.path))? {
                placed.push(part);
            }
        }
        let void: HashSet<&str> = placed.iter().flat_map(|part| part.replaced()).collect();
        let compacted: HashSet<&str> = log.parts().map(|part| part.path.stem()).collect();
        let in_force = |stem: &&String| !void.contains(stem.as_str());
        let small = live
            .iter()
            .filter(in_force)
            .filter(|stem| !compacted.contains(stem.as_str()));
        let mut files: Vec<PathBuf> = placed
            .iter()
            .filter(|part| !void.contains(part.path.stem()))
            .map(|part| table.dir().join(&part.path))
            .collect();
        files.extend(small.map(|stem| table.file(Kind::Live, date, stem)));
        let is_seal = |entry: &Entry| entry.act == Act::Seal;
        Ok(Day {
            date,
            files,
            is_sealed: log.entries.iter().any(is_seal),
            log,
        })
    }

    /// The SHA-256 of a part in hexadecimal, as its log says; none for a live file that no sealer wrote.
    pub fn sha256(&self, file: &Path) -> Option<&str> {
        let name = Kind::Live.stem_of(file.file_name()?.to_str()?)?;
        let part = self.log.parts().find(|part| part.path.stem() == name)?;
        Some(&part.sha256)
    }

    /// Compares the bytes of the date's parts with the checksums in its log. Other files have theirs in themselves and are
    /// compared by who opens them ([`groma_lake_store::LakeStore::open_verified`]).
    pub fn verify(&self, table: &Table) -> Result<(), LakeError> {
        for path in &self.files {
            let Some(sha256) = self.sha256(path) else {
                continue;
            };
            let file = table.store().open_file(path);
            let file = file.map_err(LakeError::io("open", path))?;
            file.verify_sha256(sha256)
                .map_err(LakeError::io("read", path))?;
        }
        Ok(())
    }

    /// The archive objects whose rows were sealed, each as its last correction left it.
    pub fn sealed_sources(&self) -> impl Iterator<Item = &Source> {
        let parts = self.log.parts().filter(|part| part.path.is_sealed());
        parts.flat_map(|part| &part.sources)
    }
}
