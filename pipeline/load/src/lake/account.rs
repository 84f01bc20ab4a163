//! The number of loaded, failed and skipped members of one object, published beside its rows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use groma_lake_store::Held;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Lake;
use crate::LoadError;

/// The account of one object: `members = loaded + failed + skipped`. Of datatypes with one row per member `rows = loaded`.
#[derive(Serialize)]
pub(crate) struct Account<'a> {
    /// Name of the archive object.
    pub(crate) object: &'a str,
    /// Files, or lines of JSON lines.
    pub(crate) members: u64,
    /// Members that became rows.
    pub(crate) loaded: u64,
    /// Members that could not be read; each has an entry in the error list.
    pub(crate) failed: u64,
    /// Members that are not measurements of the datatype.
    pub(crate) skipped: u64,
    /// Rows of the table.
    pub(crate) rows: u64,
    /// Entries of the error list: one for a failed member, one for each part of a loaded member that could not be read, one for
    /// a damaged object.
    pub(crate) errors: u64,
    /// The object itself is damaged, so that members may be missing.
    pub(crate) damaged: bool,
    /// Size of the object in bytes, and the SHA-256 of its bytes.
    pub(crate) object_bytes: u64,
    pub(crate) object_sha256: &'a str,
    /// When the object was last changed before it was read; none if the store does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_modified: Option<Timestamp>,
    /// Fields that the schema does not know: dotted path → occurrences.
    pub(crate) unknown_fields: &'a BTreeMap<String, u64>,
}

/// The part of an account that says whether the object needs another look. Accounts of earlier versions have no checksum.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    rows: u64,
    errors: u64,
    damaged: bool,
    object_bytes: Option<u64>,
    object_sha256: Option<String>,
    pub(crate) object_modified: Option<Timestamp>,
}

impl Recorded {
    pub(crate) fn parse(text: &[u8]) -> Option<Recorded> {
        serde_json::from_slice(text).ok()
    }

    pub(crate) fn held(&self) -> Held {
        Held {
            rows: self.rows,
            errors: self.errors,
            damaged: self.damaged,
        }
    }

    pub(crate) fn identity(self) -> Option<(u64, String)> {
        self.object_bytes.zip(self.object_sha256)
    }
}

impl Account<'_> {
    /// Puts the account in place; what an earlier attempt left there goes.
    pub(crate) fn write(&self, lake: &Lake, path: PathBuf) -> Result<(), LoadError> {
        let mut text = serde_json::to_vec(self).expect("strings and numbers are JSON");
        text.push(b'\n');
        let written = lake.store().replace(&path, &text);
        written.map_err(LoadError::lake("write", path))
    }
}
