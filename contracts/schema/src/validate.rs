use crate::address::{holds_email, holds_ip, is_ip};
use crate::error::{Problem, Violation};
use crate::field::{Field, Schema, Type};
use crate::moment;
use crate::privacy::{Privacy, Text};
use crate::stream::{Expected, Slot};
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;
use std::fmt::Write as _;

/// A hostile or foreign file could differ in every value; this many reports are enough to see why.
pub const MAX_VIOLATIONS: usize = 100;

/// Longest STRING, in bytes, that does not count as free text: names, identifiers and words of a protocol are shorter.
pub const MAX_PLAIN_BYTES: usize = 256;

impl Schema {
    /// Checks one row (or result file) and returns every violation in document order, at most [`MAX_VIOLATIONS`].
    ///
    /// Keys must be spelled as in the schema. `null` means a missing value or an empty list. Integers are
    /// JSON integers; instants are RFC 3339 with an offset; `BYTES` are base64; `NUMERIC` is a number or a decimal string.
    ///
    /// A STRING keeps to its `privacy`: text to its bounds, an address to the form of one, with or without a port. One
    /// without `privacy`, or with `none`, may have [`MAX_PLAIN_BYTES`] and hold no IP and no e-mail address. Anything that
    /// reads like an address counts, also a version of four numbers: such a field declares its text.
    pub fn validate(&self, row: &Value) -> Result<(), Vec<Violation>> {
        self.check(row, None)
            .expect("a value that is in memory can be read")
    }

    /// The same for a row that is still being read; of it nothing is kept but its longest string. `line` answers in which
    /// line the reading is. The outer error is one of reading: the text is not JSON.
    pub fn validate_from<'de, D: Deserializer<'de>>(
        &self,
        row: D,
        line: &dyn Fn() -> u64,
    ) -> Result<Result<(), Vec<Violation>>, D::Error> {
        self.check(row, Some(line))
    }

    fn check<'de, D: Deserializer<'de>>(
        &self,
        row: D,
        line: Option<&dyn Fn() -> u64>,
    ) -> Result<Result<(), Vec<Violation>>, D::Error> {
        let mut check = Check {
            path: "$".to_owned(),
            line,
            violations: Vec::new(),
        };
        let slot = Slot {
            check: &mut check,
            expected: Expected::Row(&self.fields),
        };
        slot.deserialize(row)?;
        Ok(if check.violations.is_empty() {
            Ok(())
        } else {
            Err(check.violations)
        })
    }
}

/// The findings so far, and the position of the reader.
pub(crate) struct Check<'l> {
    pub(crate) path: String,
    line: Option<&'l dyn Fn() -> u64>,
    violations: Vec<Violation>,
}

/// A value without others in it, as far as a check needs it.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Boolean,
    Integer,
    /// Beyond 64 bits signed.
    BeyondInteger,
    Fraction(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    pub(crate) fn json_type(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::Integer | Self::BeyondInteger => "an integer",
            Self::Fraction(_) => "a fractional number",
            Self::Text(_) => "a string",
        }
    }
}

impl Check<'_> {
    pub(crate) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        if !self.is_full() {
            self.violations.push(Violation {
                path: self.path.clone(),
                line: self.line.map(|line| line()),
                problem,
            });
        }
    }

    pub(crate) fn scalar(&mut self, field: &Field, value: Scalar<'_>) {
        match (field.kind, value) {
            (Type::Boolean, Scalar::Boolean)
            | (Type::Float, Scalar::Integer | Scalar::BeyondInteger | Scalar::Fraction(_))
            | (Type::Integer, Scalar::Integer)
            | (Type::Numeric, Scalar::Integer | Scalar::BeyondInteger) => {}
            (Type::Integer, Scalar::BeyondInteger) => {
                self.report(Problem::OutOfRange(Type::Integer));
            }
            // serde_json reads an integer that is longer still as a fraction.
            (Type::Integer, Scalar::Fraction(value)) if value.abs() >= 9.3e18 => {
                self.report(Problem::OutOfRange(Type::Integer));
            }
            (Type::Numeric, Scalar::Fraction(value)) => {
                if value.abs() >= 1e29 {
                    self.report(Problem::OutOfRange(Type::Numeric));
                }
            }
            (Type::String, Scalar::Text(text)) => self.text(field, text),
            (
                kind @ (Type::Bytes
                | Type::Timestamp
                | Type::Date
                | Type::Time
                | Type::Datetime
                | Type::Numeric),
                Scalar::Text(text),
            ) => {
                if !is_well_formed(kind, text) {
                    self.report(Problem::Malformed(kind));
                }
            }
            (kind, other) => self.report(Problem::WrongType {
                expected: kind.as_str().to_owned(),
                found: other.json_type(),
            }),
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

/// The kinds of text that only a declared field may hold.
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

/// Keys come from the file: one that is not a plain name is quoted, and a long one cut, so that a path stays one short line.
pub(crate) fn push_key(path: &mut String, key: &str) {
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
