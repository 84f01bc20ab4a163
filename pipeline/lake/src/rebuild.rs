//! Rebuilds damaged parts from the archive.
//!
//! A part whose bytes do not have its checksum is moved to `damaged/date=…/`. The loader then loads all objects of the part
//! again, to `corrections/`. When the rows of all of them are there, a sealer writes the part again under its own path.

use std::path::PathBuf;

use jiff::civil::Date;

use crate::archived::Archived;
use crate::correct::{Removal, read_removal, replace};
use crate::log::{Log, Part, Source};
use crate::merge::Input;
use crate::seal::{finish, remove, source};
use crate::table::{Table, stems};
use crate::{LakeError, Pass, Settings};
use groma_lake_layout::{Kind, PartPath};

/// Whether the archive has all objects of a part that were not removed on purpose.
pub(crate) fn is_possible(
    table: &Table,
    part: &Part,
    archived: &Archived<'_>,
) -> Result<bool, LakeError> {
    let mut is_possible = false;
    for source in part.sources.iter().filter(|source| !source.removed) {
        is_possible = archived.has(table, &source.stem)?;
        if !is_possible {
            break;
        }
    }
    Ok(is_possible)
}

/// Moves a damaged file to `damaged/`.
pub(crate) fn set_aside(
    table: &Table,
    date: Date,
    path: PathBuf,
    stem: &str,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let aside = aside_path(table, date, stem);
    let moved = table.store().place_over(&path, &aside);
    moved.map_err(LakeError::io("move", &path))?;
    tracing::warn!(file = %path.display(), to = %aside.display(), "moved a damaged table file; its objects are loaded again");
    pass.set_aside.push(path);
    Ok(())
}

fn aside_path(table: &Table, date: Date, stem: &str) -> PathBuf {
    table.file(Kind::Damaged, date, stem)
}

/// Whether a part was moved to `damaged/` and is not rebuilt yet, so that its objects have to be loaded again. A part that is
/// only not in place yet is not set aside.
pub fn is_set_aside(table: &Table, part: &PartPath) -> Result<bool, LakeError> {
    Ok(!table.has(&table.dir().join(part))?
        && table.has(&aside_path(table, part.date(), part.stem()))?)
}

/// Rebuilds the parts of a date whose objects are all loaded again.
pub(crate) fn rebuild(
    table: &Table,
    date: Date,
    settings: &Settings,
    pass: &mut Pass,
) -> Result<(), LakeError> {
    let stems = stems(table, Kind::Damaged, date)?;
    if stems.is_empty() {
        return Ok(());
    }
    let mut log = Log::read(table, date)?;
    finish(table, date, &log)?;
    let is_aside = |part: &&Part| stems.iter().any(|stem| stem == part.path.stem());
    let parts: Vec<Part> = log.current().filter(is_aside).cloned().collect();
    for part in parts {
        if !is_set_aside(table, &part.path)? {
            continue;
        }
        let path = table.dir().join(&part.path);
        let Some((sources, inputs)) = loaded_again(table, date, &part)? else {
            pass.unreadable.push(path);
            continue;
        };
        if inputs.is_empty() || inputs.iter().any(|input| input.schema != inputs[0].schema) {
            return Err(LakeError::Log {
                path,
                reason: "the objects of this part were loaded with different columns; load them with one schema"
                    .to_owned(),
            });
        }
        let aside = aside_path(table, date, part.path.stem());
        if !replace((table, date), settings, &mut log, (part, &inputs, sources))? {
            pass.lost_races += 1;
            return Ok(());
        }
        pass.corrected += inputs.len();
        for input in &inputs {
            remove(table, &input.path)?;
        }
        remove(table, &aside)?;
    }
    remove_replaced(table, date, &log, &stems)
}

/// Removes the damaged files of parts that were rebuilt, which a sealer leaves behind if it dies before it removes them.
fn remove_replaced(
    table: &Table,
    date: Date,
    log: &Log,
    stems: &[String],
) -> Result<(), LakeError> {
    for part in log.parts() {
        let stem = part.path.stem();
        if !stems.iter().any(|aside| aside == stem) {
            continue;
        }
        // A part that is not current has its rows in another one.
        let is_current = log.current().any(|current| current.path == part.path);
        if !is_current || table.has(&table.dir().join(&part.path))? {
            remove(table, &aside_path(table, date, stem))?;
        }
    }
    Ok(())
}

/// The objects of a part, and the rows of those that have some.
type Content = (Vec<Source>, Vec<Input>);

/// The objects of a part and the rows of those that were not removed on purpose; `None` while one is not loaded again.
fn loaded_again(table: &Table, date: Date, part: &Part) -> Result<Option<Content>, LakeError> {
    let (mut sources, mut inputs) = (Vec::new(), Vec::new());
    for old in &part.sources {
        if old.removed {
            sources.push(old.clone());
            continue;
        }
        let path = table.file(Kind::Corrections, date, &old.stem);
        match Input::open(table.store(), path.clone(), None) {
            Ok(input) => {
                sources.push(source(table, date, &input, old.stem.clone())?);
                inputs.push(input);
            }
            // The loader refuses the bytes of an object that was removed after its part was moved.
            Err(error) if error.is_gone() && is_removed(table, date, old)? => {
                sources.push(old.clone().into_removed());
            }
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "removed a damaged correction; the object is loaded again");
                remove(table, &path)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some((sources, inputs)))
}

fn is_removed(table: &Table, date: Date, source: &Source) -> Result<bool, LakeError> {
    let removal = read_removal(
        table.store(),
        &table.file(Kind::Removed, date, &source.stem),
    )?;
    let same = |removal: &Removal| source.object_sha256.as_ref() == Some(&removal.object_sha256);
    Ok(removal.as_ref().is_some_and(same))
}
