use crate::privacy::Privacy;
use std::fmt;

/// The columns of one datatype, or of one table, in the order in which they were declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Top-level columns; never empty after [`Schema::parse`].
    pub fields: Vec<Field>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Column name: a letter or `_`, then letters, digits and `_`, at most 300 characters. Unique among its siblings
    /// without regard to case, because `BigQuery` compares names that way.
    pub name: String,
    /// The type of a value.
    pub kind: Type,
    /// How many values there are.
    pub mode: Mode,
    /// The meaning of the column, with its unit.
    pub description: Option<String>,
    /// The privacy class. `None` means that the value holds neither an address nor free text; for a STRING this is checked by
    /// [`Schema::validate`], as far as a machine can check.
    pub privacy: Option<Privacy>,
    /// The columns of a [`Type::Record`]; empty for every other type.
    pub fields: Vec<Field>,
}

impl Field {
    /// A nullable column without description and privacy.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: Mode::Nullable,
            description: None,
            privacy: None,
            fields: Vec::new(),
        }
    }

    /// A nullable record of `fields`.
    pub fn record(name: impl Into<String>, fields: Vec<Field>) -> Self {
        Self {
            fields,
            ..Self::new(name, Type::Record)
        }
    }

    /// The same column with another mode.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// The type of a column. `BigQuery` knows several names for some of them; [`Type::as_str`] gives the one that its API
/// prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// UTF-8 text.
    String,
    /// Bytes, in JSON as standard base64.
    Bytes,
    /// 64-bit signed integer; also `INT64`.
    Integer,
    /// 64-bit IEEE 754 number; also `FLOAT64`.
    Float,
    /// `true` or `false`; also `BOOL`.
    Boolean,
    /// An instant, microseconds in UTC, in JSON as RFC 3339 with an offset.
    Timestamp,
    /// A civil date, in JSON as `YYYY-MM-DD`.
    Date,
    /// A time of day, in JSON as `HH:MM:SS` with an optional fraction.
    Time,
    /// A civil date and time without a zone, in JSON as `YYYY-MM-DDTHH:MM:SS` with an optional fraction.
    Datetime,
    /// A decimal with 29 digits before and 9 after the point.
    Numeric,
    /// Named columns; also `STRUCT`.
    Record,
}

impl Type {
    /// The type that a schema file means, in any case; `None` when it is none of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "STRING" => Self::String,
            "BYTES" => Self::Bytes,
            "INTEGER" | "INT64" => Self::Integer,
            "FLOAT" | "FLOAT64" => Self::Float,
            "BOOLEAN" | "BOOL" => Self::Boolean,
            "TIMESTAMP" => Self::Timestamp,
            "DATE" => Self::Date,
            "TIME" => Self::Time,
            "DATETIME" => Self::Datetime,
            "NUMERIC" => Self::Numeric,
            "RECORD" | "STRUCT" => Self::Record,
            _ => return None,
        })
    }

    /// The name as the `BigQuery` API prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Integer => "INTEGER",
            Self::Float => "FLOAT",
            Self::Boolean => "BOOLEAN",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Datetime => "DATETIME",
            Self::Numeric => "NUMERIC",
            Self::Record => "RECORD",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many values a column has in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One or none.
    #[default]
    Nullable,
    /// Exactly one. Datatypes avoid it, because a column can then never be dropped from what is written; table schemas
    /// that are read back have it.
    Required,
    /// A list, possibly empty.
    Repeated,
}

impl Mode {
    /// The mode that a schema file means, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "NULLABLE" => Self::Nullable,
            "REQUIRED" => Self::Required,
            "REPEATED" => Self::Repeated,
            _ => return None,
        })
    }

    /// The name as the `BigQuery` API prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nullable => "NULLABLE",
            Self::Required => "REQUIRED",
            Self::Repeated => "REPEATED",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
