//! Corrections of parts: the rows of a damaged object are replaced by those of the whole one, and the rows of an object that
//! was removed on purpose go.
//!
//! The loader writes the rows of the whole object to `corrections/date=…/<stem>.parquet`, which no reader looks at. A sealer
//! writes the part again with these rows in the place of the old ones, adds an entry to the log, and renames the new file over
//! the old one, so that the part never holds a row twice.

use std::path::{Path, PathBuf};

use groma_lake_store::{LakeStore, Origin};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::archived::Archived;
use crate::log::{Act, Entry, Log, Part, Source};
use crate::merge::{Input, merge};
use crate::rebuild;
use crate::seal::{finish, remove, source};
use crate::staged::{self, Staged};
use crate::table::{Table, stems};
use crate::{LakeError, Pass, Settings};
use groma_lake_layout::{Kind, Sha256Hex, Stem};

/// An object that was removed on purpose. Its rows never come back from the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// SHA-256 of the object.
    pub object_sha256: Sha256Hex,
    /// Size of the object in bytes.
    pub object_bytes: u64,
    /// Why it was removed, in the words of the person who did it.
    pub reason: String,
    /// When it was removed.
    pub at: Timestamp,
}

/// Reads the record of a removed object; `None` where it was not removed.
pub fn read_removal(store: &LakeStore, path: &Path) -> Result<Option<Removal>, LakeError> {
    match store.read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| LakeError::Log {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LakeError::io("read", path)(error)),
    }
}

/// Records that an object is removed, and removes its rows. The error [`LakeError::Unknown`] says that the lake does not have
/// the object, or does not know its bytes.
pub fn remove_object(
    table: &Table,
    date: Date,
    stem: &str,
    reason: &str,
    settings: &Settings,
) -> Result<Removal, LakeError> {
    let log = Log::read(table, date)?;
    let (object_bytes, object_sha256) = identity(table, date, stem, &log)?;
    let removal = Removal {
        object_sha256,
        object_bytes,
        reason: reason.to_owned(),
        at: Timestamp::now(),
    };
    let path = table.file(Kind::Removed, date, stem);
    let text = serde_json::to_vec(&removal).expect("a removal is JSON");
    let written = table.store().replace(&path, &text);
    written.map_err(LakeError::io("write", &path))?;
    let archived = Archived::new(None);
    apply(table, date, settings, &archived, &mut Pass::default())?;
    Ok(removal)
}

/// Returns size and SHA-256 of an object, from the part or the live file that has its rows.
pub(crate) fn identity(
    table: &Table,
    date: Date,
    stem: &str,
    log: &Log,
) -> Result<(u64, Sha256Hex), LakeError> {
    let name = PathBuf::from(Kind::Live.file_name(stem));
    Stem::try_from(stem.to_owned()).map_err(LakeError::name(&name))?;
    let unknown = || LakeError::Unknown {
        object: stem.to_owned(),
        date,
    };
    let identity = if let Some((part, at)) = log.holder(stem) {
        let source = &part.sources[at];
        source.object_bytes.zip(source.object_sha256.clone())
    } else {
        let path = table.file(Kind::Live, date, stem);
        let input = Input::open(table.store(), path, None).map_err(|error| match error {
            error if error.is_gone() => unknown(),
            error => error,
        })?;
        let origin = input.origin.ok_or_else(unknown)?;
        let sha256 = Sha256Hex::try_from(origin.object_sha256).ok();
        sha256.map(|sha256| (origin.object_bytes, sha256))
    };
    identity.ok_or_else(unknown)
}

/// Applies all corrections and removals of a date that are not in its log yet.
pub(crate) fn apply(
    table: &Table,
    date: Date,
    settings: &Settings,
    archived: &Archived<'_>,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let mut failed = rebuild::rebuild(table, date, settings, pass).err();
    for stem in stems(table, Kind::Removed, date)? {
        if let Err(error) = remove_rows(table, date, settings, archived, &stem, pass) {
            failed.get_or_insert(error);
        }
    }
    for stem in stems(table, Kind::Corrections, date)? {
        if let Err(error) = replace_rows(table, date, settings, archived, &stem, pass) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether a live file of an object in a part was made from other and better bytes. Then it becomes a correction.
pub(crate) fn is_late(
    table: &Table,
    date: Date,
    log: &Log,
    stem: &str,
    path: &Path,
) -> Result<bool, LakeError> {
    let Some((part, at)) = log.holder(stem) else {
        return Ok(false);
    };
    let held = &part.sources[at];
    let input = match Input::open(table.store(), path.to_owned(), None) {
        Ok(input) => input,
        // Its rows are in the part.
        Err(error) if error.is_damage() || error.is_gone() => return Ok(false),
        Err(error) => return Err(error),
    };
    if !is_better(&input, held) {
        return Ok(false);
    }
    let correction = table.file(Kind::Corrections, date, stem);
    let placed = table.store().place_over(path, &correction);
    placed.map_err(LakeError::io("move", path))?;
    Ok(true)
}

fn is_better(input: &Input, held: &Source) -> bool {
    let other = |origin: &&Origin| {
        let sha256 = held.object_sha256.as_deref();
        sha256 != Some(origin.object_sha256.as_str())
    };
    let origin = input.origin.as_ref().filter(other);
    origin.is_some_and(|origin| held.removed || origin.may_replace(input.rows, &held.held()))
}

fn replace_rows(
    table: &Table,
    date: Date,
    settings: &Settings,
    archived: &Archived<'_>,
    stem: &str,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let path = table.file(Kind::Corrections, date, stem);
    let input = match Input::open(table.store(), path.clone(), None) {
        Ok(input) => input,
        Err(error) if error.is_gone() => return Ok(()),
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "removed a damaged correction; the object is loaded again");
            return remove(table, &path).map(drop);
        }
        Err(error) => return Err(error),
    };
    let mut log = Log::read(table, date)?;
    finish(table, date, &log)?;
    let Some((part, at)) = log.holder(stem) else {
        // Its part is gone: the rows become live ones.
        let live = table.file(Kind::Live, date, stem);
        let placed = table.store().place(&path, &live);
        return placed.map_err(LakeError::io("place", live));
    };
    if rebuild::is_set_aside(table, &part.path)? {
        // It waits until the rows of all objects of the part are here.
        return Ok(());
    }
    if is_better(&input, &part.sources[at]) {
        let name = Stem::of(&path).map_err(LakeError::name(&path))?;
        let new = source(table, date, &input, name)?;
        let work = Correction {
            table,
            date,
            settings,
            archived,
            at,
            new,
        };
        let part = part.clone();
        if !work.run(&mut log, part, Some(&input), pass)? {
            return Ok(());
        }
    }
    remove(table, &path).map(drop)
}

