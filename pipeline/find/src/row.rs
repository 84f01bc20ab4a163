//! One row of a Parquet file, by its `id`, reading as little as possible.
//!
//! In this order: the keys beside the file, else the footer with the statistics, the Bloom filter and the column `id`; and
//! then the pages of the one row.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use serde_json::Value;

use crate::keys;

/// The column that is searched.
const KEY: &str = "id";

/// Rows of the key column decoded at a time.
const BATCH_ROWS: usize = 8192;

/// The row with this `id` as JSON, if the file has it; else what is wrong with the file.
pub(crate) fn read_row(path: &Path, id: &str) -> Result<Option<Value>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let rows = keys::rows_of(path, id);
    if rows.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let file = File::open(path).map_err(|error| text(&error))?;
    let groups = match rows {
        Some(_) => Vec::new(),
        None => keys::groups_that_may_hold(&file, id).map_err(|error| text(&error))?,
    };
    if rows.is_none() && groups.is_empty() {
        return Ok(None);
    }
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
        .map_err(|error| text(&error))?;
    let Some(key) = key_column(&metadata) else {
        return Ok(None);
    };
    let table = Table {
        file,
        metadata,
        key,
    };
    let found = match rows.as_deref() {
        Some([row, ..]) => table.at(*row),
        _ => table.find(groups, id),
    };
    found.map_err(|error| text(&error))
}

fn key_column(metadata: &ArrowReaderMetadata) -> Option<usize> {
    let columns = metadata.parquet_schema().columns();
    columns
        .iter()
        .position(|column| column.path().parts() == [KEY])
}

struct Table {
    file: File,
    metadata: ArrowReaderMetadata,
    key: usize,
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

impl Table {
    fn find(&self, groups: Vec<usize>, id: &str) -> Fallible<Option<Value>> {
        for group in groups {
            if let Some(offset) = self.offset(group, id)? {
                return self.row(group, offset);
            }
        }
        Ok(None)
    }

    /// The row with this number.
    fn at(&self, number: u64) -> Fallible<Option<Value>> {
        let mut before = 0;
        for (group, metadata) in self.metadata.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(metadata.num_rows())?;
            if number < before + rows {
                return self.row(group, usize::try_from(number - before)?);
            }
            before += rows;
        }
        Ok(None)
    }

    fn reader(&self) -> Fallible<ParquetRecordBatchReaderBuilder<File>> {
        let file = self.file.try_clone()?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(
            file,
            self.metadata.clone(),
        ))
    }

    /// Number of the row within its row group.
    fn offset(&self, group: usize, id: &str) -> Fallible<Option<usize>> {
        let reader = self.reader()?;
        let only_key = ProjectionMask::leaves(reader.parquet_schema(), [self.key]);
        let batches = reader
            .with_projection(only_key)
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS)
            .build()?;
        let mut before = 0;
        for batch in batches {
            let batch = batch?;
            let Some(ids) = batch.column(0).as_string_opt::<i32>() else {
                return Ok(None);
            };
            if let Some(at) = ids.iter().position(|value| value == Some(id)) {
                return Ok(Some(before + at));
            }
            before += ids.len();
        }
        Ok(None)
    }

    fn row(&self, group: usize, offset: usize) -> Fallible<Option<Value>> {
        let selection = RowSelection::from(vec![RowSelector::skip(offset), RowSelector::select(1)]);
        let mut batches = self
            .reader()?
            .with_row_groups(vec![group])
            .with_row_selection(selection)
            .build()?;
        batches
            .next()
            .transpose()?
            .map(|batch| to_json(&batch))
            .transpose()
    }
}

fn to_json(batch: &RecordBatch) -> Fallible<Value> {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    writer.write(batch)?;
    writer.finish()?;
    Ok(serde_json::from_slice(&text)?)
}
