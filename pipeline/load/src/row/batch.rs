//! Rows gathered in columns until they are worth a record batch.

use arrow_array::RecordBatch;
use std::sync::Arc;

use arrow_schema::{ArrowError, Fields, SchemaRef};
use serde::Serialize;
use serde::de::DeserializeSeed as _;

use super::table_schema;
use crate::column::{Column, Path, Place, Record, Report, Traits};
use crate::source::Archiver;
use crate::{Datatype, Limits};

/// The columns of a table, and the current row after the complete ones.
pub struct Batch {
    schema: SchemaRef,
    columns: Record,
    rows: usize,
    bytes: usize,
    limits: Limits,
    report: Report,
    problems: Vec<String>,
}

impl Batch {
    /// The largest number of problems that are reported of one measurement.
    pub const MOST_PROBLEMS: usize = 100;

    /// Returns an empty batch for the rows of a datatype whose measurements have these fields.
    pub fn of(datatype: &dyn Datatype, fields: Fields, mut limits: Limits) -> Batch {
        limits.member_values *= datatype.slots();
        let schema = Arc::new(table_schema(datatype.columns(fields)));
        Batch::new(schema, &datatype.traits(), limits)
    }

    pub(crate) fn new(schema: SchemaRef, traits: &Traits, limits: Limits) -> Self {
        Batch {
            columns: Record::new("", schema.fields(), traits),
            schema,
            rows: 0,
            bytes: 0,
            limits,
            report: Report::default(),
            problems: Vec::new(),
        }
    }

    /// Returns the limits of the load.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Records a part of a measurement that could not be read. The measurement still makes rows.
    pub fn problem(&mut self, reason: String) {
        if self.problems.len() < Self::MOST_PROBLEMS {
            self.problems.push(reason);
        }
    }

    /// Returns and clears the problems of the current measurement.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Returns the number of complete rows, which is the index of the current row.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the fields that were left out of all rows so far.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Returns a column of the table.
    pub fn column(&self, name: &str) -> &Column {
        self.columns
            .field(name)
            .expect("rules name columns of their own table")
    }

    /// Fills a column of the current row.
    pub fn place<T>(
        &mut self,
        name: &str,
        fill: impl FnOnce(Place<'_, '_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let slots = self.limits.member_values;
        let column = self
            .columns
            .field_mut(name)
            .expect("rules name columns of their own table");
        let path = Path::root(name);
        self.report.begin(slots);
        if let Err(reason) = self.report.take(column.slots(), &path) {
            return Err(self
                .report
                .take_refusal()
                .unwrap_or_else(|| reason.to_owned()));
        }
        let place = Place {
            column,
            at: self.rows,
            path: &path,
            report: &mut self.report,
        };
        fill(place).map_err(|reason| self.report.take_refusal().unwrap_or(reason))
    }

    /// Puts JSON text into a column of the current row. The text must be one value, and not null for a record.
    pub fn put_json(&mut self, name: &str, json: &[u8]) -> Result<(), String> {
        self.place(name, |place| {
            // The whole text is checked for UTF-8 once, instead of each string.
            let parsed = match std::str::from_utf8(json) {
                Ok(text) => parse(serde_json::Deserializer::from_str(text), place),
                Err(_) => parse(serde_json::Deserializer::from_slice(json), place),
            };
            parsed.map_err(|error| format!("not JSON: {error}"))
        })?;
        self.refuse_null(name)
    }

    /// As [`Batch::put_json`], for a parsed value.
    pub fn put_value(&mut self, name: &str, value: &serde_json::Value) -> Result<(), String> {
        self.place(name, |place| {
            place.deserialize(value).map_err(|error| error.to_string())
        })?;
        self.refuse_null(name)
    }

    /// Puts a serializable value into a column of the current row.
    pub fn put(&mut self, name: &str, value: &impl Serialize) -> Result<(), String> {
        self.place(name, |place| {
            value.serialize(place).map_err(|error| error.to_string())
        })
    }

    fn refuse_null(&self, name: &str) -> Result<(), String> {
        match self.column(name).record() {
            Some(record) if !record.is_set(self.rows) => {
                Err(format!("{name}: expected an object, found null"))
            }
            _ => Ok(()),
        }
    }

    /// Ends the current row with its key and provenance.
    pub fn end_row(&mut self, id: Option<&str>, archiver: &Archiver) {
        let at = self.rows;
        let text = |column: Option<&mut Column>, value: Option<&str>| {
            if let (Some(Column::Text(column)), Some(value)) = (column, value) {
                column.put(at, value.as_bytes());
            }
        };
        text(self.columns.field_mut("id"), id);
        if let Some(Column::Record(record)) = self.columns.field_mut("archiver") {
            record.put(at);
            text(record.field_mut("Version"), archiver.version.as_deref());
            text(
                record.field_mut("GitCommit"),
                archiver.git_commit.as_deref(),
            );
            text(
                record.field_mut("ArchiveURL"),
                archiver.archive_url.as_deref(),
            );
            text(record.field_mut("Filename"), archiver.filename.as_deref());
        }
        self.rows += 1;
    }

    /// Removes every row from `rows` on, and the current row.
    pub fn cut(&mut self, rows: usize) {
        self.columns.truncate(rows);
        self.rows = rows;
    }

    /// Notes `bytes` more of input; true when it is time to [`Batch::take`].
    pub(crate) fn is_full(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.rows >= self.limits.batch_rows || self.bytes >= self.limits.batch_bytes
    }

    /// Returns the rows and empties the batch.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        self.columns.put_all(rows);
        let (_, arrays, _) = self.columns.finish(rows)?.into_parts();
        RecordBatch::try_new_with_options(
            self.schema.clone(),
            arrays,
            &arrow_array::RecordBatchOptions::new().with_row_count(Some(rows)),
        )
    }
}

/// Parses one value with nothing after it.
fn parse<'de>(
    mut parser: serde_json::Deserializer<impl serde_json::de::Read<'de>>,
    place: Place<'_, '_>,
) -> Result<(), serde_json::Error> {
    place.deserialize(&mut parser)?;
    parser.end()
}
