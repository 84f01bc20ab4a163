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
use crate::correct;
use crate::keys;
use crate::log::{Act, Entry, Log, Part, Source};
use crate::manifest;
use crate::merge::{Input, merge};
use crate::rebuild;
use crate::staged::{self, Staged};
use crate::table::{Table, stems};
use crate::{LakeError, Settings};
use groma_lake_layout::{Kind, PartPath, Sha256Hex, Stem, keys_path};

/// The result of a run.
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
    /// Objects whose rows in a part were replaced or removed.
    pub corrected: usize,
    /// Damaged files that were moved to `damaged/`, so that the loader loads them again from the archive.
    pub set_aside: Vec<PathBuf>,
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
        for date in table.dates_in(&[Kind::Live, Kind::Sealed, Kind::Damaged])? {
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
    // A correction that cannot be made does not stop the rest of the date.
    let corrected = correct::apply(table, date, settings, archived, pass);
    tend_live(table, date, now, settings, archived, pass, lacks_keys)?;
    corrected
}

fn tend_live(
    table: &Table,
    date: Date,
    now: Timestamp,
    settings: &Settings,
    archived: &Archived<'_>,
    pass: &mut Pass,
    lacks_keys: bool,
) -> Result<(), LakeError> {
    let live = stems(table, Kind::Live, date)?;
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
        let damaged = pass.unreadable.len();
        let is_added = work.run(&mut log, stems, archived, pass)?;
        set_aside(
            table,
            date,
            &log,
            archived,
            pass.unreadable.split_off(damaged),
            pass,
        )?;
        if is_added {
            finish(table, date, &log)?;
        }
    }
    pass.removed += clear(table, date, &log, settings.linger, Late::Correct)?;
    Ok(())
}

/// Moves damaged files out of the live rows whose objects the archive still has: the loader then loads them again. A damaged
/// file without an object stays where it is, so that an operator can repair it; it is reported and never sealed.
fn set_aside(
    table: &Table,
    date: Date,
    log: &Log,
    archived: &Archived<'_>,
    damaged: Vec<PathBuf>,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    for path in damaged {
        let stem = Stem::of(&path).map_err(LakeError::name(&path))?;
        let is_archived = match log.parts().find(|part| part.path.stem() == &*stem) {
            Some(part) => rebuild::is_possible(table, part, archived)?,
            None => archived.has(table, &stem)?,
        };
        if is_archived {
            rebuild::set_aside(table, date, path, &stem, pass)?;
        } else {
            pass.unreadable.push(path);
        }
    }
    Ok(())
}

/// Puts the parts of all entries in place, and then writes the manifests that say so. Keys come last: they are only a help.
pub(crate) fn finish(table: &Table, date: Date, log: &Log) -> Result<(), LakeError> {
    for part in log.parts() {
        if table.has(&table.lake().join(&part.staged))? {
            staged::place(table, log, part)?;
        }
    }
    manifest::publish(table, date, log)?;
    keys::publish(table, log);
    Ok(())
}

/// Returns the action that is due for the files that no entry replaced.
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
        let age = ages.get(&Kind::Live.file_name(stem));
        age.is_some_and(|age| *age >= settings.compact_after)
    };
    let is_due = small.len() >= settings.compact_files.max(2)
        || (small.len() >= 2 && small.iter().any(is_old));
    Ok(is_due.then_some((Act::Compact, small)))
}

/// The fate of a live file whose object is in a part with other bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// It was loaded while the object was sealed, and becomes a correction.
    Correct,
    /// It is removed: in a copy, where the lake decides.
    Remove,
}

/// Removes live files whose rows are in a part that has been in place for a while.
pub(crate) fn clear(
    table: &Table,
    date: Date,
    log: &Log,
    linger: Duration,
    late: Late,
) -> Result<usize, LakeError> {
    let settled = log.parts().filter(|part| {
        let in_place = table.store().age(&table.dir().join(&part.path));
        in_place.is_some_and(|age| age >= linger)
    });
    let void: HashSet<&str> = settled.flat_map(Part::replaced).collect();
    let mut removed = 0;
    for stem in stems(table, Kind::Live, date)? {
        if !void.contains(stem.as_str()) {
            continue;
        }
        let path = table.file(Kind::Live, date, &stem);
        if late == Late::Correct && correct::is_late(table, date, log, &stem, &path)? {
            continue;
        }
        removed += usize::from(remove(table, &path)?);
        // Only a compacted file has keys.
        if let Some(Err(error)) = keys_path(&path).map(|keys| remove(table, &keys)) {
            tracing::warn!(%error, "keys of a replaced file stay until the next pass");
        }
    }
    Ok(removed)
}

