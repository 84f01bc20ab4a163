//! Rows out of the lake, for people and for programs that read no Parquet.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader as _};
use arrow_json::LineDelimitedWriter;
use groma_lake_store::{LakeStore, guarded};
use jiff::civil::Date;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use serde_json::{Map, Value};

use crate::LoadError;

/// How exported rows look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// One Parquet file with the table's columns.
    Parquet,
    /// A JSON object per line with the table's columns and `date`; NULL is absent.
    Jsonl,
    /// The columns of M-Lab's parser: as [`Export::Jsonl`], with `parser` in place of `archiver`.
    MlabJsonl,
    /// A line per row under one heading line: dotted paths of the columns; lists as JSON (RFC 4180).
    Csv,
}

/// Writes all rows of these table files of one date in their order, and returns how many.
pub fn export(
    lake: &LakeStore,
    files: &[PathBuf],
    date: Date,
    form: Export,
    out: &mut (impl Write + Send),
) -> Result<u64, LoadError> {
    if form == Export::Parquet {
        return concatenate(lake, files, out);
    }
    let mut sink = Sink {
        form,
        date,
        heading: None,
        rows: 0,
    };
    for path in files {
        let mut batches = batches(lake, path)?;
        while let Some(batch) = next(&mut batches, path)? {
            sink.write(&batch, path, out)?;
        }
    }
    Ok(sink.rows)
}

fn encode(path: &Path, error: &dyn std::fmt::Display) -> LoadError {
    LoadError::Encode {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn batches(lake: &LakeStore, path: &Path) -> Result<ParquetRecordBatchReader, LoadError> {
    let file = lake.open_verified(path);
    let file = file.map_err(LoadError::lake("read", path))?;
    guarded(|| {
        ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
    })
    .map_err(|error| encode(path, &error))
}

fn next(
    batches: &mut ParquetRecordBatchReader,
    path: &Path,
) -> Result<Option<RecordBatch>, LoadError> {
    guarded(|| Ok::<_, ParquetError>(batches.next().transpose()?))
        .map_err(|error| encode(path, &error))
}

/// All files as one, row group behind row group.
fn concatenate(
    lake: &LakeStore,
    files: &[PathBuf],
    out: &mut (impl Write + Send),
) -> Result<u64, LoadError> {
    let Some(first) = files.first() else {
        return Ok(0);
    };
    let schema = batches(lake, first)?.schema();
    // The metadata of a table file are those of one object.
    let schema = Arc::new(schema.as_ref().clone().with_metadata(HashMap::new()));
    let failed = |error: ParquetError| encode(Path::new("the export"), &error);
    let mut writer = ArrowWriter::try_new(out, schema, None).map_err(failed)?;
    let mut rows = 0;
    for path in files {
        let mut batches = batches(lake, path)?;
        while let Some(batch) = next(&mut batches, path)? {
            rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(rows)
}

struct Sink {
    form: Export,
    date: Date,
    heading: Option<Vec<String>>,
    rows: u64,
}

impl Sink {
    fn write(
        &mut self,
        batch: &RecordBatch,
        path: &Path,
        out: &mut impl Write,
    ) -> Result<(), LoadError> {
        let mut text = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut text);
        let written = writer.write(batch).and_then(|()| writer.finish());
        written.map_err(|error| encode(path, &error))?;
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let row: Map<String, Value> =
                serde_json::from_slice(line).map_err(|error| encode(path, &error))?;
            let line = self.line(row, batch);
            out.write_all(line.as_bytes())
                .map_err(LoadError::lake("write", "the export"))?;
            self.rows += 1;
        }
        Ok(())
    }

    fn line(&mut self, mut row: Map<String, Value>, batch: &RecordBatch) -> String {
        row.insert("date".to_owned(), self.date.to_string().into());
        if self.form == Export::MlabJsonl
            && let Some(archiver) = row.remove("archiver")
        {
            row.insert("parser".to_owned(), archiver);
        }
        if self.form != Export::Csv {
            return format!("{}\n", Value::Object(row));
        }
        let mut text = String::new();
        if self.heading.is_none() {
            let mut paths = vec!["date".to_owned()];
            for field in batch.schema().fields() {
                leaves(field, "", &mut paths);
            }
            text = csv_line(paths.iter().map(String::as_str));
            self.heading = Some(paths);
        }
        let row = Value::Object(row);
        let cells: Vec<String> = self
            .heading
            .iter()
            .flatten()
            .map(|path| cell(path.split('.').fold(&row, |value, name| &value[name])))
            .collect();
        text + &csv_line(cells.iter().map(String::as_str))
    }
}

fn leaves(field: &arrow_schema::Field, parent: &str, paths: &mut Vec<String>) {
    let path = if parent.is_empty() {
        field.name().clone()
    } else {
        format!("{parent}.{}", field.name())
    };
    match field.data_type() {
        arrow_schema::DataType::Struct(fields) => {
            for field in fields {
                leaves(field, &path, paths);
            }
        }
        _ => paths.push(path),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = cells
        .map(|cell| {
            if cell.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}
