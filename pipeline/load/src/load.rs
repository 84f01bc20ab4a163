//! One object on its way into the lake.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::datatype::Measurement;
use groma_lake_store::Committed;

use crate::lake::{Account, ErrorLog, Lake, ParquetFile};
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
    /// Another loader was faster.
    Existed,
    /// Another loader was faster and claimed this date; nothing was written.
    OtherDate(Date),
}

/// What became of the members.
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
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
        let bytes = match member.content {
            Content::Unwanted => {
                self.skipped += 1;
                return Ok(());
            }
            Content::Bad(reason) => {
                // An entry without a place is about the object itself.
                if member.name.is_empty() && member.line.is_none() {
                    self.damaged = true;
                } else {
                    self.failed += 1;
                }
                return self.errors.add(&member.name, member.line, &reason);
            }
            Content::Whole(bytes) => bytes,
        };
        let rows = self.batch.rows();
        let measurement = Measurement {
            id: member.id.as_deref(),
            archiver: &member.archiver,
            date: self.date,
            bytes: &bytes,
        };
        if let Err(reason) = self.table.rules.append(&measurement, &mut self.batch) {
            self.batch.cut(rows);
            self.batch.take_problems();
            self.failed += 1;
            return self.errors.add(&member.name, member.line, &reason);
        }
        self.loaded += 1;
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

    /// Claims the date, puts the error list and the account in place, then the table, whose name says that all of it is done.
    pub(crate) fn commit(
        mut self,
        lake: &Lake,
        object: &Object,
        name: &str,
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
            unknown_fields: &counts.unknown_fields,
        };
        self.errors.commit()?;
        let (experiment, datatype) = (&object.experiment, &object.datatype);
        account.write(
            lake,
            lake.account_path(experiment, datatype, date, &object.stem),
        )?;
        Ok(match self.parquet.commit()? {
            Committed::Created => Outcome::Created(counts),
            Committed::Existed => Outcome::Existed,
        })
    }
}
