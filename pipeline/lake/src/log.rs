//! The log of a table's date: which files replaced which others, decided once.
//!
//! `<table>/log/date=YYYY-MM-DD/NNNNNN.json`, numbered from 0 without gaps. The creator of a number has read all before it,
//! because creation fails when the number is taken. An entry names the files that it replaces; no two entries replace the
//! same file. It is durable before the first of its own files appears, so that any process that finds it can finish its work.

use std::collections::{HashMap, HashSet};
use std::io;

use groma_archive::hex;
use groma_lake_store::Held;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::LakeError;
use crate::explain::Explanation;
use crate::table::Table;
use groma_lake_layout::{PartPath, Sha256Hex, StagedPath, Stem};

/// The version of the format that this crate writes.
const VERSION: u32 = 1;

/// The last field of an entry, around its hexadecimal digits. Entries of earlier versions do not have it.
const CHECKSUM: &str = ",\"checksum\":\"";
const END: &str = "\"}";

/// The action of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Replaces small files of a live date by larger ones of the same date.
    Compact,
    /// Moves the rows of a closed date to its sealed parts.
    Seal,
    /// Replaces the rows of objects in a part, under the part's path.
    Correct,
    /// Adds the reasons for the errors of objects, and no file.
    Explain,
}

/// An archive object whose rows a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The object's stem: its name without directories and suffix, as live files have it.
    pub stem: Stem,
    /// Where the object is, as its rows say (`archiver.ArchiveURL`); none when it had no row.
    pub url: Option<String>,
    /// Rows that it became.
    pub rows: u64,
    /// Entries of its error list.
    pub errors: u64,
    /// Size of the object in bytes; none in entries from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_bytes: Option<u64>,
    /// SHA-256 of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_sha256: Option<Sha256Hex>,
    /// The object is damaged, so that members may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// The object was removed on purpose, and its rows with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

impl Source {
    /// How well the object could be read.
    pub fn held(&self) -> Held {
        Held {
            rows: self.rows,
            errors: self.errors,
            damaged: self.damaged,
        }
    }

    /// The same object without its rows, after it was removed on purpose.
    pub(crate) fn into_removed(self) -> Source {
        Source {
            rows: 0,
            errors: 0,
            damaged: false,
            removed: true,
            ..self
        }
    }

    /// Whether all members of the object are rows.
    pub(crate) fn is_whole(&self) -> bool {
        self.errors == 0 && !self.damaged
    }
}

/// A file that an entry adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its path below the table's directory.
    pub path: PartPath,
    /// Its path below the lake until the entry is durable.
    pub staged: StagedPath,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: Sha256Hex,
    /// Compacted files whose rows it took over, by stem.
    pub merged: Vec<Stem>,
    /// Every archive object whose rows it holds.
    pub sources: Vec<Source>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of this format.
    pub version: u32,
    /// The action.
    pub act: Act,
    /// Objects of this date that the archive held when the entry was made; none without an archive.
    pub objects_archived: Option<u64>,
    /// Those of them whose rows were in no part then; none without an archive, and in entries from before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_missing: Option<u64>,
    /// The files that it adds.
    pub parts: Vec<Part>,
    /// Objects whose errors an operator has explained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explained: Vec<Explanation>,
}

impl Entry {
    pub(crate) fn new(act: Act, parts: Vec<Part>) -> Entry {
        Entry {
            version: VERSION,
            act,
            objects_archived: None,
            objects_missing: None,
            parts,
            explained: Vec::new(),
        }
    }

    /// The bytes of the entry's file. Its last field is the SHA-256 of the text before that field.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("an entry is JSON");
        text.pop();
        let sha256 = hex(&Sha256::digest(&text));
        text.extend_from_slice(CHECKSUM.as_bytes());
        text.extend_from_slice(sha256.as_bytes());
        text.extend_from_slice(END.as_bytes());
        text
    }

    /// Reads the entry with this number of a date's log. Every name in it is one of that table, date and number, so that
    /// nothing outside them can be moved, read or removed because of it. The error names the field.
    pub(crate) fn parse(
        text: &[u8],
        table: &Table,
        date: Date,
        number: usize,
    ) -> Result<Entry, String> {
        check_sum(text)?;
        let entry: Entry = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if entry.version != VERSION {
            return Err(format!("field version: {} is not known", entry.version));
        }
        for (index, part) in entry.parts.iter().enumerate() {
            let wrong = |field: &str, value: &str, of: &str| {
                Err(format!(
                    "field parts[{index}].{field}: {value:?} belongs to another {of}"
                ))
            };
            if part.path.date() != date {
                return wrong("path", &part.path, "date");
            }
            if !part.staged.is_of(table.paths(), date, number) {
                return wrong("staged", &part.staged, "table, date or entry");
            }
        }
        Ok(entry)
    }
}

