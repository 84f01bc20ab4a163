//! The record of what experiments did against the spool's contract: `<state>/events.jsonl`, for the people who write them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use serde::Serialize;

use crate::seal::journal::STATE_MODE;

/// When the record has this many bytes it becomes the old one, and the one before that is gone.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A breach of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// The path is not `<datatype>/YYYY/MM/DD/<file>` with a name of the allowed characters.
    Name,
    /// It is not a regular file with one name.
    Kind,
    /// Another file of this name is not published yet.
    Blocked,
    /// Not modified for longer than the age limit, and open for writing all the same.
    HeldOpen,
    /// Opened for writing after it was closed.
    Reopened,
    /// Modified while it was bundled.
    Changed,
    /// Modified after it was bundled; both versions are published.
    Rewritten,
    /// Deleted by another program after it was closed.
    Deleted,
}

impl Breach {
    /// All of them.
    pub(crate) const ALL: [Breach; 8] = [
        Breach::Name,
        Breach::Kind,
        Breach::Blocked,
        Breach::HeldOpen,
        Breach::Reopened,
        Breach::Changed,
        Breach::Rewritten,
        Breach::Deleted,
    ];

    /// The label of the metric and the `kind` of the record.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Blocked => "blocked",
            Self::HeldOpen => "held_open",
            Self::Reopened => "reopened",
            Self::Changed => "changed",
            Self::Rewritten => "rewritten",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    kind: &'static str,
    file: &'a str,
    detail: &'a str,
}

/// Writes the record. It is a log, so it is not synced, and that it cannot be written stops nothing.
#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
    // Held while a line is written, so that lines stay whole.
    writing: Mutex<()>,
}

impl Events {
    pub(crate) fn new(state_dir: &Path) -> Events {
        Events {
            path: state_dir.join("events.jsonl"),
            writing: Mutex::default(),
        }
    }

    /// Puts one breach on record; `file` is its path below the experiment's directory.
    pub(crate) fn record(&self, breach: Breach, file: &str, detail: &str) {
        let line = Line {
            time: Timestamp::now(),
            kind: breach.as_str(),
            file,
            detail,
        };
        tracing::warn!(
            kind = line.kind,
            file,
            detail,
            "the spool's contract is broken"
        );
        if let Err(error) = self.write(&line) {
            tracing::warn!(%error, path = %self.path.display(), "could not put it on record");
        }
    }

    fn write(&self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let _guard = self
            .writing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut options = File::options();
        options.append(true).create(true).mode(STATE_MODE);
        let mut file = options.open(&self.path)?;
        if file.metadata()?.len() >= MAX_BYTES {
            fs::rename(&self.path, self.path.with_extension("old.jsonl"))?;
            file = options.open(&self.path)?;
        }
        file.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_private_bounded_and_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let events = Events::new(dir.path());
        events.record(Breach::Name, "ndt7/a b", "not allowed");
        let path = dir.path().join("events.jsonl");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let file = File::options().append(true).open(&path).unwrap();
        file.set_len(MAX_BYTES).unwrap();
        events.record(Breach::Deleted, "ndt7/b", "gone");
        let text = fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(
            (&line["kind"], &line["file"]),
            (&"deleted".into(), &"ndt7/b".into())
        );
        assert!(dir.path().join("events.old.jsonl").exists());
    }
}
