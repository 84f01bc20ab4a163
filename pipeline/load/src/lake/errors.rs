//! The members that could not become rows, as JSON lines beside the table.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use groma_lake_store::NewFile;

use super::Lake;
use crate::LoadError;

/// Longest reason kept, in characters.
const REASON_CHARS: usize = 300;

/// One line of the list.
#[derive(Serialize)]
struct Entry<'a> {
    /// Name of the archive object.
    object: &'a str,
    /// Name of the member; empty when the object itself is damaged.
    member: &'a str,
    /// Line number from 1, in JSON lines.
    line: Option<u64>,
    reason: String,
}

/// The error list of one object. It costs no file until there is an error, and no memory per error.
pub(crate) struct ErrorLog {
    lake: Lake,
    path: PathBuf,
    object: String,
    file: Option<BufWriter<NewFile>>,
    count: u64,
}

impl ErrorLog {
    pub(crate) fn new(lake: &Lake, path: PathBuf, object: &str) -> Self {
        ErrorLog {
            lake: lake.clone(),
            path,
            object: object.to_owned(),
            file: None,
            count: 0,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn add(
        &mut self,
        member: &str,
        line: Option<u64>,
        reason: &str,
    ) -> Result<(), LoadError> {
        if self.file.is_none() {
            let file = self.lake.store().new_file(self.path.clone());
            let file = file.map_err(LoadError::lake("create", &self.path))?;
            self.file = Some(BufWriter::new(file));
        }
        let entry = Entry {
            object: &self.object,
            member,
            line,
            reason: reason.chars().take(REASON_CHARS).collect(),
        };
        let mut text = serde_json::to_vec(&entry).expect("strings and numbers are JSON");
        text.push(b'\n');
        self.count += 1;
        self.file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(&text))
            .map_err(LoadError::lake("write", &self.path))
    }

    /// Puts the list in place; what an earlier attempt left there goes.
    pub(crate) fn commit(self) -> Result<(), LoadError> {
        let Some(file) = self.file else {
            let removed = self.lake.store().remove(&self.path);
            return removed
                .map(drop)
                .map_err(LoadError::lake("remove", &self.path));
        };
        let file = file
            .into_inner()
            .map_err(|error| LoadError::lake("write", &self.path)(error.into_error()))?;
        file.commit_over()
            .map_err(LoadError::lake("name", &self.path))
    }
}
