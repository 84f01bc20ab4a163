//! Columns that grow by rows: JSON goes into them as it is parsed, without a tree in between.
//!
//! `BigQuery`'s habits are kept, so that what loads there loads here: keys match without regard to case, REPEATED is never NULL,
//! an INTEGER may be written `3.0` or `"3"`, fields that the schema does not know are left out. Timestamps become microseconds
//! since 1970, cut and not rounded, as in `BigQuery`.
//!
//! A column may be shorter than its table: what is missing at its end is NULL (or empty, or 0) and filled in when a later row
//! or the end of the batch needs it. A row of which a part did not fit is taken back by cutting every column.

mod block;
mod finish;
mod get;
mod json;
mod leaf;
mod pairs;
mod put;
mod record;
mod report;
mod scalar;
mod serialize;
#[cfg(test)]
mod tests;

pub use block::Block;
pub use json::Place;
pub(crate) use leaf::{Flags, Plain, Text};
pub use record::Record;
pub(crate) use report::{Path, Report};
pub use serialize::{Micros, Unfit};

use arrow_schema::{DataType, TimeUnit};

/// The requirements of a datatype for its columns, beyond the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// Names of records in which an absent INTEGER is 0.
    pub zero_filled: &'static [&'static str],
    /// (record, other name, field): an earlier name of a field. The current name takes precedence.
    pub aliases: &'static [(&'static str, &'static str, &'static str)],
    /// (record, field): a field that is left out and not reported as unknown.
    pub ignored: &'static [(&'static str, &'static str)],
}

/// One column, with the columns below it.
#[derive(Debug)]
pub enum Column {
    /// A record.
    Record(Record),
    /// A REPEATED column.
    List(List),
    /// A string.
    Text(Text),
    /// Bytes, base64 in JSON.
    Bytes(Text),
    /// A 64-bit integer.
    Integer(Plain<i64>),
    /// A 64-bit floating-point number.
    Float(Plain<f64>),
    /// A boolean.
    Boolean(Flags),
    /// Microseconds since 1970 of an instant.
    Instant(Plain<i64>),
    /// Microseconds since 1970 of a clock without a zone.
    Datetime(Plain<i64>),
    /// Microseconds since midnight.
    Time(Plain<i64>),
    /// Days since 1970.
    Date(Plain<i32>),
    /// `BigQuery`'s NUMERIC: billionths.
    Decimal(Plain<i128>),
}

/// A REPEATED column.
#[derive(Debug)]
pub struct List {
    /// Where each row's items begin, and where the last row's end.
    offsets: Vec<i32>,
    item: Box<Column>,
    /// Column slots that one item takes.
    item_slots: u64,
    /// Items are records of a Name and a Value, both text.
    is_pairs: bool,
}

impl Column {
    /// An empty column of an Arrow type that [`groma_schema`] makes.
    pub(crate) fn new(name: &str, kind: &DataType, traits: &Traits, fill: bool) -> Column {
        match kind {
            DataType::Struct(fields) => Column::Record(Record::new(name, fields, traits)),
            DataType::List(item) => {
                let item = Column::new(name, item.data_type(), traits, false);
                Column::List(List {
                    offsets: vec![0],
                    item_slots: item.slots(),
                    is_pairs: pairs::is_pair(&item),
                    item: Box::new(item),
                })
            }
            DataType::Int64 => Column::Integer(Plain::new(fill.then_some(0))),
            DataType::Float64 => Column::Float(Plain::new(None)),
            DataType::Boolean => Column::Boolean(Flags::default()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Column::Instant(Plain::new(None))
            }
            DataType::Timestamp(..) => Column::Datetime(Plain::new(None)),
            DataType::Time64(_) => Column::Time(Plain::new(None)),
            DataType::Date32 => Column::Date(Plain::new(None)),
            DataType::Decimal128(..) => Column::Decimal(Plain::new(None)),
            DataType::Binary => Column::Bytes(Text::default()),
            _ => Column::Text(Text::default()),
        }
    }

    /// Rows that are there; those behind them are NULL.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Integer(plain) => plain.len(),
            other => other.len_of_other(),
        }
    }

    fn len_of_other(&self) -> usize {
        match self {
            Column::Record(record) => record.len(),
            Column::List(list) => list.offsets.len() - 1,
            Column::Text(text) | Column::Bytes(text) => text.len(),
            Column::Integer(plain)
            | Column::Instant(plain)
            | Column::Datetime(plain)
            | Column::Time(plain) => plain.len(),
            Column::Float(plain) => plain.len(),
            Column::Boolean(flags) => flags.len(),
            Column::Date(plain) => plain.len(),
            Column::Decimal(plain) => plain.len(),
        }
    }

    /// Makes the column `rows` long if it is shorter.
    pub(crate) fn pad(&mut self, rows: usize) {
        if self.len() >= rows {
            return;
        }
        match self {
            Column::Record(record) => record.pad(rows),
            Column::List(list) => {
                let end = list.end();
                list.offsets.resize(rows + 1, end);
            }
            Column::Text(text) | Column::Bytes(text) => text.pad(rows),
            Column::Integer(plain)
            | Column::Instant(plain)
            | Column::Datetime(plain)
            | Column::Time(plain) => plain.pad(rows),
            Column::Float(plain) => plain.pad(rows),
            Column::Boolean(flags) => flags.pad(rows),
            Column::Date(plain) => plain.pad(rows),
            Column::Decimal(plain) => plain.pad(rows),
        }
    }

    /// Takes back every row from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Column::Record(record) => record.truncate(rows),
            Column::List(list) => {
                list.offsets.truncate(rows + 1);
                let end = list.end();
                list.item.truncate(end as usize);
            }
            Column::Text(text) | Column::Bytes(text) => text.truncate(rows),
            Column::Integer(plain)
            | Column::Instant(plain)
            | Column::Datetime(plain)
            | Column::Time(plain) => plain.truncate(rows),
            Column::Float(plain) => plain.truncate(rows),
            Column::Boolean(flags) => flags.truncate(rows),
            Column::Date(plain) => plain.truncate(rows),
            Column::Decimal(plain) => plain.truncate(rows),
        }
    }

    /// Column slots that one row takes, lists below it aside.
    pub(crate) fn slots(&self) -> u64 {
        match self {
            Column::Record(record) => record.slots(),
            _ => 1,
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Column::Record(_) => "an object",
            Column::List(_) => "a list",
            Column::Text(_) => "a string",
            Column::Integer(_) => "a 64-bit integer",
            Column::Float(_) => "a number",
            Column::Boolean(_) => "a boolean",
            Column::Instant(_) => "an RFC 3339 time",
            Column::Bytes(_) => "base64",
            Column::Decimal(_) => "a decimal",
            Column::Datetime(_) | Column::Time(_) | Column::Date(_) => "a date or time",
        }
    }
}

impl List {
    /// Where the last row's items end.
    fn end(&self) -> i32 {
        self.offsets.last().copied().unwrap_or_default()
    }
}
