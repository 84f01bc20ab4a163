//! Rows gathered in columns until they are worth a record batch.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use serde::Serialize;
use serde::de::DeserializeSeed as _;

use crate::Limits;
use crate::column::{Column, Path, Place, Record, Report, Traits};
use crate::source::Archiver;

/// A table's columns, and the row that is being put together behind them.
pub(crate) struct Batch {
    schema: SchemaRef,
    columns: Record,
    rows: usize,
    bytes: usize,
    limits: Limits,
    report: Report,
    problems: Vec<String>,
}

impl Batch {
    /// Most problems that are told of one measurement.
    pub(crate) const MOST_PROBLEMS: usize = 100;

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

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Notes what could not be read of a measurement that still makes rows.
    pub(crate) fn problem(&mut self, reason: String) {
        if self.problems.len() < Self::MOST_PROBLEMS {
            self.problems.push(reason);
        }
    }

    /// The problems of the measurement in hand.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Complete rows; the index of the row that is being put together.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What was left out of all rows so far.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// A column of the table.
    pub(crate) fn column(&self, name: &str) -> &Column {
        self.columns
            .field(name)
            .expect("rules name columns of their own table")
    }

    /// Fills a column of the row in hand.
    pub(crate) fn place<T>(
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

    /// Puts JSON text into a column of the row in hand. It has to be one value, and not null where a record is wanted.
    pub(crate) fn put_json(&mut self, name: &str, json: &[u8]) -> Result<(), String> {
        self.place(name, |place| {
            // Looked at as a whole, text is not looked at again string by string.
            let parsed = match std::str::from_utf8(json) {
                Ok(text) => parse(serde_json::Deserializer::from_str(text), place),
                Err(_) => parse(serde_json::Deserializer::from_slice(json), place),
            };
            parsed.map_err(|error| format!("not JSON: {error}"))
        })?;
        self.refuse_null(name)
    }

    /// As [`Batch::put_json`], of JSON that was parsed before.
    pub(crate) fn put_value(
        &mut self,
        name: &str,
        value: &serde_json::Value,
    ) -> Result<(), String> {
        self.place(name, |place| {
            place.deserialize(value).map_err(|error| error.to_string())
        })?;
        self.refuse_null(name)
    }

    /// Puts what JSON would be made of into a column of the row in hand.
    pub(crate) fn put(&mut self, name: &str, value: &impl Serialize) -> Result<(), String> {
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

    /// Ends the row in hand with its key and provenance.
    pub(crate) fn end_row(&mut self, id: Option<&str>, archiver: &Archiver) {
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

    /// Takes back every row from `rows` on, and what there is of the row in hand.
    pub(crate) fn cut(&mut self, rows: usize) {
        self.columns.truncate(rows);
        self.rows = rows;
    }

    /// Notes `bytes` more of input; true when it is time to [`Batch::take`].
    pub(crate) fn is_full(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.rows >= self.limits.batch_rows || self.bytes >= self.limits.batch_bytes
    }

    /// The rows; the batch is empty then.
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

/// One value and nothing behind it.
fn parse<'de>(
    mut parser: serde_json::Deserializer<impl serde_json::de::Read<'de>>,
    place: Place<'_, '_>,
) -> Result<(), serde_json::Error> {
    place.deserialize(&mut parser)?;
    parser.end()
}
