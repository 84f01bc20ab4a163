//! Shaping a JSON value to a table's Arrow fields before Arrow sees it.
//!
//! `BigQuery`'s habits are kept, so that what loads there loads here: keys match without regard to case, REPEATED is never NULL,
//! an INTEGER may be written `3.0` or `"3"`, fields that the schema does not know are left out. Arrow's own leniency is not:
//! it would cut 1.5 down to 1. Timestamps become microseconds since 1970, cut and not rounded, as in `BigQuery`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use arrow_schema::{DataType, Fields, TimeUnit};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Number, Value};

/// Names of unknown fields that a report keeps; more only add to the count.
const UNKNOWN_NAMES: usize = 64;

/// What shaping left out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Dotted path → occurrences, of fields that the schema does not know.
    pub(crate) unknown: BTreeMap<String, u64>,
}

impl Report {
    fn unknown(&mut self, path: &Path<'_>, key: &str) {
        let name = Path {
            parent: Some(path),
            name: key,
        }
        .to_string();
        if self.unknown.contains_key(&name) || self.unknown.len() < UNKNOWN_NAMES {
            *self.unknown.entry(name).or_default() += 1;
        }
    }
}

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

/// A record's fields in schema order, and where each name stands.
#[derive(Debug)]
pub(crate) struct Record {
    fields: Vec<(String, Shape)>,
    exact: HashMap<String, usize>,
    lowered: HashMap<String, usize>,
    /// Whether an absent integer reads 0.
    zero_filled: bool,
}

