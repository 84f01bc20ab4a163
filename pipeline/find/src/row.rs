//! One row of a Parquet file, by its `id`, reading as little as possible.
//!
//! In this order: the footer with the statistics, the Bloom filter, the column `id`, and then the pages of the one row.

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
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde_json::Value;

/// The column that is searched.
const KEY: &str = "id";

/// Rows of the key column decoded at a time.
const BATCH_ROWS: usize = 8192;

/// The row with this `id` as JSON, if the file has it; else what is wrong with the file.
pub(crate) fn read_row(path: &Path, id: &str) -> Result<Option<Value>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = File::open(path).map_err(|error| text(&error))?;
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
    table.find(id).map_err(|error| text(&error))
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
    fn find(&self, id: &str) -> Fallible<Option<Value>> {
        let groups = self.metadata.metadata().row_groups();
        for (group, statistics) in groups.iter().enumerate() {
            if !self.may_hold(statistics, id) || !self.filter_may_hold(group, id)? {
                continue;
            }
            if let Some(offset) = self.offset(group, id)? {
                return self.row(group, offset);
            }
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

    fn may_hold(&self, group: &RowGroupMetaData, id: &str) -> bool {
        let Some(Statistics::ByteArray(bounds)) = group.column(self.key).statistics() else {
            return true;
        };
        // Bounds may be cut short, but stay bounds.
        let below = bounds
            .min_opt()
            .is_some_and(|min| id.as_bytes() < min.data());
        let above = bounds
            .max_opt()
            .is_some_and(|max| id.as_bytes() > max.data());
        !below && !above
    }

    fn filter_may_hold(&self, group: usize, id: &str) -> Fallible<bool> {
        let filter = self
            .reader()?
            .get_row_group_column_bloom_filter(group, self.key)?;
        Ok(filter.is_none_or(|filter| filter.check(&id)))
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
