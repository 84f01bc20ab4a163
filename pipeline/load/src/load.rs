//! One object on its way into the lake.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::datatype::Measurement;
use groma_lake_store::{Committed, Held, Origin};

use crate::lake::{Account, ErrorLog, Lake, ParquetFile, Place};
use crate::object::Object;
use crate::row::Batch;
use crate::source::{Content, Member};
use crate::table::Table;
use crate::{Limits, LoadError};

/// Takes members, counts what becomes of each, and holds no more than a batch and a row group of them.
pub(crate) struct Load<'a> {
    table: &'a Table,
    date: Date,
    batch: Batch,
    parquet: ParquetFile,
    errors: ErrorLog,
    loaded: u64,
    failed: u64,
    damaged: bool,
    skipped: u64,
}

/// How a load ended.
pub(crate) enum Outcome {
    /// The rows are there now.
    Created(Counts),
    /// The rows are there now, in the place of worse ones of the same object.
    Replaced(Counts),
    /// Rows of the same bytes were there before.
    Existed(Held),
    /// Another loader was faster, perhaps with other bytes.
    Raced,
    /// Another loader was faster and claimed this date; nothing was written.
    OtherDate(Date),
}

/// The number of members by result.
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
    pub(crate) damaged: bool,
    pub(crate) unknown_fields: BTreeMap<String, u64>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        table: &'a Table,
        date: Date,
        mut limits: Limits,
        parquet: ParquetFile,
        errors: ErrorLog,
    ) -> Self {
        limits.member_values *= table.rules.slots();
        Load {
            table,
            date,
            batch: Batch::new(table.schema.clone(), &table.rules.traits(), limits),
            parquet,
            errors,
            loaded: 0,
            failed: 0,
            damaged: false,
            skipped: 0,
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.count()
    }

    pub(crate) fn member(&mut self, member: Member) -> Result<(), LoadError> {
        let (bytes, cut) = match member.content {
            Content::Unwanted => {
                self.skipped += 1;
                return Ok(());
            }
            Content::Bad(reason) => {
                self.failed += 1;
                return self.errors.add(&member.name, member.line, &reason);
            }
            Content::Damage(reason) => {
                self.damaged = true;
                // An entry without a place is about the object itself.
                let is_member = !member.name.is_empty() || member.line.is_some();
                self.failed += u64::from(is_member);
                return self.errors.add(&member.name, member.line, &reason);
            }
            Content::Whole(bytes) => (bytes, None),
            Content::Beginning(bytes, reason) => (bytes, Some(reason)),
        };
        let rows = self.batch.rows();
        let measurement = Measurement {
            id: member.id.as_deref(),
            archiver: &member.archiver,
            date: self.date,
            bytes: &bytes,
            is_cut: cut.is_some(),
        };
        if let Err(reason) = self.table.rules.append(&measurement, &mut self.batch) {
            self.batch.cut(rows);
            self.batch.take_problems();
            self.failed += 1;
            return self.errors.add(&member.name, member.line, &reason);
        }
        self.loaded += 1;
        if let Some(reason) = cut {
            self.errors.add(&member.name, member.line, &reason)?;
        }
        for problem in self.batch.take_problems() {
            self.errors.add(&member.name, member.line, &problem)?;
        }
        let member_bytes = bytes.len();
        // Before a row group is made of it and of others.
        drop(bytes);
        if self.batch.is_full(member_bytes) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        if self.batch.rows() == 0 {
            return Ok(());
        }
        let batch = self.batch.take().map_err(|error| LoadError::Encode {
            path: self.parquet.path().to_owned(),
            reason: error.to_string(),
        })?;
        self.parquet.write(&batch)
    }

    /// Returns the identity of the object after it was read completely.
    pub(crate) fn origin(&self, (object_bytes, object_sha256): (u64, String)) -> Origin {
        Origin {
            object_bytes,
            object_sha256,
            errors: self.errors.count(),
            damaged: self.damaged,
        }
    }

    /// Rows read so far.
    pub(crate) fn rows(&self) -> u64 {
        self.parquet.rows() + self.batch.rows() as u64
    }

    /// Claims the date, puts the error list and the account in place, then the table, whose name says that all of it is done.
    ///
    /// Rows that replace others come before their account: until the account says so, the object is looked at again.
    pub(crate) fn commit(
        mut self,
        lake: &Lake,
        object: &Object,
        name: &str,
        origin: &Origin,
        modified: Option<Timestamp>,
        replaces: Option<Place>,
    ) -> Result<Outcome, LoadError> {
        self.flush()?;
        let date = lake.claim(object, name, self.date)?;
        if date != self.date {
            return Ok(Outcome::OtherDate(date));
        }
        let counts = Counts {
            rows: self.parquet.rows(),
            errors: self.errors.count(),
            skipped: self.skipped,
            damaged: self.damaged,
            unknown_fields: self.batch.report().unknown.clone(),
        };
        let account = Account {
            object: name,
            members: self.loaded + self.failed + self.skipped,
            loaded: self.loaded,
            failed: self.failed,
            skipped: self.skipped,
            rows: counts.rows,
            errors: counts.errors,
            damaged: self.damaged,
            object_bytes: origin.object_bytes,
            object_sha256: &origin.object_sha256,
            object_modified: modified,
            unknown_fields: &counts.unknown_fields,
        };
        let (experiment, datatype) = (&object.experiment, &object.datatype);
        let account_path = lake.account_path(experiment, datatype, date, &object.stem);
        let parquet = self.parquet.finish(origin)?;
        if replaces.is_some() {
            parquet.commit_over()?;
            self.errors.commit()?;
            account.write(lake, account_path)?;
            return Ok(Outcome::Replaced(counts));
        }
        self.errors.commit()?;
        account.write(lake, account_path)?;
        Ok(match parquet.commit()? {
            Committed::Created => Outcome::Created(counts),
            Committed::Existed => Outcome::Raced,
        })
    }
}
