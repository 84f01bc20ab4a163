//! The interface of a datatype: which members count, what the key is, what is corrected, and what is summarised.
//!
//! An experiment's datatype needs none of it: with its schema, [`JSON`] loads it.

mod json;
mod lines;

use std::fmt;

use arrow_schema::{DataType, Field, Fields};
use jiff::civil::Date;

use crate::column::Traits;
use crate::row::Batch;
use crate::source::Archiver;

pub use json::uuid_of;

/// Members that end in `.json` or `.json.gz`, one row each, with the values of the file.
pub const JSON: &dyn Datatype = &json::Json;
/// Members that end in `.jsonl`, one row without an id for each line.
pub const JSON_LINES: &dyn Datatype = &lines::Lines;

/// A difference between a row and the file that it was made from. The documentation lists all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Short name, `kebab-case`.
    pub name: &'static str,
    /// The effect of the rule.
    pub what: &'static str,
    /// The reason for the rule.
    pub why: &'static str,
}

/// A datatype that the loader is given.
pub trait Datatype: fmt::Debug + Send + Sync {
    /// Returns every difference between a row and its file.
    fn rules(&self) -> &'static [Rule] {
        &[]
    }

    /// Returns the columns of a table after `id` and `archiver`, for a measurement with these fields.
    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![record("raw", fields)]
    }

    /// Returns the requirements for the columns beyond the schema.
    fn traits(&self) -> Traits {
        Traits::default()
    }

    /// Returns the factor by which a measurement may fill more column slots than one of another datatype.
    fn slots(&self) -> u64 {
        1
    }

    /// Reports whether a member with this name is a measurement.
    fn wants(&self, member: &str) -> bool;

    /// Makes rows of a measurement. The error is the reason why it cannot be read; the caller then removes the rows that were
    /// begun.
    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String>;
}

/// Refuses a measurement that would be parsed into more values than a row may have.
pub fn bound_values(json: &[u8], batch: &Batch) -> Result<(), String> {
    let most = batch.limits().member_values;
    if crate::limits::values_at_most(json) > most {
        return Err(format!("more than {most} JSON values"));
    }
    Ok(())
}

/// A member of an archive object, from which rows are made.
#[derive(Clone, Copy, Debug)]
pub struct Measurement<'a> {
    /// The `id` column of the line, if it has one.
    pub id: Option<&'a str>,
    /// The provenance of the member.
    pub archiver: &'a Archiver,
    /// The date of the rows.
    pub date: Date,
    /// The content.
    pub bytes: &'a [u8],
    /// Whether the content is only the beginning of the member, because its compression ends early.
    pub is_cut: bool,
}

/// Returns a nullable record column.
pub fn record(name: &str, fields: Fields) -> Field {
    Field::new(name, DataType::Struct(fields), true)
}

/// Returns the last component of a member name. Rules must not depend on the rest.
pub fn base_name(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}