/// Whether there was such a file.
pub(crate) fn remove(table: &Table, path: &Path) -> Result<bool, LakeError> {
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
        archived: &Archived<'_>,
        pass: &mut Pass,
    ) -> Result<bool, LakeError> {
        let number = log.entries.len();
        let (mut staged, mut parts) = (Vec::new(), Vec::new());
        for group in self.groups(stems, log, pass)? {
            let (file, part) = self.part(number, parts.len(), &group, log)?;
            staged.push(file);
            parts.push(part);
        }
        if parts.is_empty() {
            return Ok(false);
        }
        staged::publish(self.table, &staged)?;
        let mut entry = Entry::new(self.act, parts);
        if self.act == Act::Seal {
            let sealed = log.entries.iter().filter(|entry| entry.act == Act::Seal);
            let sealed = sealed.flat_map(|entry| &entry.parts).chain(&entry.parts);
            let known = sealed.flat_map(|part| &part.sources);
            let known = known.map(|source| &*source.stem).collect();
            let missing = archived.missing(self.table, self.date, &known)?;
            entry.objects_archived = archived.count(self.table, self.date)?;
            entry.objects_missing = missing;
        }
        let appended = log.append(self.table, self.date, entry);
        if let Ok(false) = appended {
            pass.lost_races += 1;
            return Ok(false);
        }
        // After an error the entry may exist all the same; the next run reads the log.
        staged.into_iter().for_each(Staged::keep);
        appended?;
        match self.act {
            Act::Seal => pass.sealed += 1,
            Act::Compact => pass.compacted += 1,
            Act::Correct | Act::Explain => {}
        }
        Ok(true)
    }

    /// The files that become one part each: of one schema, and together not too large.
    fn groups(
        &self,
        stems: Vec<String>,
        log: &Log,
        pass: &mut Pass,
    ) -> Result<Vec<Vec<Input>>, LakeError> {
        let mut groups: Vec<Vec<Input>> = Vec::new();
        for stem in stems {
            let part = log.parts().find(|part| part.path.stem() == stem);
            let sha256 = part.map(|part| &*part.sha256);
            let path = self.table.file(Kind::Live, self.date, &stem);
            let input = match Input::open(self.table.store(), path.clone(), sha256) {
                Ok(input) => input,
                Err(error) if error.is_damage() => {
                    tracing::warn!(%error, "a damaged table file is not sealed");
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
            let stem = Stem::of(&input.path).map_err(LakeError::name(&input.path))?;
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
            Act::Seal | Act::Correct | Act::Explain => Kind::Sealed,
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
        source(self.table, self.date, input, stem)
    }
}

/// Returns the log's record of the object that a live file was made from.
pub(crate) fn source(
    table: &Table,
    date: Date,
    input: &Input,
    stem: Stem,
) -> Result<Source, LakeError> {
    let errors = if let Some(origin) = &input.origin {
        origin.errors
    } else {
        let errors = table.file(Kind::Errors, date, &stem);
        count_lines(table.store(), &errors)?
    };
    let origin = input.origin.as_ref();
    let sha256 = origin.map(|origin| Sha256Hex::try_from(origin.object_sha256.clone()));
    Ok(Source {
        url: input.url()?,
        rows: input.rows,
        errors,
        object_bytes: origin.map(|origin| origin.object_bytes),
        object_sha256: sha256.transpose().map_err(LakeError::name(&input.path))?,
        damaged: origin.is_some_and(|origin| origin.damaged),
        removed: false,
        stem,
    })
}

/// Lines of a file; none when it does not exist.
pub(crate) fn count_lines(store: &LakeStore, path: &Path) -> Result<u64, LakeError> {
    match store.read(path) {
        Ok(text) => Ok(text.split_inclusive(|byte| *byte == b'\n').count() as u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(LakeError::io("read", path)(error)),
    }
}