/// Compares an entry's text with its checksum, if it has one.
fn check_sum(text: &[u8]) -> Result<(), String> {
    let parts = text.strip_suffix(END.as_bytes()).and_then(|text| {
        let (text, sha256) = text.split_at_checked(text.len().checked_sub(64)?)?;
        Some((text.strip_suffix(CHECKSUM.as_bytes())?, sha256))
    });
    match parts {
        Some((text, sha256)) if hex(&Sha256::digest(text)).as_bytes() != sha256 => {
            Err("field checksum: the text has another one, so it is damaged".to_owned())
        }
        _ => Ok(()),
    }
}

impl Part {
    /// The stems of all live files that this part makes void.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &str> {
        let sources = self.sources.iter().map(|source| &*source.stem);
        sources.chain(self.merged.iter().map(|stem| &**stem))
    }
}

/// The log of one date, read to its end.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    pub(crate) fn read(table: &Table, date: Date) -> Result<Log, LakeError> {
        let mut log = Log::default();
        while let Some(entry) = read_entry(table, date, log.entries.len())? {
            log.entries.push(entry);
        }
        Ok(log)
    }

    /// The files that the entries add, each as its last correction left it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (number, part) in self.numbered() {
            last.insert(&part.path, number);
        }
        self.numbered()
            .filter(move |(number, part)| last.get(&*part.path) == Some(number))
            .map(|(_, part)| part)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &Part)> {
        let entries = self.entries.iter().enumerate();
        entries.flat_map(|(number, entry)| entry.parts.iter().map(move |part| (number, part)))
    }

    /// Whether a part replaces an earlier file of the same path.
    pub(crate) fn is_correction(&self, part: &Part) -> bool {
        self.numbered()
            .any(|(_, of)| of.path == part.path && of.staged != part.staged)
    }

    /// Whether files under names that were published may have changed: corrected parts, and manifests with corrections or
    /// explanations.
    pub(crate) fn has_amendments(&self) -> bool {
        let amends = |entry: &Entry| matches!(entry.act, Act::Correct | Act::Explain);
        self.entries.iter().any(amends)
    }

    /// The stems of all live files that some entry makes void.
    pub(crate) fn replaced(&self) -> HashSet<&str> {
        self.numbered()
            .flat_map(|(_, part)| part.replaced())
            .collect()
    }

    /// The parts whose rows no later part took over.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Part> {
        let merged: HashSet<&str> = self
            .parts()
            .flat_map(|part| part.merged.iter().map(|stem| &**stem))
            .collect();
        self.parts()
            .filter(move |part| !merged.contains(part.path.stem()))
    }

    /// The part that holds the rows of the object with this stem, and its number among the part's objects.
    pub(crate) fn holder(&self, stem: &str) -> Option<(&Part, usize)> {
        self.current().find_map(|part| {
            let is_it = |source: &Source| &*source.stem == stem;
            Some((part, part.sources.iter().position(is_it)?))
        })
    }

    /// Adds an entry unless another sealer was faster; then it is not added, and `false`.
    pub(crate) fn append(
        &mut self,
        table: &Table,
        date: Date,
        entry: Entry,
    ) -> Result<bool, LakeError> {
        let number = self.entries.len();
        let path = table.paths().log_entry(date, number);
        let text = entry.to_bytes();
        let is_ours = match table.store().create(&path, &text) {
            Ok(()) => true,
            // A bucket that was asked again because its answer was lost; no other sealer stages under these names.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                read_entry(table, date, number)?.as_ref() == Some(&entry)
            }
            Err(error) => return Err(LakeError::io("write", path)(error)),
        };
        if is_ours {
            self.entries.push(entry);
        }
        Ok(is_ours)
    }
}

fn read_entry(table: &Table, date: Date, number: usize) -> Result<Option<Entry>, LakeError> {
    let path = table.paths().log_entry(date, number);
    match table.store().read(&path) {
        Ok(text) => Entry::parse(&text, table, date, number)
            .map(Some)
            .map_err(|reason| LakeError::Log { path, reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LakeError::io("read", path)(error)),
    }
}

/// Whether the log of a date has an entry of this number.
pub(crate) fn has(table: &Table, date: Date, number: usize) -> Result<bool, LakeError> {
    table.has(&table.paths().log_entry(date, number))
}
