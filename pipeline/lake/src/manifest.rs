//! The marker of a complete date, for readers who know nothing of the log.
//!
//! `sealed/date=YYYY-MM-DD/_manifest.json`, and `_manifest.N.json` for what came late: each says what the parts hold that
//! it adds. It appears after its parts, is created once, and follows from the log alone, so that any sealer writes the same.

use std::io;

use jiff::civil::Date;
use serde::Serialize;

use crate::LakeError;
use crate::log::{Act, Log, Part};
use crate::table::{Kind, Table};

/// The licence of everything in a lake.
pub const LICENCE: &str = "CC0-1.0";

#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    experiment: &'a str,
    datatype: &'a str,
    date: String,
    licence: &'static str,
    /// Of this manifest alone; the date's figures are the sums over its manifests.
    objects: u64,
    rows: u64,
    errors: u64,
    size_bytes: u64,
    objects_archived: Option<u64>,
    /// Whether the date's rows are those of every object that the archive held; none when nobody looked.
    complete: Option<bool>,
    files: Vec<File<'a>>,
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
}

/// Writes the manifests of all sealing entries that have none.
pub(crate) fn publish(table: &Table, date: Date, log: &Log) -> Result<(), LakeError> {
    let dir = table.day(Kind::Sealed, date);
    let mut objects_so_far = 0;
    let seals = log.entries.iter().filter(|entry| entry.act == Act::Seal);
    for (number, entry) in seals.enumerate() {
        let sources = || entry.parts.iter().flat_map(|part| &part.sources);
        let objects = sources().count() as u64;
        objects_so_far += objects;
        let path = dir.join(file_name(number));
        if table.has(&path)? {
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
            rows: entry.parts.iter().map(|part| part.rows).sum(),
            errors: sources().map(|source| source.errors).sum(),
            size_bytes: entry.parts.iter().map(|part| part.size_bytes).sum(),
            objects_archived: archived,
            complete: archived.map(|archived| objects_so_far >= archived),
            files: entry.parts.iter().map(file).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is JSON");
        text.push(b'\n');
        match table.store().create(&path, &text) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(LakeError::io("write", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `_manifest.json`, then `_manifest.1.json` and so on.
fn file_name(number: usize) -> String {
    match number {
        0 => "_manifest.json".to_owned(),
        number => format!("_manifest.{number}.json"),
    }
}

/// Whether a file of a sealed date is a manifest, by its name.
pub(crate) fn is_manifest(name: &str) -> bool {
    let number = name
        .strip_prefix("_manifest")
        .and_then(|rest| rest.strip_suffix(".json"));
    number.is_some_and(|number| match number.strip_prefix('.') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        None => number.is_empty(),
    })
}

fn file(part: &Part) -> File<'_> {
    let objects = part.sources.iter().map(|source| Object {
        stem: &source.stem,
        url: source.url.as_deref(),
        rows: source.rows,
        errors: source.errors,
    });
    File {
        name: part.path.file_name(),
        rows: part.rows,
        size_bytes: part.size_bytes,
        sha256: &part.sha256,
        objects: objects.collect(),
    }
}
