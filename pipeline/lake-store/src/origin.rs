//! The archive object that a table file was made from, as the file's own metadata records it.

use parquet::file::metadata::{KeyValue, ParquetMetaData};

const BYTES: &str = "groma.object_bytes";
const SHA256: &str = "groma.object_sha256";
const ERRORS: &str = "groma.errors";
const DAMAGED: &str = "groma.damaged";

/// The identity of an archive object beyond its name, and how well it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Size of the object in bytes.
    pub object_bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub object_sha256: String,
    /// Entries of its error list.
    pub errors: u64,
    /// The object itself is damaged, so that members may be missing.
    pub damaged: bool,
}

impl Origin {
    /// Reads the origin of a table file; `None` where the file has none.
    pub fn of(metadata: &ParquetMetaData) -> Option<Origin> {
        let entries = metadata.file_metadata().key_value_metadata()?;
        let value = |key: &str| {
            let entry = entries.iter().find(|entry| entry.key == key)?;
            entry.value.as_deref()
        };
        Some(Origin {
            object_bytes: value(BYTES)?.parse().ok()?,
            object_sha256: value(SHA256)?.to_owned(),
            errors: value(ERRORS)?.parse().ok()?,
            damaged: value(DAMAGED)? == "true",
        })
    }

    /// The metadata entries that [`Origin::of`] reads.
    pub fn to_metadata(&self) -> [KeyValue; 4] {
        [
            (BYTES, self.object_bytes.to_string()),
            (SHA256, self.object_sha256.clone()),
            (ERRORS, self.errors.to_string()),
            (DAMAGED, self.damaged.to_string()),
        ]
        .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    }

    /// Whether rows that were read from these bytes may replace rows of the same object that were read with `errors` errors.
    ///
    /// Rows that were read without an error are never replaced. A damaged object replaces only another damaged one, and only
    /// with as many rows or more.
    pub fn may_replace(&self, rows: u64, held: &Held) -> bool {
        if held.damaged {
            !self.damaged || rows >= held.rows
        } else {
            !self.damaged && self.errors < held.errors
        }
    }
}

/// How well the object could be read whose rows are in the lake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows that it became.
    pub rows: u64,
    /// Entries of its error list.
    pub errors: u64,
    /// The object was damaged.
    pub damaged: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_with_errors_are_replaced_and_only_by_better_ones() {
        let origin = |errors, damaged| Origin {
            object_bytes: 1,
            object_sha256: String::new(),
            errors,
            damaged,
        };
        let held = |rows, errors, damaged| Held {
            rows,
            errors,
            damaged,
        };
        let (whole, cut) = (origin(0, false), origin(1, true));
        assert!(whole.may_replace(0, &held(9, 1, true)));
        assert!(whole.may_replace(1, &held(1, 1, false)));
        assert!(cut.may_replace(3, &held(2, 1, true)));
        assert!(!cut.may_replace(1, &held(2, 1, true)));
        assert!(!cut.may_replace(3, &held(2, 5, false)));
        assert!(!whole.may_replace(9, &held(2, 0, false)));
        assert!(!origin(1, false).may_replace(9, &held(2, 1, false)));
    }
}
