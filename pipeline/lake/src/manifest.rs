//! The marker of a complete date, for readers who know nothing of the log.
//!
//! `sealed/date=YYYY-MM-DD/_manifest.json`, and `_manifest.N.json` for objects that came late: each describes the parts that
//! it adds. It appears after its parts and follows from the log alone, so that any sealer writes the same. A correction of a
//! part replaces the part and then its manifest, which lists the corrections; so does an explanation of errors.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use jiff::civil::Date;
use serde::Serialize;

use crate::LakeError;
use crate::log::{Act, Log, Part};
use crate::table::Table;

/// The licence of everything in a lake.
pub const LICENCE: &str = "CC0-1.0";

#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    experiment: &'a str,
    datatype: &'a str,
    date: String,
    licence: &'static str,
    /// The figures of this manifest alone; the date's figures are the sums over its manifests.
    objects: u64,
    rows: u64,
    errors: u64,
    size_bytes: u64,
    objects_archived: Option<u64>,
    /// Whether the date has the rows of every object that the archive held, without an error that no operator explained; none
    /// without an archive.
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    corrections: Vec<Correction<'a>>,
    files: Vec<File<'a>>,
}

/// A replacement of the rows of one object after the date was sealed.
#[derive(Serialize)]
struct Correction<'a> {
    /// Number of the log entry.
    entry: usize,
    file: &'a str,
    object: &'a str,
    /// The object was removed on purpose.
    removed: bool,
    previous_object_sha256: Option<&'a str>,
    previous_rows: u64,
    previous_errors: u64,
    previous_file_sha256: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    rows: u64,
    size_bytes: u64,
    sha256: &'a str,
    objects: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    stem: &'a str,
    url: Option<&'a str>,
    rows: u64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_sha256: Option<&'a str>,
    damaged: bool,
    /// Why it is damaged or has errors, in an operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<&'a str>,
}

/// Writes the manifests of all sealing entries that have none, and all again after a correction or an explanation.
pub(crate) fn publish(table: &Table, date: Date, log: &Log) -> Result<(), LakeError> {
    let is_amended = log.has_amendments();
    let current: HashMap<&str, &Part> = log.parts().map(|part| (&*part.path, part)).collect();
    let (mut objects_so_far, mut is_whole) = (0, true);
    let seals = log.entries.iter().filter(|entry| entry.act == Act::Seal);
    for (number, entry) in seals.enumerate() {
        let parts: Vec<&Part> = entry
            .parts
            .iter()
            .map(|part| current.get(&*part.path).copied().unwrap_or(part))
            .collect();
        let sources = || parts.iter().flat_map(|part| &part.sources);
        let objects = sources().filter(|source| !source.removed).count() as u64;
        objects_so_far += sources().count() as u64;
        is_whole &= sources().all(|source| log.is_accounted_for(source));
        let path = table.paths().manifest(date, number);
        if !is_amended && table.has(&path)? {
            continue;
        }
        let archived = entry.objects_archived;
        let manifest = Manifest {
            version: 1,
            experiment: table.experiment().as_str(),
            datatype: table.datatype().as_str(),
            date: date.to_string(),
            licence: LICENCE,
            objects,
            rows: parts.iter().map(|part| part.rows).sum(),
            errors: sources().map(|source| source.errors).sum(),
            size_bytes: parts.iter().map(|part| part.size_bytes).sum(),
            objects_archived: archived,
            complete: archived.map(|archived| {
                is_whole
                    && match entry.objects_missing {
                        Some(missing) => missing == 0,
                        None => objects_so_far >= archived,
                    }
            }),
            corrections: corrections(log, &entry.parts),
            files: parts.iter().map(|part| file(log, part)).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is JSON");
        text.push(b'\n');
        write(table, path, &text, is_amended)?;
    }
    Ok(())
}

/// Creates a manifest, or replaces the one from before a correction or an explanation.
fn write(table: &Table, path: PathBuf, text: &[u8], replace: bool) -> Result<(), LakeError> {
    let store = table.store();
    let written = match store.create(&path, text) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !replace || store.read(&path).is_ok_and(|there| there == text) {
                return Ok(());
            }
            store.replace(&path, text)
        }
        written => written,
    };
    written.map_err(LakeError::io("write", path))
}

/// The objects whose rows a correction replaced in these parts, in the order of the log.
fn corrections<'a>(log: &'a Log, parts: &'a [Part]) -> Vec<Correction<'a>> {
    let mut corrections = Vec::new();
    for part in parts {
        let mut before = part;
        let all = log.entries.iter().enumerate();
        for (number, entry) in all.filter(|(_, entry)| entry.act == Act::Correct) {
            let Some(after) = entry.parts.iter().find(|of| of.path == part.path) else {
                continue;
            };
            let pairs = before.sources.iter().zip(&after.sources);
            corrections.extend(pairs.filter(|(old, new)| old != new).map(|(old, new)| {
                Correction {
                    entry: number,
                    file: after.path.file_name(),
                    object: &new.stem,
                    removed: new.removed,
                    previous_object_sha256: old.object_sha256.as_deref(),
                    previous_rows: old.rows,
                    previous_errors: old.errors,
                    previous_file_sha256: &before.sha256,
                }
            }));
            before = after;
        }
    }
    corrections
}

fn file<'a>(log: &'a Log, part: &'a Part) -> File<'a> {
    let present = part.sources.iter().filter(|source| !source.removed);
    let objects = present.map(|source| Object {
        stem: &source.stem,
        url: source.url.as_deref(),
        rows: source.rows,
        errors: source.errors,
        object_bytes: source.object_bytes,
        object_sha256: source.object_sha256.as_deref(),
        damaged: source.damaged,
        explained: log
            .explanation(source)
            .filter(|_| !source.is_whole())
            .map(|explanation| &*explanation.reason),
    });
    File {
        name: part.path.file_name(),
        rows: part.rows,
        size_bytes: part.size_bytes,
        sha256: &part.sha256,
        objects: objects.collect(),
    }
}