/// Where we are, for messages; built on the stack.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        // Names of unknown fields are the object's own text.
        self.name.chars().take(64).try_for_each(|c| f.write_char(c))
    }
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

    /// The value in this shape, or where and why it does not fit.
    pub(crate) fn fit(
        &self,
        name: &str,
        value: Value,
        report: &mut Report,
    ) -> Result<Value, String> {
        self.fit_at(&Path { parent: None, name }, value, report)
    }

    fn fit_at(&self, path: &Path<'_>, value: Value, report: &mut Report) -> Result<Value, String> {
        match (self, value) {
            (Shape::Repeated(_), Value::Null) => Ok(Value::Array(Vec::new())),
            (_, Value::Null) => Ok(Value::Null),
            (Shape::Repeated(item), Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::Null => Err(format!("{path}: null in a list")),
                    value => item.fit_at(path, value, report),
                })
                .collect(),
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

impl Record {
    fn new(fields: &Fields, zero_filled: &[&str], fill: bool) -> Self {
        let names = || fields.iter().map(|field| field.name().clone()).enumerate();
        Record {
            fields: fields
                .iter()
                .map(|field| {
                    let shape = Shape::of_type(field.name(), field.data_type(), zero_filled);
                    (field.name().clone(), shape)
                })
                .collect(),
            exact: names().map(|(at, name)| (name, at)).collect(),
            lowered: names()
                .map(|(at, name)| (name.to_ascii_lowercase(), at))
                .collect(),
            zero_filled: fill,
        }
    }

    /// Where a key's field stands. Writers mostly keep the schema's order, so that `guess` is mostly right.
    fn position(&self, key: &str, guess: usize) -> Option<usize> {
        if self.fields.get(guess).is_some_and(|(name, _)| name == key) {
            return Some(guess);
        }
        let exact = self.exact.get(key);
        exact
            .or_else(|| self.lowered.get(&key.to_ascii_lowercase()))
            .copied()
    }

    fn fit(
        &self,
        path: &Path<'_>,
        map: Map<String, Value>,
        report: &mut Report,
    ) -> Result<Value, String> {
        let mut fitted: Vec<Option<(String, Value)>> = Vec::new();
        fitted.resize_with(self.fields.len(), || None);
        let mut guess = 0;
        for (key, value) in map {
            let Some(at) = self.position(&key, guess) else {
                report.unknown(path, &key);
                continue;
            };
            guess = at + 1;
            let (name, shape) = &self.fields[at];
            let here = Path {
                parent: Some(path),
                name,
            };
            let value = shape.fit_at(&here, value, report)?;
            // The key's own text is used again where it is the schema's: a TCPInfo has more than sixty of them.
            let key = if key == *name { key } else { name.clone() };
            if fitted[at].replace((key, value)).is_some() {
                return Err(format!("{here}: given twice"));
            }
        }
        let mut record = Map::with_capacity(self.fields.len());
        for ((name, shape), pair) in self.fields.iter().zip(fitted) {
            if let Some((key, value)) = pair.or_else(|| Some((name.clone(), self.absent(shape)?))) {
                record.insert(key, value);
            }
        }
        Ok(Value::Object(record))
    }

    /// What a field reads that is not there, unless that is NULL.
    fn absent(&self, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::Repeated(_) => Some(Value::Array(Vec::new())),
            Shape::Integer if self.zero_filled => Some(0.into()),
            _ => None,
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

/// A whole number in any of the ways in which `BigQuery` takes one.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn whole(number: &Number) -> Option<i64> {
    // Beyond 2^53 a float no longer says which integer was meant.
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

fn hexadecimal(base64: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(base64).ok()?;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Some(text)
}

fn timestamp(text: &str, units_per_second: i128) -> Option<i64> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    let nanoseconds_per_unit = 1_000_000_000 / units_per_second;
    i64::try_from(instant.as_nanosecond().div_euclid(nanoseconds_per_unit)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Fields, TimeUnit};
    use serde_json::{Value, json};

    use super::{Report, Shape};

    fn fit(value: Value) -> (Result<Value, String>, Report) {
        let item = Field::new("item", DataType::Int64, true);
        let fields = Fields::from(vec![
            Field::new("Name", DataType::Utf8, true),
            Field::new("N", DataType::Int64, true),
            Field::new("F", DataType::Float64, true),
            Field::new(
                "T",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Field::new("L", DataType::List(Arc::new(item)), true),
        ]);
        let mut report = Report::default();
        (
            Shape::of(&fields, &[]).fit("raw", value, &mut report),
            report,
        )
    }

    #[test]
    fn takes_what_bigquery_takes() {
        for (given, expected) in [
            (json!({}), json!({"L": []})),
            (
                json!({"name": "a", "n": 3.0}),
                json!({"Name": "a", "N": 3, "L": []}),
            ),
            (json!({"N": "-7", "L": null}), json!({"N": -7, "L": []})),
            (json!({"F": 2, "L": [1, 2]}), json!({"F": 2, "L": [1, 2]})),
            (
                json!({"T": "2020-03-18T00:06:43.982686479Z"}),
                json!({"T": 1_584_490_003_982_686_i64, "L": []}),
            ),
            (
                json!({"T": "1969-12-31T23:59:59.9999999Z"}),
                json!({"T": -1, "L": []}),
            ),
        ] {
            assert_eq!(fit(given).0, Ok(expected));
        }
    }

    #[test]
    fn refuses_the_rest_and_says_where() {
        for (given, reason) in [
            (
                json!({"N": 1.5}),
                "raw.N: expected a 64-bit integer, found 1.5",
            ),
            (
                json!({"N": u64::MAX}),
                "raw.N: expected a 64-bit integer, found 18446744073709551615",
            ),
            (json!({"L": [1, null]}), "raw.L: null in a list"),
            (
                json!({"L": [1, "x"]}),
                "raw.L: expected a 64-bit integer, found \"x\"",
            ),
            (json!({"Name": 1}), "raw.Name: expected a string, found 1"),
            (
                json!({"T": "yesterday"}),
                "raw.T: expected an RFC 3339 time, found \"yesterday\"",
            ),
            (json!({"n": 1, "N": 2}), "raw.N: given twice"),
            (json!([]), "raw: expected an object, found a list"),
        ] {
            assert_eq!(fit(given).0, Err(reason.to_owned()));
        }
    }

    #[test]
    fn fills_only_the_records_it_is_told_to() {
        let inner = vec![
            Field::new("N", DataType::Int64, true),
            Field::new("S", DataType::Utf8, true),
        ];
        let record = |name: &str| Field::new(name, DataType::Struct(inner.clone().into()), true);
        let shape = Shape::of(
            &vec![record("A"), record("B"), record("C")].into(),
            &["A", "C"],
        );
        let fitted = shape.fit("raw", json!({"A": {}, "B": {}}), &mut Report::default());
        assert_eq!(fitted, Ok(json!({"A": {"N": 0}, "B": {}})));
    }

    #[test]
    fn bytes_pass_from_base64_to_hexadecimal() {
        let fields = Fields::from(vec![Field::new("B", DataType::Binary, true)]);
        let shape = Shape::of(&fields, &[]);
        let fit = |text: &str| shape.fit("raw", json!({ "B": text }), &mut Report::default());
        assert_eq!(fit("AP8="), Ok(json!({"B": "00ff"})));
        assert!(fit("!").is_err());
    }

    #[test]
    fn counts_unknown_fields() {
        let (fitted, report) = fit(json!({"Other": 1, "N": 1}));
        assert_eq!(fitted, Ok(json!({"N": 1, "L": []})));
        assert_eq!(
            report.unknown.into_iter().collect::<Vec<_>>(),
            [("raw.Other".to_owned(), 1)]
        );
    }
}
