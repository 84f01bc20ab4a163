//! Errors that an operator has explained, so that they no longer keep a date from being complete.
//!
//! An explanation is an entry of the date's log. It applies to the bytes of one archive object: the same name with other bytes
//! needs another explanation.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::correct::identity;
use crate::log::{Act, Entry, Log, Source};
use crate::seal::finish;
use crate::table::Table;
use groma_lake_layout::{Kind, Sha256Hex, Stem};

/// The reason why an archive object is damaged or has members that are not rows, in an operator's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The object's stem.
    pub stem: Stem,
    /// SHA-256 of the object.
    pub object_sha256: Sha256Hex,
    /// The reason.
    pub reason: String,
    /// The time of the explanation.
    pub at: Timestamp,
}

impl Explanation {
    fn is_about(&self, source: &Source) -> bool {
        self.stem == source.stem && source.object_sha256.as_ref() == Some(&self.object_sha256)
    }
}

impl Log {
    /// Returns the last explanation of an object's errors.
    pub(crate) fn explanation(&self, source: &Source) -> Option<&Explanation> {
        let all = self.entries.iter().rev().flat_map(|entry| &entry.explained);
        all.into_iter().find(|one| one.is_about(source))
    }

    /// Returns whether all members of an object are rows, or an operator has explained why not.
    pub(crate) fn is_accounted_for(&self, source: &Source) -> bool {
        source.is_whole() || self.explanation(source).is_some()
    }
}

/// Records in the log why an object has errors. The manifests of the date then count it as whole.
///
/// # Errors
///
/// [`LakeError::Unknown`] if the lake does not have the object or does not know its bytes, and [`LakeError::Busy`] if other
/// processes added to the log each time that this one tried.
pub fn explain_errors(
    table: &Table,
    date: Date,
    stem: &str,
    reason: &str,
) -> Result<Explanation, LakeError> {
    const ATTEMPTS: usize = 20;
    let file = PathBuf::from(Kind::Live.file_name(stem));
    let name = Stem::try_from(stem.to_owned()).map_err(LakeError::name(&file))?;
    for _ in 0..ATTEMPTS {
        let mut log = Log::read(table, date)?;
        let (_, object_sha256) = identity(table, date, stem, &log)?;
        let explanation = Explanation {
            stem: name.clone(),
            object_sha256,
            reason: reason.to_owned(),
            at: Timestamp::now(),
        };
        let mut entry = Entry::new(Act::Explain, Vec::new());
        entry.explained.push(explanation.clone());
        if log.append(table, date, entry)? {
            finish(table, date, &log)?;
            return Ok(explanation);
        }
    }
    Err(LakeError::Busy { date })
}
