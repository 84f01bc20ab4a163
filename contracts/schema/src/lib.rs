//! Datatype schemas: the third contract of the platform.
//!
//! A datatype is described once, in a JSON file of the form that `BigQuery` uses for tables (an array of
//! `{name, type, mode, description, fields}`), with one attribute more: `privacy`, which says what a field may hold.
//! Validation of result files, the table schema that we publish and the Arrow schema of the lake all come from it.

mod address;
mod arrow;
mod datatypes;
mod declare;
mod error;
mod evolution;
mod field;
mod json;
mod moment;
mod parse;
mod privacy;
mod stream;
mod table;
mod validate;

pub use datatypes::{DATATYPES, datatype};
pub use error::{Incompatibility, IncompatibilityKind, Problem, SchemaError, Violation};
pub use field::{Field, Mode, Schema, Type};
pub use privacy::{Pattern, Privacy, Text};
pub use stream::Forgotten;
pub use validate::{MAX_PLAIN_BYTES, MAX_VIOLATIONS};
