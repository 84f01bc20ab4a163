//! Key files: the row number of each `id` of a data file.
//!
//! A key file is Parquet with the columns `id` and `row` (from 0), sorted by `id`. A look-up without it reads the footer of
//! every data file, whose size grows with the number of columns; the cost of a key file does not. Its metadata contains the
//! SHA-256 of the data file ([`PART_SHA256`]). A reader ignores a key file that is missing or does not match, and reads the data
//! file. A broken key file never blocks other work.

use groma_lake_layout::{Kind, keys_path};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use groma_lake_store::{LakeFile, guarded};
use jiff::civil::Date;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::LakeError;
use crate::log::{Log, Part};
use crate::table::{Table, stems};

/// Keys of a row group, which is what a look-up decodes.
const GROUP_ROWS: usize = 8192;
/// Parts with more rows than this get no key file: sorting those takes about 150 MB, and theirs would take more than all else.
const MOST_ROWS: u64 = 1 << 20;
/// The key under which the file's metadata has the SHA-256 of the part, in hexadecimal.
pub const PART_SHA256: &str = "groma.part_sha256";
const ZSTD_LEVEL: i32 = 3;

/// An `id` and the number of its row.
type Key = (Box<str>, i64);

/// Whether a file of keys was made from the part with this SHA-256.
pub fn are_keys_of(keys: &ParquetMetaData, part_sha256: &str) -> bool {
    let metadata = keys.file_metadata().key_value_metadata();
    let mut values = metadata.into_iter().flatten();
    values.any(|entry| entry.key == PART_SHA256 && entry.value.as_deref() == Some(part_sha256))
}

/// Writes the missing key files of all data files that are in place. The next run retries those that cannot be written.
pub(crate) fn publish(table: &Table, log: &Log) {
    for part in log.parts() {
        let file = table.dir().join(&part.path);
        let Some(keys) = keys_path(&file) else {
            continue;
        };
        if part.rows > MOST_ROWS || is_written(table, part, &keys) {
            continue;
        }
        match write(table, part, &file, &keys) {
            Err(error) if !error.is_gone() => tracing::warn!(%error, "a part got no keys"),
            // It is not in place yet, or was replaced.
            _ => {}
        }
    }
}

/// Removes the key files of data files that are gone. Returns whether a sealed data file has no key file.
pub(crate) fn sweep(table: &Table, date: Date) -> Result<bool, LakeError> {
    // Key files are listed before the data files, because a data file is in place before its key file.
    let keys = stems(table, Kind::Keys, date)?;
    let sealed: HashSet<String> = stems(table, Kind::Sealed, date)?.into_iter().collect();
    let live: HashSet<String> = stems(table, Kind::Live, date)?.into_iter().collect();
    for orphan in &keys {
        if !sealed.contains(orphan) && !live.contains(orphan) {
            let path = table.file(Kind::Keys, date, orphan);
            let removed = table.store().remove(&path);
            removed.map_err(LakeError::io("remove", path))?;
        }
    }
    Ok(sealed.iter().any(|stem| !keys.contains(stem)))
}

fn is_written(table: &Table, part: &Part, keys: &Path) -> bool {
    let file = table.store().open_file(keys).ok();
    let metadata =
        file.and_then(|file| guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file)).ok());
    metadata.is_some_and(|metadata| are_keys_of(&metadata, &part.sha256))
}

fn write(table: &Table, part: &Part, file: &Path, keys: &Path) -> Result<(), LakeError> {
    let Some(mut sorted) = read(table, file, part)? else {
        return Ok(());
    };
    sorted.sort_unstable();
    let bytes = encode(&sorted, part).map_err(LakeError::parquet("write", keys))?;
    // An existing file of this name belongs to an earlier data file.
    let written = table.store().replace(keys, &bytes);
    written.map_err(LakeError::io("write", keys))
}

/// Every key with its row; none when the table has no column `id` of text.
fn read(table: &Table, path: &Path, part: &Part) -> Result<Option<Vec<Key>>, LakeError> {
    let file = table.store().open_file(path);
    let file = file.map_err(LakeError::io("open", path))?;
    let read = guarded(|| read_ids(file, part.rows));
    read.map_err(LakeError::parquet("read", path))
}

fn read_ids(file: LakeFile, rows: u64) -> Result<Option<Vec<Key>>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let columns = reader.parquet_schema().columns();
    let Some(leaf) = columns
        .iter()
        .position(|column| column.path().parts() == ["id"])
    else {
        return Ok(None);
    };
    let mask = ProjectionMask::leaves(reader.parquet_schema(), [leaf]);
    let batches = reader.with_projection(mask).build()?;
    let mut keys = Vec::with_capacity(usize::try_from(rows.min(MOST_ROWS)).unwrap_or(0));
    let mut row = 0;
    for batch in batches {
        let batch = batch?;
        let Some(ids) = batch.column(0).as_string_opt::<i32>() else {
            return Ok(None);
        };
        for id in ids {
            keys.extend(id.map(|id| (id.into(), row)));
            row += 1;
        }
    }
    Ok(Some(keys))
}

fn encode(sorted: &[Key], part: &Part) -> Result<Vec<u8>, ParquetError> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
    let made_from = KeyValue::new(PART_SHA256.to_owned(), part.sha256.to_string());
    let properties = WriterProperties::builder()
        .set_created_by("groma-lake".to_owned())
        .set_key_value_metadata(Some(vec![made_from]))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_bloom_filter_enabled(ColumnPath::from("id"), true)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch(&[])?.schema(), Some(properties))?;
    for group in sorted.chunks(GROUP_ROWS) {
        writer.write(&batch(group)?)?;
    }
    writer.close()?;
    Ok(bytes)
}

fn batch(keys: &[Key]) -> Result<RecordBatch, ParquetError> {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(keys.iter().map(|(id, _)| id)));
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(
        keys.iter().map(|(_, row)| *row),
    ));
    Ok(RecordBatch::try_from_iter([("id", ids), ("row", rows)])?)
}
