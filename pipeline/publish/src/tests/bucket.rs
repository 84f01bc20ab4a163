//! An archive in memory that answers in all the ways a bucket can.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::read::MultiGzDecoder;
use groma_archive::{LocalStore, Put, Stat, Store, StoreError};
use sha2::{Digest, Sha256};

use super::common::Line;
use super::power::PowerDisk;

/// A file in the archive: its name alone, which is unique in these tests, and its bytes.
pub(super) type Content = (String, Vec<u8>);

#[derive(Default)]
pub(super) struct Objects {
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// The files that can be read from the objects.
    pub(super) contents: BTreeSet<Content>,
    /// Contents that are in a second object, too.
    pub(super) doubled: Vec<Content>,
    /// Whether half an object was taken for a whole one.
    pub(super) cut_short: bool,
    /// An upload that the archive finishes after it was given up.
    late: Option<(String, Vec<u8>)>,
}

pub(super) struct Bucket {
    pub(super) objects: Arc<Mutex<Objects>>,
    pub(super) disk: Arc<PowerDisk>,
    pub(super) knows_checksums: bool,
    pub(super) may_cut_short: bool,
}

fn failed(name: &str, reason: &str) -> StoreError {
    StoreError::Remote {
        operation: "reach",
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

impl Objects {
    /// Returns the objects of an archive in a directory, read without faults.
    pub(super) fn of_directory(root: &Path) -> Objects {
        let mut objects = Objects::default();
        let Ok(store) = LocalStore::existing(root) else {
            return objects;
        };
        for name in store.list("").unwrap() {
            let mut bytes = Vec::new();
            let mut object = store.open(&name).unwrap();
            object.read_to_end(&mut bytes).unwrap();
            objects.put(&name, &bytes);
        }
        objects
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Put {
        if self.objects.contains_key(name) {
            return Put::Exists;
        }
        self.objects.insert(name.to_owned(), bytes.to_vec());
        for content in read(name, bytes).unwrap_or_default() {
            if !self.contents.insert(content.clone()) {
                self.doubled.push(content);
            }
        }
        Put::Created
    }

    fn settle(&mut self) {
        if let Some((name, bytes)) = self.late.take() {
            self.put(&name, &bytes);
        }
    }
}

/// The files in an object; an error if it is cut short.
fn read(name: &str, bytes: &[u8]) -> io::Result<Vec<Content>> {
    let mut contents = Vec::new();
    if name.strip_suffix(".tgz").is_some() {
        let mut archive = tar::Archive::new(MultiGzDecoder::new(bytes));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?;
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            contents.push((file, bytes));
        }
    } else if name.strip_suffix("-data.jsonl.gz").is_some() {
        let text = io::read_to_string(MultiGzDecoder::new(bytes))?;
        for line in text.lines() {
            let line: Line = serde_json::from_str(line)?;
            let file = line.archiver.filename.rsplit('/').next().unwrap();
            contents.push((file.to_owned(), line.raw.get().as_bytes().to_vec()));
        }
    }
    Ok(contents)
}

impl Store for Bucket {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        self.disk.instant();
        let bytes = std::fs::read(body).map_err(|error| failed(name, &error.to_string()))?;
        let fault = self.disk.wrong_answer(8);
        let mut objects = self.objects.lock().unwrap();
        objects.settle();
        let answer = match fault {
            None => Ok(objects.put(name, &bytes)),
            Some(0) => Err(failed(name, "503")),
            Some(1) => Err(failed(name, "409 another upload is going on")),
            Some(2) => {
                objects.put(name, &bytes);
                Err(failed(name, "the answer was lost"))
            }
            // The wrong answer "it exists"; the object is not there.
            Some(3) => Ok(Put::Exists),
            Some(4) => {
                objects.late = Some((name.to_owned(), bytes));
                Err(failed(name, "no answer in time"))
            }
            Some(_) if self.may_cut_short && !objects.objects.contains_key(name) => {
                objects.cut_short = true;
                Ok(objects.put(name, &bytes[..bytes.len() / 2]))
            }
            Some(_) => Err(failed(name, "connection reset")),
        };
        drop(objects);
        self.disk.instant();
        answer
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.disk.instant();
        if self.disk.wrong_answer(1).is_some() {
            return Err(failed(name, "500"));
        }
        let mut objects = self.objects.lock().unwrap();
        objects.settle();
        Ok(objects.objects.get(name).map(|bytes| Stat {
            size_bytes: bytes.len() as u64,
            sha256: self.knows_checksums.then(|| Sha256::digest(bytes).into()),
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.disk.wrong_answer(1).is_some() {
            return Err(failed(name, "500"));
        }
        let objects = self.objects.lock().unwrap();
        let bytes = objects
            .objects
            .get(name)
            .ok_or_else(|| failed(name, "404"))?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let objects = self.objects.lock().unwrap();
        let names = objects.objects.keys();
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect())
    }

    fn url(&self, name: &str) -> String {
        format!("gs://bucket/{name}")
    }
}
