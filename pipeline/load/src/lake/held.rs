//! The rows of an object that a lake already has, and the identity of the bytes that they came from.

use std::io;
use std::path::PathBuf;

use groma_lake::{Removal, Sources, Table, is_set_aside, read_removal};
use groma_lake_layout::Kind;
use groma_lake_store::{Held, Origin, guarded};
use jiff::civil::Date;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use super::Lake;
use super::account::Recorded;
use crate::LoadError;
use crate::object::Object;

/// Where the rows of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a live file of their own.
    Live,
    /// In a compacted or sealed part.
    Part,
}

/// An object whose rows are in the lake.
#[derive(Clone, Debug)]
pub(crate) struct HeldObject {
    pub(crate) place: Place,
    /// Size and SHA-256 of the object; none where an earlier version loaded it.
    pub(crate) identity: Option<(u64, String)>,
    pub(crate) held: Held,
}

impl Lake {
    /// Returns the rows that the lake has of an object under a date.
    pub(crate) fn held(
        &self,
        sources: &Sources,
        object: &Object,
        date: Date,
    ) -> Result<Option<HeldObject>, LoadError> {
        let Object {
            experiment,
            datatype,
            stem,
            ..
        } = object;
        // Live files first: one that is gone by then is in the log.
        let is_live = self.exists(&self.live_path(experiment, datatype, date, stem))?;
        if let Some((source, part)) = sources.get(experiment, datatype, date, stem)? {
            if let Some(pending) =
                self.origin(self.table_of(object).file(Kind::Corrections, date, stem))?
            {
                return Ok(Some(pending));
            }
            // The rows of a damaged part are gone, so that any bytes of the object are welcome.
            if !source.removed && is_set_aside(&self.lake_table(object), &part)? {
                return Ok(Some(HeldObject {
                    place: Place::Part,
                    identity: None,
                    held: Held {
                        damaged: true,
                        ..Held::default()
                    },
                }));
            }
            let sha256 = source.object_sha256.as_deref().map(str::to_owned);
            // Other bytes than those that were removed are welcome.
            let removed = Held {
                damaged: true,
                ..Held::default()
            };
            return Ok(Some(HeldObject {
                place: Place::Part,
                held: if source.removed {
                    removed
                } else {
                    source.held()
                },
                identity: source.object_bytes.zip(sha256),
            }));
        }
        if !is_live {
            return Ok(None);
        }
        let recorded = self.recorded(object, date)?;
        Ok(Some(HeldObject {
            place: Place::Live,
            held: recorded.as_ref().map(Recorded::held).unwrap_or_default(),
            identity: recorded.and_then(Recorded::identity),
        }))
    }

    /// Returns the account of an object; `None` if there is none that can be read.
    pub(crate) fn recorded(
        &self,
        object: &Object,
        date: Date,
    ) -> Result<Option<Recorded>, LoadError> {
        let (experiment, datatype) = (&object.experiment, &object.datatype);
        let path = self.account_path(experiment, datatype, date, &object.stem);
        match self.store().read(&path) {
            Ok(text) => Ok(Recorded::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LoadError::lake("read", path)(error)),
        }
    }

    /// The object that a table file was made from, as the file itself records it; `None` if the file does not exist.
    fn origin(&self, path: PathBuf) -> Result<Option<HeldObject>, LoadError> {
        let file = match self.store().open_verified(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // The object is loaded again in its place.
            Err(error) if groma_lake_store::is_damage(&error) => return Ok(None),
            Err(error) => return Err(LoadError::lake("read", path)(error)),
        };
        let read = guarded(|| {
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
            let rows = metadata.file_metadata().num_rows();
            Ok::<_, ParquetError>((Origin::of(&metadata), u64::try_from(rows).unwrap_or(0)))
        });
        let Ok((Some(origin), rows)) = read else {
            return Ok(None);
        };
        Ok(Some(HeldObject {
            place: Place::Part,
            held: Held {
                rows,
                errors: origin.errors,
                damaged: origin.damaged,
            },
            identity: Some((origin.object_bytes, origin.object_sha256)),
        }))
    }

    /// As [`Lake::held`], after another loader was faster: the live file itself says from which bytes it was made.
    pub(crate) fn held_now(
        &self,
        sources: &Sources,
        object: &Object,
        date: Date,
    ) -> Result<Option<HeldObject>, LoadError> {
        let live = self.live_path(&object.experiment, &object.datatype, date, &object.stem);
        match self.origin(live)? {
            Some(held) => Ok(Some(HeldObject {
                place: Place::Live,
                ..held
            })),
            None => self.held(sources, object, date),
        }
    }

    /// The record of an object that was removed on purpose.
    pub(crate) fn removal(
        &self,
        object: &Object,
        date: Date,
    ) -> Result<Option<Removal>, LoadError> {
        let path = self
            .table_of(object)
            .file(Kind::Removed, date, &object.stem);
        Ok(read_removal(self.store(), &path)?)
    }

    /// Where the rows are put that correct those in a part.
    pub(crate) fn correction_path(&self, object: &Object, date: Date) -> PathBuf {
        self.table_of(object)
            .file(Kind::Corrections, date, &object.stem)
    }

    fn lake_table(&self, object: &Object) -> Table {
        Table::new(
            self.store().clone(),
            object.experiment.clone(),
            object.datatype.clone(),
        )
    }
}
