//! From a measurement to Arrow: shape the JSON, put the columns together, decode batches.

mod batch;
mod shape;

pub(crate) use batch::Batcher;
pub(crate) use shape::{Report, Shape};

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};
use serde_json::{Map, Value};

use crate::source::Archiver;

/// One row: everything but `date`, which stands in the path.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Option<String>,
    pub(crate) archiver: Archiver,
    /// The summary, for a datatype that has one.
    pub(crate) a: Option<Value>,
    pub(crate) raw: Value,
}

impl Row {
    /// The row as the object that the Arrow decoder reads.
    pub(crate) fn into_json(self) -> Value {
        let archiver = Value::Object(Map::from_iter([
            ("Version".to_owned(), self.archiver.version.into()),
            ("GitCommit".to_owned(), self.archiver.git_commit.into()),
            ("ArchiveURL".to_owned(), self.archiver.archive_url.into()),
            ("Filename".to_owned(), self.archiver.filename.into()),
        ]));
        let mut row = Map::new();
        row.insert("id".to_owned(), self.id.into());
        row.insert("archiver".to_owned(), archiver);
        if let Some(a) = self.a {
            row.insert("a".to_owned(), a);
        }
        row.insert("raw".to_owned(), self.raw);
        Value::Object(row)
    }
}

/// The Arrow schema of a table: `id`, `archiver`, `a` when the datatype has a summary, `raw`.
pub(crate) fn table_schema(summary: Option<Fields>, raw: Fields) -> Schema {
    let archiver = ["Version", "GitCommit", "ArchiveURL", "Filename"]
        .map(|name| Field::new(name, DataType::Utf8, true));
    let mut columns = vec![
        Field::new("id", DataType::Utf8, true),
        Field::new(
            "archiver",
            DataType::Struct(Fields::from(archiver.to_vec())),
            true,
        ),
    ];
    columns.extend(summary.map(|fields| Field::new("a", DataType::Struct(fields), true)));
    columns.push(Field::new("raw", DataType::Struct(raw), true));
    Schema::new(columns.iter().map(utc_offset).collect::<Vec<_>>())
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
