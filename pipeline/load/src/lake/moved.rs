//! Objects whose rows were asked for under another date than that of their name.

use std::io;
use std::path::PathBuf;

use jiff::civil::Date;

use super::Lake;
use crate::LoadError;
use crate::object::Object;

impl Lake {
    /// The one date under which an object has its rows, or is to get them: the one asked for, unless it has another already.
    pub(crate) fn date_of(
        &self,
        object: &Object,
        asked: Option<Date>,
        name: &str,
    ) -> Result<Date, LoadError> {
        let moved = self.moved_to(object)?;
        let date = moved.unwrap_or(object.date);
        let Some(asked) = asked.filter(|asked| *asked != date) else {
            return Ok(date);
        };
        let refuse = |other: Date| LoadError::OtherDate {
            name: name.to_owned(),
            asked,
            other,
            path: self.live_path(&object.experiment, &object.datatype, other, &object.stem),
        };
        if moved.is_some() || self.has_rows_at(object, date)? {
            return Err(refuse(date));
        }
        let path = self.moved_path(object);
        match self.store().create(&path, asked.to_string().as_bytes()) {
            Ok(()) => Ok(asked),
            // Another loader was faster, maybe with the same date.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match self.moved_to(object)? {
                    Some(other) if other != asked => Err(refuse(other)),
                    _ => Ok(asked),
                }
            }
            Err(error) => Err(LoadError::lake("write", path)(error)),
        }
    }

    /// Rows that were compacted or sealed have left their account.
    fn has_rows_at(&self, object: &Object, date: Date) -> Result<bool, LoadError> {
        let Object {
            experiment,
            datatype,
            stem,
            ..
        } = object;
        let live = self.live_path(experiment, datatype, date, stem);
        let account = self.account_path(experiment, datatype, date, stem);
        Ok(self.exists(&live)? || self.exists(&account)?)
    }

    fn moved_path(&self, object: &Object) -> PathBuf {
        let table = self
            .root()
            .join(object.experiment.as_str())
            .join(object.datatype.as_str());
        table.join("moved").join(&object.stem)
    }

    fn moved_to(&self, object: &Object) -> Result<Option<Date>, LoadError> {
        let path = self.moved_path(object);
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
