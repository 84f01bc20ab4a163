//! A pass over a lake: finish what others left, compact, seal, clear away.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_archive::Store;
use groma_lake_store::LakeStore;
use jiff::Timestamp;
use jiff::civil::Date;

use crate::archived::Archived;
use crate::keys;
use crate::log::{Act, Entry, Log, Part, Source};
use crate::manifest;
use crate::merge::{Input, merge};
use crate::names::{PartPath, Stem};
use crate::staged::{self, Staged};
use crate::table::{Kind, Table, parquet_stems};
use crate::{LakeError, Settings};

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Dates that got sealed parts.
    pub sealed: usize,
    /// Dates whose small files became larger ones.
    pub compacted: usize,
    /// Replaced files that were removed.
    pub removed: usize,
    /// Parts that a dead sealer had left to place.
    pub recovered: usize,
    /// Times that another sealer was faster and the work was discarded.
    pub lost_races: usize,
    /// Files that cannot be read and stay where they are.
    pub unreadable: Vec<PathBuf>,
}

/// One pass over every table of the lake at this place. It may run beside any number of others, of loaders and of readers.
///
/// A table that fails does not stop the others; the first failure is the result, after all were tried.
pub fn seal(
    lake: impl Into<LakeStore>,
    now: Timestamp,
    settings: &Settings,
    archive: Option<&dyn Store>,
) -> Result<Pass, LakeError> {
    let lake = lake.into();
    let mut pass = Pass::default();
    let (placed, _) = staged::recover(&lake)?;
    pass.recovered = placed;
    let archived = Archived::new(archive);
    let mut failed = None;
    for table in Table::all(lake)? {
        for date in table.dates()? {
            match tend(&table, date, now, settings, &archived, &mut pass) {
                Ok(()) => {}
                // Another sealer replaced and removed what was being read; its rows are in place.
                Err(error) if error.is_gone() => pass.lost_races += 1,
                Err(error) => {
                    tracing::warn!(%error, %date, "a date of the lake could not be kept");
                    failed.get_or_insert(error);
                }
            }
        }
    }
    failed.map_or(Ok(pass), Err)
}

/// Everything that is due for one date.
fn tend(
    table: &Table,
    date: Date,
    now: Timestamp,
    settings: &Settings,
    archived: &Archived<'_>,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let lacks_keys = keys::sweep(table, date).unwrap_or_else(|error| {
        tracing::warn!(%error, %date, "keys of a date could not be swept");
        false
    });
    let live = parquet_stems(table.store(), &table.day(Kind::Live, date))?;
    if live.is_empty() {
        // Its rows are sealed, and nothing came since: parts and manifests are older than the removal of live files.
        if lacks_keys {
            keys::publish(table, &Log::read(table, date)?);
        }
        return Ok(());
    }
    let mut log = Log::read(table, date)?;
    finish(table, date, &log)?;
    let pending: Vec<String> = {
        let replaced = log.replaced();
        let is_pending = |stem: &&String| !replaced.contains(stem.as_str());
        live.iter().filter(is_pending).cloned().collect()
    };
    if let Some((act, stems)) = due(table, date, now, settings, &log, pending)? {
        let work = Work {
            table,
            date,
            settings,
            act,
        };
        let archived = match act {
            Act::Seal => archived.count(table, date)?,
            Act::Compact => None,
        };
        if work.run(&mut log, stems, archived, pass)? {
            finish(table, date, &log)?;
        }
    }
    pass.removed += clear(table, date, &log, settings.linger)?;
    Ok(())
}

/// Puts the parts of all entries in place, and then writes the manifests that say so. Keys come last: they are only a help.
fn finish(table: &Table, date: Date, log: &Log) -> Result<(), LakeError> {
    for part in log.parts() {
        if table.has(&table.lake().join(&part.staged))? {
            staged::place(table, part)?;
        }
    }
    manifest::publish(table, date, log)?;
    keys::publish(table, log);
    Ok(())
}

/// What is to be done with the files that no entry replaced.
fn due(
    table: &Table,
    date: Date,
    now: Timestamp,
    settings: &Settings,
    log: &Log,
    pending: Vec<String>,
) -> Result<Option<(Act, Vec<String>)>, LakeError> {
    if pending.is_empty() {
        return Ok(None);
    }
    if settings.is_closed(date, now) {
        return Ok(Some((Act::Seal, pending)));
    }
    let compacted: HashSet<&str> = log.parts().map(|part| part.path.stem()).collect();
    let small: Vec<String> = pending
        .into_iter()
        .filter(|stem| !compacted.contains(stem.as_str()))
        .collect();
    let dir = table.day(Kind::Live, date);
    let ages = table
        .store()
        .ages(&dir)
        .map_err(LakeError::io("list", &dir))?;
    let is_old = |stem: &String| {
        let age = ages.get(&format!("{stem}.parquet"));
        age.is_some_and(|age| *age >= settings.compact_after)
    };
    let is_due = small.len() >= settings.compact_files.max(2)
        || (small.len() >= 2 && small.iter().any(is_old));
    Ok(is_due.then_some((Act::Compact, small)))
}

