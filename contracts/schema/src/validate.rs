use crate::address::{holds_email, holds_ip, is_ip};
use crate::error::{Problem, Violation};
use crate::field::{Field, Mode, Schema, Type};
use crate::moment;
use crate::privacy::{Privacy, Text};
use serde_json::{Map, Number, Value};
use std::fmt::Write as _;

/// A hostile or foreign file could differ in every value; this many reports are enough to see why.
pub const MAX_VIOLATIONS: usize = 100;

/// Longest STRING, in bytes, that is no free text: names, identifiers and words of a protocol are shorter.
pub const MAX_PLAIN_BYTES: usize = 256;

impl Schema {
    /// Checks one row (or result file) and returns every violation in document order, at most [`MAX_VIOLATIONS`].
    ///
    /// Keys must be spelled as in the schema. `null` stands for a missing value, and for an empty list. Integers are
    /// JSON integers; instants are RFC 3339 with an offset; `BYTES` are base64; `NUMERIC` is a number or a decimal string.
    ///
    /// A STRING keeps to its `privacy`: text to its bounds, an address to the form of one, with or without a port. One
    /// without `privacy`, or with `none`, may have [`MAX_PLAIN_BYTES`] and hold no IP and no e-mail address. Anything that
    /// reads like an address counts, also a version of four numbers: such a field declares its text.
    pub fn validate(&self, row: &Value) -> Result<(), Vec<Violation>> {
        let mut check = Check {
            path: "$".to_owned(),
            violations: Vec::new(),
        };
        match row {
            Value::Object(object) => check.object(&self.fields, object),
            other => check.wrong_type(Type::Record.as_str(), other),
        }
        if check.violations.is_empty() {
            Ok(())
        } else {
            Err(check.violations)
        }
    }
}

struct Check {
    path: String,
    violations: Vec<Violation>,
}

impl Check {
    fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    fn report(&mut self, problem: Problem) {
        if !self.is_full() {
            self.violations.push(Violation {
                path: self.path.clone(),
                problem,
            });
        }
    }

    fn wrong_type(&mut self, expected: &str, found: &Value) {
        self.report(Problem::WrongType {
            expected: expected.to_owned(),
            found: json_type(found),
        });
    }

    fn at(&mut self, step: impl FnOnce(&mut String), check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        step(&mut self.path);
        check(self);
        self.path.truncate(length);
    }

    fn object(&mut self, fields: &[Field], object: &Map<String, Value>) {
        for (key, value) in object {
            if self.is_full() {
                return;
            }
            self.at(
                |path| push_key(path, key),
                |check| check.member(fields, key, value),
            );
        }
        for field in fields
            .iter()
            .filter(|field| field.mode == Mode::Required && !object.contains_key(&field.name))
        {
            self.at(
                |path| push_key(path, &field.name),
                |check| check.report(Problem::Missing),
            );
        }
    }