fn remove_rows(
    table: &Table,
    date: Date,
    settings: &Settings,
    archived: &Archived<'_>,
    stem: &str,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let Some(removal) = read_removal(table.store(), &table.file(Kind::Removed, date, stem))? else {
        return Ok(());
    };
    let is_it = |sha256: Option<&str>| sha256 == Some(&*removal.object_sha256);
    for kind in [Kind::Live, Kind::Corrections] {
        let path = table.file(kind, date, stem);
        match Input::open(table.store(), path.clone(), None) {
            Ok(input) => {
                let sha256 = input
                    .origin
                    .as_ref()
                    .map(|origin| origin.object_sha256.as_str());
                if is_it(sha256) {
                    remove(table, &path)?;
                }
            }
            Err(error) if error.is_gone() || error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    let mut log = Log::read(table, date)?;
    let Some((part, at)) = log.holder(stem) else {
        return Ok(());
    };
    let held = &part.sources[at];
    if held.removed || !is_it(held.object_sha256.as_deref()) {
        return Ok(());
    }
    finish(table, date, &log)?;
    if rebuild::is_set_aside(table, &part.path)? {
        return Ok(());
    }
    let new = held.clone().into_removed();
    let work = Correction {
        table,
        date,
        settings,
        archived,
        at,
        new,
    };
    let part = part.clone();
    work.run(&mut log, part, None, pass).map(drop)
}

/// The replacement of the rows of one object in a part.
struct Correction<'a> {
    table: &'a Table,
    date: Date,
    settings: &'a Settings,
    archived: &'a Archived<'a>,
    /// Number of the object among those of the part; the part's rows are in their order.
    at: usize,
    new: Source,
}

impl Correction<'_> {
    /// Writes the part again and adds the entry. `false` when another sealer was faster, or the part is damaged; the next run
    /// then looks again.
    fn run(
        self,
        log: &mut Log,
        part: Part,
        rows: Option<&Input>,
        pass: &mut Pass,
    ) -> Result<bool, LakeError> {
        let path = self.table.dir().join(&part.path);
        let old = match Input::open(self.table.store(), path.clone(), Some(&part.sha256)) {
            Err(error)
                if error.is_damage() && rebuild::is_possible(self.table, &part, self.archived)? =>
            {
                tracing::warn!(%error, "a damaged part is made again from its objects");
                let stem = part.path.stem().to_owned();
                rebuild::set_aside(self.table, self.date, path, &stem, pass)?;
                return Ok(false);
            }
            old => old?,
        };
        if rows.is_some_and(|rows| rows.schema != old.schema) {
            return Err(LakeError::Log {
                path,
                reason: format!(
                    "the rows of {} have other columns than the part; load the object with the schema of its date",
                    self.new.stem
                ),
            });
        }
        let before: u64 = part.sources[..self.at]
            .iter()
            .map(|source| source.rows)
            .sum();
        let after = before + part.sources[self.at].rows;
        let end = old.rows;
        let mut inputs = vec![old.with_rows(0..before)];
        inputs.extend(rows.map(|rows| rows.with_rows(0..rows.rows)));
        inputs.push(old.with_rows(after..end));
        let mut sources = part.sources.clone();
        sources[self.at] = self.new;
        let replaced = replace(
            (self.table, self.date),
            self.settings,
            log,
            (part, &inputs, sources),
        )?;
        if replaced {
            pass.corrected += 1;
        } else {
            pass.lost_races += 1;
        }
        Ok(replaced)
    }
}

/// Writes a part again from these rows and objects, and adds the entry. `false` when another sealer was faster; the next run
/// then looks again.
pub(crate) fn replace(
    (table, date): (&Table, Date),
    settings: &Settings,
    log: &mut Log,
    (part, inputs, sources): (Part, &[Input], Vec<Source>),
) -> Result<bool, LakeError> {
    let staged = Staged::create(table, date, log.entries.len())?;
    let (rows, size_bytes, sha256) = merge(inputs, &staged.file, &staged.path, settings)?;
    let corrected = Part {
        path: part.path,
        staged: staged.below_lake(),
        rows,
        size_bytes,
        sha256,
        merged: part.merged,
        sources,
    };
    let staged = [staged];
    staged::publish(table, &staged)?;
    let appended = log.append(table, date, Entry::new(Act::Correct, vec![corrected]));
    if let Ok(false) = appended {
        return Ok(false);
    }
    // After an error the entry may exist all the same; the next run reads the log.
    staged.into_iter().for_each(Staged::keep);
    appended?;
    finish(table, date, log)?;
    Ok(true)
}
