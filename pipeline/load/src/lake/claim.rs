//! The one date under which an object has its rows.
//!
//! A loader claims a date for an object before it writes rows, by creating a file. Only one loader can create it; others use its
//! date. The path of the claim depends only on the file name of the object: a downloaded object has lost its directories, and a
//! caller may ask for another date.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use groma_archive::hex;
use groma_lake_layout::Kind;
use groma_lake_store::Committed;
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

use super::Lake;
use crate::LoadError;
use crate::object::Object;

/// The content of a claim's file: the date of the rows and, where the object's name had it, its date directory.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    date: Date,
    filed: Option<Date>,
}

impl Lake {
    /// The date that an object has, if that is settled.
    pub(crate) fn date_of(&self, object: &Object, name: &str) -> Result<Option<Date>, LoadError> {
        super::step();
        match self.read_claim(self.claim_path(object))? {
            Some(claim) => claim.of(object, name).map(Some),
            None => self.date_before_claims(object),
        }
    }

    /// Claims a date for an object and gives the one that it has: this one, unless another was claimed before.
    pub(crate) fn claim(&self, object: &Object, name: &str, date: Date) -> Result<Date, LoadError> {
        let path = self.claim_path(object);
        let claim = Claim {
            date,
            filed: object.filed,
        };
        let written = || {
            let mut file = self.store().new_file(path.clone())?;
            file.write_all(claim.to_string().as_bytes())?;
            file.commit()
        };
        super::step();
        match written().map_err(LoadError::lake("write", &path))? {
            Committed::Created => Ok(date),
            Committed::Existed => {
                let claimed = self.read_claim(path.clone())?;
                let gone = || LoadError::lake("read", path)(io::ErrorKind::NotFound.into());
                claimed.ok_or_else(gone)?.of(object, name)
            }
        }
    }

    /// The date of an object that was loaded before there were claims. Only who asked for another date than that of the name
    /// left a file then; the name may have been the bare one.
    fn date_before_claims(&self, object: &Object) -> Result<Option<Date>, LoadError> {
        let moved = self.table_of(object).moved(&object.stem);
        if let Some(claim) = self.read_claim(moved)? {
            return Ok(Some(claim.date));
        }
        if self.was_loaded(object, object.bundled)? {
            return Ok(Some(object.bundled));
        }
        let is_other = object.date != object.bundled;
        Ok((is_other && self.was_loaded(object, object.date)?).then_some(object.date))
    }

    /// Whether an object has rows under a date; those that were compacted have left their account.
    fn was_loaded(&self, object: &Object, date: Date) -> Result<bool, LoadError> {
        let Object {
            experiment,
            datatype,
            stem,
            ..
        } = object;
        super::step();
        let live = self.live_path(experiment, datatype, date, stem);
        // The account is written before the rows, so that no other loader can act between the two checks.
        let account = self.account_path(experiment, datatype, date, stem);
        Ok(self.is_there(&live)? || self.is_there(&account)?)
    }

    fn claim_path(&self, object: &Object) -> PathBuf {
        self.table_of(object)
            .file(Kind::Claims, object.bundled, &object.stem)
    }

    fn read_claim(&self, path: PathBuf) -> Result<Option<Claim>, LoadError> {
        match self.store().read(&path) {
            Ok(text) => match Claim::parse(&String::from_utf8_lossy(&text)) {
                Some(claim) => Ok(Some(claim)),
                None => Err(LoadError::lake("read", path)(
                    io::ErrorKind::InvalidData.into(),
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LoadError::lake("read", path)(error)),
        }
    }
}

impl Claim {
    /// Reads a claim. One of an earlier version has no checksum, and no directory where the object's name had none.
    fn parse(text: &str) -> Option<Claim> {
        let (fields, sum) = match text.rsplit_once(' ') {
            Some((fields, sum)) if fields.contains(' ') => (fields, Some(sum)),
            _ => (text, None),
        };
        if sum.is_some_and(|sum| sum != checksum(fields)) {
            return None;
        }
        let (date, filed) = match fields.split_once(' ') {
            Some((date, NOT_FILED)) => (date, None),
            Some((date, filed)) => (date, Some(filed.parse().ok()?)),
            None => (fields, None),
        };
        Some(Claim {
            date: date.parse().ok()?,
            filed,
        })
    }

    /// The date, if the claim is one of this object and not of another one with the name of its file.
    fn of(&self, object: &Object, name: &str) -> Result<Date, LoadError> {
        match self.filed {
            Some(other) if object.filed.is_some_and(|filed| filed != other) => {
                Err(LoadError::Namesake {
                    name: name.to_owned(),
                    other,
                })
            }
            _ => Ok(self.date),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filed = self.filed.map(|filed| filed.to_string());
        let fields = format!("{} {}", self.date, filed.as_deref().unwrap_or(NOT_FILED));
        write!(f, "{fields} {}", checksum(&fields))
    }
}

/// Stands for the date directory of an object whose name had none.
const NOT_FILED: &str = "-";

/// The first digits of a SHA-256: a claim with a changed date would give an object rows under two dates.
fn checksum(fields: &str) -> String {
    hex(&Sha256::digest(fields)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_of_a_claim_gives_no_other_date() {
        let date = "2020-03-18".parse().unwrap();
        for filed in [None, Some(date)] {
            let claim = Claim { date, filed };
            let text = claim.to_string();
            assert_eq!(Claim::parse(&text), Some(Claim { date, filed }));
            for bit in 0..text.len() * 8 {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let changed = String::from_utf8_lossy(&bytes);
                assert_eq!(Claim::parse(&changed), None, "{changed}");
            }
        }
    }

    #[test]
    fn claims_of_earlier_versions_are_read() {
        let date = "2020-03-18".parse().unwrap();
        let filed = Some("2020-03-19".parse().unwrap());
        assert_eq!(
            Claim::parse("2020-03-18"),
            Some(Claim { date, filed: None })
        );
        let both = Claim::parse("2020-03-18 2020-03-19");
        assert_eq!(both, Some(Claim { date, filed }));
    }
}
