//! The columns of a table and the rows in them.

mod batch;

pub use batch::Batch;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};

/// The Arrow schema of a table: `id`, `archiver`, and what the datatype adds.
pub(crate) fn table_schema(columns: Vec<Field>) -> Schema {
    let archiver = ["Version", "GitCommit", "ArchiveURL", "Filename"]
        .map(|name| Field::new(name, DataType::Utf8, true));
    let mut all = vec![
        Field::new("id", DataType::Utf8, true),
        Field::new(
            "archiver",
            DataType::Struct(Fields::from(archiver.to_vec())),
            true,
        ),
    ];
    all.extend(columns);
    Schema::new(all.iter().map(utc_offset).collect::<Vec<_>>())
}

/// The field with every time zone called `UTC` spelled `+00:00`, the one spelling that Arrow knows without a table of zones.
/// Parquet stores neither: both become "adjusted to UTC".
fn utc_offset(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| utc_offset(field)).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(utc_offset(item))),
        other => other.clone(),
    };
    Field::new(field.name(), kind, field.is_nullable())
}
