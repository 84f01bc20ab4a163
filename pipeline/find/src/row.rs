//! Rows of a Parquet file, by their `id`, reading as little as possible.
//!
//! In this order: the keys beside the file, else the footer with the statistics, the Bloom filter and the column `id`; and
//! then the pages of those rows.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_json::LineDelimitedWriter;
use groma_lake_store::{LakeFile, LakeStore, guarded};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetStatisticsPolicy};
use serde_json::Value;

use crate::keys;
use crate::one_row::OneRow;
use crate::pages::Pages;

/// The column that is searched.
const KEY: &str = "id";

/// Rows of the key column decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Which columns of a row are read.
#[derive(Clone, Copy)]
pub(crate) enum Columns {
    All,
    /// Those whose path satisfies this.
    Some(fn(&[String]) -> bool),
}

/// The rows with this `id` as JSON, at most `most`; else what is wrong with the file. Its keys are believed when they are those
/// of a part with this SHA-256, and of the rows that they name only what has the `id`.
pub(crate) fn read_rows(
    lake: &LakeStore,
    path: &Path,
    sha256: Option<&str>,
    id: &str,
    columns: Columns,
    most: usize,
) -> Result<Vec<Value>, String> {
    // A damaged file is an error, also where its reader panics.
    let read = || Ok(read_rows_of(lake, path, sha256, id, columns, most));
    guarded(read).unwrap_or_else(|error: ParquetError| Err(error.to_string()))
}

fn read_rows_of(
    lake: &LakeStore,
    path: &Path,
    sha256: Option<&str>,
    id: &str,
    columns: Columns,
    most: usize,
) -> Result<Vec<Value>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let rows = sha256.and_then(|sha256| keys::rows_of(lake, path, sha256, id));
    if rows.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    // A part is read in few pieces; a live file is small enough to compare all of it with its checksum.
    let file = match sha256 {
        Some(_) => lake.open_file(path),
        None => lake.open_verified(path),
    };
    let file = file.map_err(|error| text(&error))?;
    let groups_of_file = || keys::groups_that_may_hold(&file, id).map_err(|error| text(&error));
    let groups = match rows {
        Some(_) => None,
        None => Some(groups_of_file()?),
    };
    if groups.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let metadata = ArrowReaderMetadata::load(&file, options()).map_err(|error| text(&error))?;
    let Some(key) = key_column(&metadata) else {
        return Ok(Vec::new());
    };
    let table = Table {
        file: file.clone(),
        metadata,
        key,
        columns,
    };
    if let Some(mut numbers) = rows {
        numbers.truncate(most);
        let found = table.at(&numbers).map_err(|error| text(&error))?;
        if found.len() == numbers.len() && found.iter().all(|row| row[KEY] == id) {
            return Ok(found);
        }
        tracing::warn!(file = %path.display(), "keys name other rows; the file itself is searched");
    }
    let groups = groups.map_or_else(groups_of_file, Ok)?;
    let found = table.find(groups, id, most);
    found.map_err(|error| text(&error))
}

/// Reads the positions of pages, but not the statistics of columns, which a look-up does not use.
fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
        .with_offset_index_policy(PageIndexPolicy::Optional)
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
}

fn key_column(metadata: &ArrowReaderMetadata) -> Option<usize> {
    let columns = metadata.parquet_schema().columns();
    columns
        .iter()
        .position(|column| column.path().parts() == [KEY])
}

struct Table {
    file: LakeFile,
    metadata: ArrowReaderMetadata,
    key: usize,
    columns: Columns,
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

impl Table {
    fn find(&self, groups: Vec<usize>, id: &str, most: usize) -> Fallible<Vec<Value>> {
        let mut found = Vec::new();
        for group in groups {
            for offset in self.offsets(group, id, most - found.len())? {
                found.extend(self.row(group, offset)?);
            }
            if found.len() == most {
                break;
            }
        }
        Ok(found)
    }

    /// The rows with these numbers.
    fn at(&self, numbers: &[u64]) -> Fallible<Vec<Value>> {
        let (mut before, mut found) = (0, Vec::new());
        for (group, metadata) in self.metadata.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(metadata.num_rows())?;
            for number in numbers
                .iter()
                .filter(|number| (before..before + rows).contains(number))
            {
                found.extend(self.row(group, usize::try_from(number - before)?)?);
            }
            before += rows;
        }
        Ok(found)
    }

    fn reader(&self) -> ParquetRecordBatchReaderBuilder<LakeFile> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
    }

    /// Numbers of the rows within their row group.
    fn offsets(&self, group: usize, id: &str, most: usize) -> Fallible<Vec<usize>> {
        let reader = self.reader();
        let only_key = ProjectionMask::leaves(reader.parquet_schema(), [self.key]);
        let batches = reader
            .with_projection(only_key)
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS)
            .build()?;
        let (mut before, mut found) = (0, Vec::new());
        for batch in batches {
            let batch = batch?;
            let Some(ids) = batch.column(0).as_string_opt::<i32>() else {
                break;
            };
            let here = ids.iter().enumerate();
            found.extend(
                here.filter(|(_, value)| *value == Some(id))
                    .map(|(at, _)| before + at)
                    .take(most - found.len()),
            );
            if found.len() == most {
                break;
            }
            before += ids.len();
        }
        Ok(found)
    }

    fn row(&self, group: usize, offset: usize) -> Fallible<Option<Value>> {
        let selection = RowSelection::from(vec![RowSelector::skip(offset), RowSelector::select(1)]);
        let schema = self.metadata.parquet_schema();
        let mask = match self.columns {
            Columns::All => ProjectionMask::all(),
            Columns::Some(wanted) => {
                let columns = schema.columns().iter().enumerate();
                let leaves = columns.filter(|(_, column)| wanted(column.path().parts()));
                ProjectionMask::leaves(schema, leaves.map(|(leaf, _)| leaf))
            }
        };
        let metadata = self.metadata.metadata();
        let pages = Pages::of_row(&self.file, metadata, &mask, group, offset)?;
        let one = OneRow::new(metadata, group, pages)?;
        let fields = self.metadata.schema().fields();
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(fields))?;
        let mut batches =
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &one, 1, Some(selection))?;
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
