//! Shaping a JSON value to a table's Arrow fields before Arrow sees it.
//!
//! `BigQuery`'s habits are kept, so that what loads there loads here: keys match without regard to case, REPEATED is never NULL,
//! an INTEGER may be written `3.0` or `"3"`, fields that the schema does not know are left out. Arrow's own leniency is not:
//! it would cut 1.5 down to 1. Timestamps become microseconds since 1970, cut and not rounded, as in `BigQuery`.

mod record;
mod report;
mod scalar;
#[cfg(test)]
mod tests;

use arrow_schema::{DataType, Fields, TimeUnit};
use serde_json::Value;

use record::Record;
use report::Path;
use scalar::{hexadecimal, integer, timestamp};

pub(crate) use report::Report;

/// The shape of one field, prepared from its Arrow type.
#[derive(Debug)]
pub(crate) enum Shape {
    Record(Record),
    Repeated(Box<Shape>),
    Text,
    Integer,
    Float,
    Boolean,
    /// Units per second that a timestamp is stored in.
    Timestamp(i128),
    /// Base64, which becomes the hexadecimal text that Arrow reads.
    Bytes,
    /// Decimals, as numbers or text, left to Arrow's own parser.
    Decimal,
    /// Dates and times of day, as text, left to Arrow's own parser.
    Civil,
}

impl Shape {
    /// The shape of a record with these fields; in records named in `zero_filled`, at any depth, absent integers read 0.
    pub(crate) fn of(fields: &Fields, zero_filled: &[&str]) -> Shape {
        Shape::Record(Record::new(fields, zero_filled, false))
    }

    fn of_type(name: &str, kind: &DataType, zero_filled: &[&str]) -> Shape {
        match kind {
            DataType::Struct(fields) => Shape::Record(Record::new(
                fields,
                zero_filled,
                zero_filled.contains(&name),
            )),
            DataType::List(item) => Shape::Repeated(Box::new(Shape::of_type(
                name,
                item.data_type(),
                zero_filled,
            ))),
            DataType::Utf8 => Shape::Text,
            DataType::Int64 => Shape::Integer,
            DataType::Float64 => Shape::Float,
            DataType::Boolean => Shape::Boolean,
            DataType::Timestamp(unit, Some(_)) => Shape::Timestamp(match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            }),
            DataType::Binary => Shape::Bytes,
            DataType::Decimal128(..) => Shape::Decimal,
            _ => Shape::Civil,
        }
    }

    /// The value in this shape, or where and why it does not fit. It may take `slots` column slots: a scalar of the schema takes
    /// one, and one more for every record that repeats it.
    pub(crate) fn fit(
        &self,
        name: &str,
        value: Value,
        slots: u64,
        report: &mut Report,
    ) -> Result<Value, String> {
        let path = Path::root(name);
        report.begin(slots);
        report.take(self.slots(), &path)?;
        self.fit_at(&path, value, report)
    }

    fn slots(&self) -> u64 {
        match self {
            Shape::Record(record) => record.slots(),
            _ => 1,
        }
    }

    fn fit_at(&self, path: &Path<'_>, value: Value, report: &mut Report) -> Result<Value, String> {
        match (self, value) {
            (Shape::Repeated(_), Value::Null) => Ok(Value::Array(Vec::new())),
            (_, Value::Null) => Ok(Value::Null),
            (Shape::Repeated(item), Value::Array(values)) => {
                let item_slots = item.slots();
                values
                    .into_iter()
                    .map(|value| match value {
                        Value::Null => Err(format!("{path}: null in a list")),
                        value => {
                            report.take(item_slots, path)?;
                            item.fit_at(path, value, report)
                        }
                    })
                    .collect()
            }
            (Shape::Record(record), Value::Object(map)) => record.fit(path, map, report),
            (Shape::Text | Shape::Decimal | Shape::Civil, value @ Value::String(_))
            | (Shape::Boolean, value @ Value::Bool(_))
            | (Shape::Float | Shape::Decimal, value @ Value::Number(_)) => Ok(value),
            (Shape::Bytes, Value::String(text)) => hexadecimal(&text)
                .map(Value::from)
                .ok_or_else(|| mismatch(path, "base64", &Value::String(text))),
            (Shape::Integer, value) => integer(&value)
                .map(Value::from)
                .ok_or_else(|| mismatch(path, "a 64-bit integer", &value)),
            (Shape::Timestamp(units), Value::String(text)) => timestamp(&text, *units)
                .map(Value::from)
                .ok_or_else(|| mismatch(path, "an RFC 3339 time", &Value::String(text))),
            (shape, value) => Err(mismatch(path, shape.noun(), &value)),
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Shape::Record(_) => "an object",
            Shape::Repeated(_) => "a list",
            Shape::Text => "a string",
            Shape::Integer => "a 64-bit integer",
            Shape::Float => "a number",
            Shape::Boolean => "a boolean",
            Shape::Timestamp(_) => "an RFC 3339 time",
            Shape::Bytes => "base64",
            Shape::Decimal => "a decimal",
            Shape::Civil => "a date or time",
        }
    }
}

fn mismatch(path: &Path<'_>, expected: &str, found: &Value) -> String {
    let found = match found {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string().chars().take(40).collect(),
    };
    format!("{path}: expected {expected}, found {found}")
}
