//! The index of a lake, for people and programs that can read files but cannot list directories.
//!
//! `<lake>/index.json` names every dataset and date with its figures and columns, `<lake>/<experiment>/<datatype>/index.json`
//! lists every current file, and `<lake>/index.html` shows the first to people. With them a plain web server or a bucket
//! serves the whole lake to anonymous readers. The index is derived from the lake, so the last writer is right.

use groma_lake_layout::{INDEX_JSON, INDEX_PAGE, Kind};
use std::path::Path;

use arrow_schema::{DataType, Field, Fields};
use groma_lake_store::{LakeStore, guarded};
use jiff::civil::Date;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

use crate::day::Day;
use crate::seal::count_lines;
use crate::table::{Table, list};
use crate::{LICENCE, LakeError};

mod page;

#[derive(Serialize)]
struct Index {
    version: u32,
    licence: &'static str,
    datasets: Vec<Dataset>,
}

#[derive(Serialize)]
struct Dataset {
    experiment: String,
    datatype: String,
    columns: Vec<Column>,
    dates: Vec<Figures>,
}

/// A column as the newest file has it.
#[derive(Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Column>,
}

/// The published figures of one date.
#[derive(Serialize)]
struct Figures {
    date: Date,
    /// `sealed`, or `live` while rows are still expected.
    state: &'static str,
    licence: &'static str,
    /// Archive objects whose rows are here.
    objects: u64,
    /// Archive objects of the date when it was last sealed; none if the archive was not listed.
    objects_archived: Option<u64>,
    /// Whether all of them are sealed, without an error that no operator explained; none when that is not known.
    complete: Option<bool>,
    rows: u64,
    /// Members that could not be made rows.
    errors: u64,
    size_bytes: u64,
    /// Files in force, below the lake; only in the index of the table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
}

/// Writes the index of the lake at this place: JSON of the whole and of each table, and the page.
pub fn publish_index(lake: impl Into<LakeStore>) -> Result<(), LakeError> {
    let lake = lake.into();
    let mut index = Index {
        version: 1,
        licence: LICENCE,
        datasets: Vec::new(),
    };
    for table in Table::all(lake.clone())? {
        let mut dataset = dataset(&table)?;
        if dataset.dates.is_empty() {
            continue;
        }
        put(&lake, &table.dir().join(INDEX_JSON), &to_json(&dataset))?;
        for figures in &mut dataset.dates {
            figures.files.clear();
        }
        index.datasets.push(dataset);
    }
    let root = lake.root();
    put(&lake, &root.join(INDEX_JSON), &to_json(&index))?;
    let page = page::html(&index);
    put(&lake, &root.join(INDEX_PAGE), page.as_bytes())
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("an index is JSON")
}

fn put(lake: &LakeStore, path: &Path, bytes: &[u8]) -> Result<(), LakeError> {
    lake.replace(path, bytes)
        .map_err(LakeError::io("write", path))
}

fn dataset(table: &Table) -> Result<Dataset, LakeError> {
    let mut dates = Vec::new();
    let mut columns = Vec::new();
    for date in table.dates()? {
        let day = Day::read(table, date)?;
        if let Some(newest) = day.files.last() {
            // A file that is replaced at this moment has a successor with the same columns, described next time.
            columns = describe(table.store(), newest).unwrap_or(columns);
        }
        dates.push(figures(table, &day)?);
    }
    Ok(Dataset {
        experiment: table.experiment().to_string(),
        datatype: table.datatype().to_string(),
        columns,
        dates,
    })
}

fn figures(table: &Table, day: &Day) -> Result<Figures, LakeError> {
    let sealed: u64 = day.sealed_sources().count() as u64;
    let is_whole = day
        .sealed_sources()
        .all(|source| day.log.is_accounted_for(source));
    let mut seals = day.log.entries.iter().rev();
    let last = seals.find(|entry| entry.objects_archived.is_some());
    let archived = last.and_then(|entry| entry.objects_archived);
    let is_missing = match last.and_then(|entry| entry.objects_missing) {
        Some(missing) => missing > 0,
        None => archived.is_some_and(|archived| sealed < archived),
    };
    let mut figures = Figures {
        date: day.date,
        state: if day.is_sealed { "sealed" } else { "live" },
        licence: LICENCE,
        objects: 0,
        objects_archived: archived,
        complete: archived.map(|_| is_whole && !is_missing),
        rows: 0,
        errors: 0,
        size_bytes: 0,
        files: Vec::new(),
    };
    let errors = table.day(Kind::Errors, day.date);
    for path in &day.files {
        let Ok(below) = path.strip_prefix(table.lake()) else {
            continue;
        };
        let known = day.log.parts().find(|part| path.ends_with(&part.path));
        if let Some(part) = known {
            let present = part.sources.iter().filter(|source| !source.removed);
            figures.objects += present.count() as u64;
            figures.rows += part.rows;
            figures.size_bytes += part.size_bytes;
        } else if let Some((rows, size_bytes)) = measure(table.store(), path) {
            figures.objects += 1;
            figures.rows += rows;
            figures.size_bytes += size_bytes;
        } else {
            continue;
        }
        figures.files.push(below.to_string_lossy().into_owned());
    }
    for name in list(table.store(), &errors)? {
        figures.errors += count_lines(table.store(), &errors.join(name))?;
    }
    Ok(figures)
}

/// Rows and bytes of a file; none when it cannot be read, or not any more.
fn measure(store: &LakeStore, path: &Path) -> Option<(u64, u64)> {
    let file = store.open_file(path).ok()?;
    let size_bytes = file.size_bytes();
    let reader = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).ok()?;
    let rows = reader.metadata().file_metadata().num_rows();
    Some((u64::try_from(rows).ok()?, size_bytes))
}

fn describe(store: &LakeStore, path: &Path) -> Option<Vec<Column>> {
    let file = store.open_file(path).ok()?;
    let reader = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).ok()?;
    Some(columns(reader.schema().fields()))
}

fn columns(fields: &Fields) -> Vec<Column> {
    fields.iter().map(|field| column(field)).collect()
}

/// Names of types are `BigQuery`'s, as in the datatype's schema file.
fn column(field: &Field) -> Column {
    let (kind, fields) = match field.data_type() {
        DataType::Struct(fields) => ("RECORD".to_owned(), columns(fields)),
        DataType::List(item) => {
            let item = column(item);
            (format!("REPEATED {}", item.kind), item.fields)
        }
        DataType::Utf8 => ("STRING".to_owned(), Vec::new()),
        DataType::Int64 => ("INTEGER".to_owned(), Vec::new()),
        DataType::Float64 => ("FLOAT".to_owned(), Vec::new()),
        DataType::Boolean => ("BOOLEAN".to_owned(), Vec::new()),
        DataType::Binary => ("BYTES".to_owned(), Vec::new()),
        DataType::Date32 => ("DATE".to_owned(), Vec::new()),
        DataType::Timestamp(_, _) => ("TIMESTAMP".to_owned(), Vec::new()),
        DataType::Decimal128(_, _) => ("NUMERIC".to_owned(), Vec::new()),
        other => (other.to_string(), Vec::new()),
    };
    Column {
        name: field.name().clone(),
        kind,
        fields,
    }
}
