use crate::field::{Mode, Type};
use std::fmt;

/// Why a schema file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not JSON, or not a list of field objects with known keys. The message ends with the line and the column.
    #[error("read schema: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that is well-formed JSON and still means nothing.
    #[error("read schema: field `{path}`: {reason}")]
    Field {
        /// Dotted path of the field, such as `Download.ServerMeasurements.RTT`.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The list has no field at all.
    #[error("read schema: no field")]
    Empty,
}

/// One way in which a value differs from its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON path of the value, such as `$.Download.ServerMeasurements[3].TCPInfo.RTT`.
    pub path: String,
    /// The line of the text, from 1, where it was checked while it was read.
    pub line: Option<u64>,
    /// The reason.
    pub problem: Problem,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)?;
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// The fault of a value. It never contains the value, which the schema may keep out of logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A value of another JSON type.
    #[error("{found} where {expected} is expected")]
    WrongType {
        /// The type that the schema requires.
        expected: String,
        /// JSON type of the value.
        found: &'static str,
    },
    /// A key that the schema does not have.
    #[error("unknown field{}", .similar.as_ref().map_or(String::new(), |name| format!(", the schema has `{name}`")))]
    UnknownField {
        /// The column that differs only by case.
        similar: Option<String>,
    },
    /// A `REQUIRED` column without a value.
    #[error("required value is missing")]
    Missing,
    /// An integer beyond 64 bits signed, or a decimal with too many digits.
    #[error("number is out of the range of {0}")]
    OutOfRange(Type),
    /// A string that is not a date, time, instant, decimal or base64.
    #[error("string is not a valid {0}")]
    Malformed(Type),
    /// Text beyond its bound.
    #[error("text is longer than {max_length} characters")]
    TooLong {
        /// The bound of the schema.
        max_length: usize,
    },
    /// Text outside its pattern.
    #[error("text does not match `{pattern}`")]
    Pattern {
        /// The pattern of the schema.
        pattern: String,
    },
    /// Text that the schema names as never allowed.
    #[error("this text is forbidden")]
    Forbidden,
    /// Something else where the schema declares an address.
    #[error("text is no IP address, with or without a port")]
    NoAddress,
    /// Free text or an address in a field whose schema declares neither.
    #[error("{0} in a field whose `privacy` declares none")]
    Undeclared(&'static str),
}

/// A change that readers of the old schema do not survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// Dotted path of the column.
    pub path: String,
    /// The change.
    pub kind: IncompatibilityKind,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}

/// A change of a column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IncompatibilityKind {
    /// It is gone, also when others came.
    #[error("removed")]
    Removed,
    /// Another type.
    #[error("type changed from {from} to {to}")]
    Type {
        /// Before.
        from: Type,
        /// After.
        to: Type,
    },
    /// Another mode.
    #[error("mode changed from {from} to {to}")]
    Mode {
        /// Before.
        from: Mode,
        /// After.
        to: Mode,
    },
    /// The same name to `BigQuery`, another one to every engine that reads Parquet.
    #[error("name changed to `{to}`")]
    Renamed {
        /// The new spelling.
        to: String,
    },
    /// A new column that rows already written do not have.
    #[error("added as REQUIRED")]
    RequiredAddition,
}
