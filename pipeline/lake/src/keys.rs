//! Which row of a part has which `id`, in a file beside it that has only that.
//!
//! `<table>/keys/date=YYYY-MM-DD/<the part's stem>.keys` is Parquet with the columns `id` and `row` (from 0), sorted by `id`;
//! not named so, lest somebody's pattern takes it for rows. Finding
//! a row by reading the parts costs a footer of all columns for each of them; these files cost the same however many columns
//! the table has. They follow from the parts: who finds none reads the part.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::LakeError;
use crate::log::{Log, Part};
use crate::table::{Kind, Table};

/// Keys of a row group, which is what a look-up decodes.
const GROUP_ROWS: usize = 8192;
/// Parts with more rows than this get no key file: sorting theirs would take more memory than all else.
const MOST_ROWS: u64 = 4 << 20;
const ZSTD_LEVEL: i32 = 3;

/// Where the keys of this table file are, if it has any: `live/date=…/x.parquet` or `sealed/…` becomes `keys/date=…/x.keys`.
pub fn keys_path(file: &Path) -> Option<PathBuf> {
    let day = file.parent()?;
    let table = day.parent()?.parent()?;
    let keys = table.join(Kind::Keys.as_str());
    let name = Path::new(file.file_name()?).with_extension("keys");
    Some(keys.join(day.file_name()?).join(name))
}

/// Writes the keys of all parts of the log that are in place and have none.
pub(crate) fn publish(table: &Table, log: &Log) -> Result<(), LakeError> {
    for part in log.parts() {
        let file = table.dir().join(&part.path);
        let Some(keys) = keys_path(&file) else {
            continue;
        };
        let store = table.store();
        if part.rows > MOST_ROWS || store.exists(&keys) || !store.exists(&file) {
            continue;
        }
        match write(table, part, &file, &keys) {
            // A part that cannot be read, or was replaced meanwhile, has no keys.
            Err(error @ LakeError::Parquet { .. }) => tracing::warn!(%error, "a part got no keys"),
            Err(error) if error.is_gone() => {}
            result => result?,
        }
    }
    Ok(())
}

fn write(table: &Table, part: &Part, file: &Path, keys: &Path) -> Result<(), LakeError> {
    let Some(mut sorted) = read(table, file, part)? else {
        return Ok(());
    };
    sorted.sort_unstable();
    let bytes = encode(&sorted).map_err(LakeError::parquet("write", keys))?;
    match table.store().create(keys, &bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(LakeError::io("write", keys)(error))
        }
        _ => Ok(()),
    }
}

/// Every key with its row; none when the table has no column `id` of text.
fn read(table: &Table, path: &Path, part: &Part) -> Result<Option<Vec<(String, i64)>>, LakeError> {
    let file = table.store().open_file(path);
    let file = file.map_err(LakeError::io("open", path))?;
    let wrong = LakeError::parquet("read", path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(&wrong)?;
    let columns = reader.parquet_schema().columns();
    let Some(leaf) = columns
        .iter()
        .position(|column| column.path().parts() == ["id"])
    else {
        return Ok(None);
    };
    let mask = ProjectionMask::leaves(reader.parquet_schema(), [leaf]);
    let batches = reader.with_projection(mask).build().map_err(&wrong)?;
    let mut keys = Vec::with_capacity(usize::try_from(part.rows).unwrap_or(0));
    let mut row = 0;
    for batch in batches {
        let batch = batch.map_err(|error| wrong(error.into()))?;
        let Some(ids) = batch.column(0).as_string_opt::<i32>() else {
            return Ok(None);
        };
        for id in ids {
            keys.extend(id.map(|id| (id.to_owned(), row)));
            row += 1;
        }
    }
    Ok(Some(keys))
}

fn encode(sorted: &[(String, i64)]) -> Result<Vec<u8>, ParquetError> {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(
        sorted.iter().map(|(id, _)| id),
    ));
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(
        sorted.iter().map(|(_, row)| *row),
    ));
    let batch = RecordBatch::try_from_iter([("id", ids), ("row", rows)])?;
    let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
    let properties = WriterProperties::builder()
        .set_created_by("groma-lake".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_bloom_filter_enabled(ColumnPath::from("id"), true)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}
