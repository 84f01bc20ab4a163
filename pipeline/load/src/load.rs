//! One object on its way into the lake.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lake::{ErrorLog, ParquetFile};
use crate::row::{Batcher, Report};
use crate::source::{Content, Member};
use crate::table::Table;
use crate::{Limits, LoadError};

/// Where an error entry belongs to.
type Tag = (String, Option<u64>);

/// Takes members, counts what becomes of each, and holds no more than a batch and a row group of them.
pub(crate) struct Load<'a> {
    table: &'a Table,
    limits: Limits,
    batcher: Batcher<Tag>,
    parquet: ParquetFile,
    errors: ErrorLog,
    report: Report,
    skipped: u64,
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
        limits: Limits,
        parquet: ParquetFile,
        errors: ErrorLog,
    ) -> Self {
        Load {
            table,
            limits,
            batcher: Batcher::new(table.schema.clone(), limits),
            parquet,
            errors,
            report: Report::default(),
            skipped: 0,
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.count()
    }

    pub(crate) fn member(&mut self, member: Member) -> Result<(), LoadError> {
        let (name, line) = (member.name.clone(), member.line);
        let bytes = match &member.content {
            Content::Unwanted => {
                self.skipped += 1;
                return Ok(());
            }
            Content::Bad(reason) => return self.errors.add(&name, line, reason),
            Content::Json(bytes) => bytes.len(),
        };
        match self.row(member) {
            Err(reason) => self.errors.add(&name, line, &reason),
            Ok(row) => {
                if self.batcher.push(row, bytes, (name, line)) {
                    self.flush()?;
                }
                Ok(())
            }
        }
    }

    fn row(&mut self, member: Member) -> Result<Value, String> {
        let Content::Json(bytes) = member.content else {
            return Err("no content".to_owned());
        };
        if crate::limits::values_at_most(&bytes) > self.limits.member_values {
            return Err(format!(
                "more than {} JSON values",
                self.limits.member_values
            ));
        }
        let mut raw: Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("not JSON: {error}"))?;
        drop(bytes);
        let rules = self.table.rules;
        rules.repair(&mut raw);
        let raw = self
            .table
            .shape
            .fit("raw", raw, self.limits.member_values, &mut self.report)?;
        if !raw.is_object() {
            return Err("raw: expected an object, found null".to_owned());
        }
        let row = rules.row(member.id, member.archiver, raw)?;
        Ok(row.into_json())
    }

    fn flush(&mut self) -> Result<(), LoadError> {
        let decoded = self.batcher.take().map_err(|error| LoadError::Encode {
            path: self.parquet.path().to_owned(),
            reason: error.to_string(),
        })?;
        for batch in &decoded.batches {
            self.parquet.write(batch)?;
        }
        for ((name, line), reason) in decoded.refused {
            self.errors.add(&name, line, &reason)?;
        }
        Ok(())
    }

    /// Puts the error list in place, then the table, whose name says that all of it is done.
    pub(crate) fn commit(mut self) -> Result<(crate::lake::Committed, Counts), LoadError> {
        self.flush()?;
        let counts = Counts {
            rows: self.parquet.rows(),
            errors: self.errors.count(),
            skipped: self.skipped,
            unknown_fields: self.report.unknown,
        };
        self.errors.commit()?;
        Ok((self.parquet.commit()?, counts))
    }
}
