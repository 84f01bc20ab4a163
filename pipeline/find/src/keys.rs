//! Ruling a table file out for a few kilobytes, before its columns are looked at.
//!
//! A compacted or sealed part has a file of keys beside it, which says which row has an `id`. Of other files the footer is
//! read, but of all columns only what it says about `id`.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use groma_lake::are_keys_of;
use groma_lake_layout::keys_path;
use groma_lake_store::{LakeFile, LakeStore};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
    RowGroupMetaData,
};
use parquet::file::statistics::Statistics;

/// The numbers of the rows with this `id`, from 0; none when the file has no keys that can be read, or those of other bytes.
pub(crate) fn rows_of(
    lake: &LakeStore,
    table_file: &Path,
    sha256: &str,
    id: &str,
) -> Option<Vec<u64>> {
    let path = keys_path(table_file)?;
    let file = lake.open_file(&path).ok()?;
    match read(&file, sha256, id) {
        Ok(rows) => Some(rows),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "keys left out of the search");
            None
        }
    }
}

fn read(file: &LakeFile, sha256: &str, id: &str) -> Result<Vec<u64>, ParquetError> {
    let mut rows = Vec::new();
    let metadata = footer(file)?;
    if !are_keys_of(&metadata, sha256) {
        return Err(ParquetError::General("keys of another part".to_owned()));
    }
    let groups = groups_of(&metadata, file, id)?;
    if groups.is_empty() {
        return Ok(rows);
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
    for batch in reader.with_row_groups(groups).build()? {
        let batch = batch?;
        let ids = batch.column(0).as_string_opt::<i32>();
        let numbers = batch.column(1).as_primitive_opt::<Int64Type>();
        let (Some(ids), Some(numbers)) = (ids, numbers) else {
            return Err(ParquetError::General("not a file of keys".to_owned()));
        };
        let here = ids.iter().zip(numbers).filter(|(key, _)| *key == Some(id));
        rows.extend(here.filter_map(|(_, number)| u64::try_from(number?).ok()));
    }
    Ok(rows)
}

/// The row groups that statistics and Bloom filter do not rule out.
pub(crate) fn groups_that_may_hold(file: &LakeFile, id: &str) -> Result<Vec<usize>, ParquetError> {
    groups_of(&footer(file)?, file, id)
}

fn groups_of(
    metadata: &ParquetMetaData,
    file: &LakeFile,
    id: &str,
) -> Result<Vec<usize>, ParquetError> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let Some(key) = columns
        .iter()
        .position(|column| column.path().parts() == ["id"])
    else {
        return Ok(Vec::new());
    };
    let mut groups = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        if !is_within(group, key, id) {
            continue;
        }
        let filter = Sbbf::read_from_column_chunk(group.column(key), file)?;
        if filter.is_none_or(|filter| filter.check(&id)) {
            groups.push(number);
        }
    }
    Ok(groups)
}

/// The footer without what it says about columns other than the first, which `id` is in every table of ours.
fn footer(file: &LakeFile) -> Result<ParquetMetaData, ParquetError> {
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::skip_except(&[0]))
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    ParquetMetaDataReader::new()
        .with_metadata_options(Some(options))
        .parse_and_finish(file)
}

fn is_within(group: &RowGroupMetaData, key: usize, id: &str) -> bool {
    let Some(Statistics::ByteArray(bounds)) = group.column(key).statistics() else {
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
