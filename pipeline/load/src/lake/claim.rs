//! The one date under which an object has its rows.
//!
//! Whoever is about to give an object rows first claims a date for it, by creating a file that only one can create; who comes
//! second follows the first. The file's place follows from the name of the object's file, whose directories a download has lost,
//! and from no date that anybody asked for.

use std::io::{self, Write as _};
use std::path::PathBuf;

use groma_lake_store::Committed;
use jiff::civil::Date;

use super::Lake;
use crate::LoadError;
use crate::object::Object;

impl Lake {
    /// The date that an object has, if that is settled.
    pub(crate) fn date_of(&self, object: &Object) -> Result<Option<Date>, LoadError> {
        super::step();
        match self.read_date(self.claim_path(object))? {
            Some(date) => Ok(Some(date)),
            None => self.date_before_claims(object),
        }
    }

    /// Claims a date for an object and gives the one that it has: this one, unless another was claimed before.
    pub(crate) fn claim(&self, object: &Object, date: Date) -> Result<Date, LoadError> {
        let path = self.claim_path(object);
        let written = || {
            let mut file = self.store().new_file(path.clone())?;
            file.write_all(date.to_string().as_bytes())?;
            file.commit()
        };
        super::step();
        match written().map_err(LoadError::lake("write", &path))? {
            Committed::Created => Ok(date),
            Committed::Existed => {
                let claimed = self.read_date(path.clone())?;
                claimed.ok_or_else(|| LoadError::lake("read", path)(io::ErrorKind::NotFound.into()))
            }
        }
    }

    /// The date of an object that was loaded before there were claims. Only who asked for another date than that of the name
    /// left a file then; the name may have been the bare one.
    fn date_before_claims(&self, object: &Object) -> Result<Option<Date>, LoadError> {
        if let Some(date) = self.read_date(self.table(object).join("moved").join(&object.stem))? {
            return Ok(Some(date));
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
        // The account stands before the rows do, so that nobody can come between the two looks.
        let account = self.account_path(experiment, datatype, date, stem);
        Ok(self.stands(&live)? || self.stands(&account)?)
    }

    fn claim_path(&self, object: &Object) -> PathBuf {
        let day = format!("date={}", object.bundled);
        let claims = self.table(object).join("claims").join(day);
        claims.join(&object.stem)
    }

    fn table(&self, object: &Object) -> PathBuf {
        self.root()
            .join(object.experiment.as_str())
            .join(object.datatype.as_str())
    }

    fn read_date(&self, path: PathBuf) -> Result<Option<Date>, LoadError> {
        match self.store().read(&path) {
            Ok(text) => match String::from_utf8_lossy(&text).parse() {
                Ok(date) => Ok(Some(date)),
                Err(_) => Err(LoadError::lake("read", path)(
                    io::ErrorKind::InvalidData.into(),
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LoadError::lake("read", path)(error)),
        }
    }
}