/// Removes live files whose rows stand in a part that has been in place for a while.
pub(crate) fn clear(
    table: &Table,
    date: Date,
    log: &Log,
    linger: Duration,
) -> Result<usize, LakeError> {
    let dir = table.day(Kind::Live, date);
    let settled = log.parts().filter(|part| {
        let in_place = table.store().age(&table.dir().join(&part.path));
        in_place.is_some_and(|age| age >= linger)
    });
    let void: HashSet<&str> = settled.flat_map(Part::replaced).collect();
    let mut removed = 0;
    for stem in parquet_stems(table.store(), &dir)? {
        if !void.contains(stem.as_str()) {
            continue;
        }
        let path = dir.join(format!("{stem}.parquet"));
        removed += usize::from(remove(table, &path)?);
        // Only a compacted file has keys.
        if let Some(Err(error)) = keys::keys_path(&path).map(|keys| remove(table, &keys)) {
            tracing::warn!(%error, "keys of a replaced file stay until the next pass");
        }
    }
    Ok(removed)
}

/// Whether there was such a file.
fn remove(table: &Table, path: &Path) -> Result<bool, LakeError> {
    table
        .store()
        .remove(path)
        .map_err(LakeError::io("remove", path))
}

/// The making of one entry.
struct Work<'a> {
    table: &'a Table,
    date: Date,
    settings: &'a Settings,
    act: Act,
}

impl Work<'_> {
    /// Writes the parts, then the entry. `false` when there was nothing to write or another sealer was faster.
    fn run(
        &self,
        log: &mut Log,
        stems: Vec<String>,
        objects_archived: Option<u64>,
        pass: &mut Pass,
    ) -> Result<bool, LakeError> {
        let number = log.entries.len();
        let (mut staged, mut parts) = (Vec::new(), Vec::new());
        for group in self.groups(stems, pass)? {
            let (file, part) = self.part(number, parts.len(), &group, log)?;
            staged.push(file);
            parts.push(part);
        }
        if parts.is_empty() {
            return Ok(false);
        }
        staged::publish(self.table, &staged)?;
        let entry = Entry::new(self.act, objects_archived, parts);
        let appended = log.append(self.table, self.date, entry);
        if let Ok(false) = appended {
            pass.lost_races += 1;
            return Ok(false);
        }
        // After an error the entry may stand all the same; the next pass asks the log.
        staged.into_iter().for_each(Staged::keep);
        appended?;
        match self.act {
            Act::Seal => pass.sealed += 1,
            Act::Compact => pass.compacted += 1,
        }
        Ok(true)
    }

    /// The files that become one part each: of one schema, and together not too large.
    fn groups(&self, stems: Vec<String>, pass: &mut Pass) -> Result<Vec<Vec<Input>>, LakeError> {
        let dir = self.table.day(Kind::Live, self.date);
        let mut groups: Vec<Vec<Input>> = Vec::new();
        for stem in stems {
            let input = match Input::open(self.table.store(), dir.join(format!("{stem}.parquet"))) {
                Ok(input) => input,
                Err(LakeError::Parquet { path, source, .. }) => {
                    tracing::warn!(file = %path.display(), %source, "table file left out");
                    pass.unreadable.push(path);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let fits = |group: &&mut Vec<Input>| {
                let size: u64 = group.iter().map(|input| input.size_bytes).sum();
                group[0].schema == input.schema
                    && size + input.size_bytes <= self.settings.part_bytes
            };
            match groups.iter_mut().rev().find(fits) {
                Some(group) => group.push(input),
                None => groups.push(vec![input]),
            }
        }
        Ok(groups)
    }

    fn part(
        &self,
        number: usize,
        index: usize,
        inputs: &[Input],
        log: &Log,
    ) -> Result<(Staged, Part), LakeError> {
        let staged = Staged::create(self.table, self.date, number)?;
        let (mut merged, mut sources) = (Vec::new(), Vec::new());
        for input in inputs {
            let stem = input.path.file_stem().unwrap_or_default().to_string_lossy();
            let stem = Stem::try_from(stem.into_owned()).map_err(LakeError::name(&input.path))?;
            if let Some(part) = log.parts().find(|part| part.path.stem() == &*stem) {
                merged.push(stem);
                sources.extend(part.sources.iter().cloned());
            } else {
                sources.push(self.source(input, stem)?);
            }
        }
        let (rows, size_bytes, sha256) = merge(inputs, &staged.file, &staged.path, self.settings)?;
        let kind = match self.act {
            Act::Compact => Kind::Live,
            Act::Seal => Kind::Sealed,
        };
        let part = Part {
            path: PartPath::new(kind, self.date, number, index),
            staged: staged.below_lake(),
            rows,
            size_bytes,
            sha256,
            merged,
            sources,
        };
        Ok((staged, part))
    }

    fn source(&self, input: &Input, stem: Stem) -> Result<Source, LakeError> {
        let errors = self.table.day(Kind::Errors, self.date);
        let errors = errors.join(format!("{stem}.jsonl"));
        Ok(Source {
            url: input.url()?,
            rows: input.rows,
            errors: count_lines(self.table.store(), &errors)?,
            stem,
        })
    }
}

/// Lines of a file; none when it does not exist.
pub(crate) fn count_lines(store: &LakeStore, path: &Path) -> Result<u64, LakeError> {
    match store.read(path) {
        Ok(text) => Ok(text.split_inclusive(|byte| *byte == b'\n').count() as u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(LakeError::io("read", path)(error)),
    }
}