    fn member(&mut self, fields: &[Field], key: &str, value: &Value) {
        if let Some(field) = fields.iter().find(|field| field.name == key) {
            self.field(field, value);
        } else {
            let similar = fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(key));
            let similar = similar.map(|field| field.name.clone());
            self.report(Problem::UnknownField { similar });
        }
    }

    fn field(&mut self, field: &Field, value: &Value) {
        match (field.mode, value) {
            (Mode::Nullable | Mode::Repeated, Value::Null) => {}
            (Mode::Required, Value::Null) => self.report(Problem::Missing),
            (Mode::Nullable | Mode::Required, one) => self.one(field, one),
            (Mode::Repeated, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_full() {
                        return;
                    }
                    self.at(
                        |path| write!(path, "[{index}]").expect("writing to a String cannot fail"),
                        |check| check.one(field, item),
                    );
                }
            }
            (Mode::Repeated, other) => self.wrong_type(&format!("a list of {}", field.kind), other),
        }
    }

    fn one(&mut self, field: &Field, value: &Value) {
        match (field.kind, value) {
            (Type::Record, Value::Object(object)) => self.object(&field.fields, object),
            (Type::Boolean, Value::Bool(_)) | (Type::Float, Value::Number(_)) => {}
            (Type::Integer, Value::Number(number)) => self.integer(number, value),
            (Type::Numeric, Value::Number(number)) => {
                if number.as_f64().is_none_or(|float| float.abs() >= 1e29) {
                    self.report(Problem::OutOfRange(Type::Numeric));
                }
            }
            (Type::String, Value::String(text)) => self.text(field, text),
            (
                kind @ (Type::Bytes
                | Type::Timestamp
                | Type::Date
                | Type::Time
                | Type::Datetime
                | Type::Numeric),
                Value::String(text),
            ) => {
                if !is_well_formed(kind, text) {
                    self.report(Problem::Malformed(kind));
                }
            }
            (kind, other) => self.wrong_type(kind.as_str(), other),
        }
    }

    fn integer(&mut self, number: &Number, value: &Value) {
        if number.is_u64() && !number.is_i64()
            || number.as_f64().is_some_and(|float| float.abs() >= 9.3e18)
        {
            self.report(Problem::OutOfRange(Type::Integer));
        } else if !number.is_i64() {
            self.wrong_type(Type::Integer.as_str(), value);
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        let problem = match &field.privacy {
            Some(Privacy::Text(bounds)) => outside(bounds, text),
            Some(Privacy::ClientIp | Privacy::ServerIp | Privacy::RouterIp) => {
                (!is_ip(text)).then_some(Problem::NoAddress)
            }
            None | Some(Privacy::None) => undeclared(text).map(Problem::Undeclared),
            Some(Privacy::Inventory | Privacy::CityCoordinate) => None,
        };
        if let Some(problem) = problem {
            self.report(problem);
        }
    }
}

fn outside(bounds: &Text, text: &str) -> Option<Problem> {
    if bounds.is_too_long(text) {
        Some(Problem::TooLong {
            max_length: bounds.max_length,
        })
    } else if !bounds.pattern.matches(text) {
        Some(Problem::Pattern {
            pattern: bounds.pattern.as_str().to_owned(),
        })
    } else {
        bounds.forbids(text).then_some(Problem::Forbidden)
    }
}

/// What a text is that only a declared field may hold.
fn undeclared(text: &str) -> Option<&'static str> {
    // The length first: what follows costs more than a glance.
    if text.len() > MAX_PLAIN_BYTES {
        Some("text of more than 256 bytes")
    } else if holds_ip(text) {
        Some("an IP address")
    } else if holds_email(text) {
        Some("an e-mail address")
    } else {
        None
    }
}

/// Keys come from the file: one that is no plain name is quoted, and a long one cut, so that a path stays one short line.
fn push_key(path: &mut String, key: &str) {
    const LONGEST: usize = 64;
    if !key.is_empty()
        && key.len() <= LONGEST
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        path.push('.');
        path.push_str(key);
    } else {
        let short: String = key.chars().take(LONGEST).collect();
        write!(path, "[{short:?}]").expect("writing to a String cannot fail");
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fractional number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn is_well_formed(kind: Type, text: &str) -> bool {
    match kind {
        Type::Bytes => is_base64(text),
        Type::Timestamp => moment::is_timestamp(text),
        Type::Date => moment::is_date(text),
        Type::Time => moment::is_time(text),
        Type::Datetime => moment::is_datetime(text),
        Type::Numeric => is_numeric(text),
        Type::String | Type::Integer | Type::Float | Type::Boolean | Type::Record => true,
    }
}

/// Standard alphabet with padding (RFC 4648 section 4).
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

/// A decimal of at most 29 digits before and 9 after the point.
fn is_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str, most| {
        !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())
    };
    digits(whole, 29) && digits(fraction, 9)
}
