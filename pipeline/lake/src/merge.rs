//! Several Parquet files into one, through memory for one row group.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::SchemaRef;
use groma_lake_store::{LakeFile, LakeStore, Origin, guarded};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use crate::{LakeError, Settings};
use groma_lake_layout::Sha256Hex;

/// Named in every file; a fixed text, so that the same inputs are the same bytes.
const CREATED_BY: &str = "groma-lake";
/// Parts are written once and read for years, so they get more effort than live files.
const ZSTD_LEVEL: i32 = 6;
/// Finding one row decodes one page of each column up to the row, and the dictionary before it. With these bounds that takes
/// less than half the time of pages of 64 KiB, in files that are 8 % larger: `benches/lake/README.md`.
const PAGE_BYTES: usize = 16 << 10;
const PAGE_ROWS: usize = 500;
const DICTIONARY_BYTES: usize = 16 << 10;
/// How many values are encoded before the page size is looked at.
const PAGE_CHECK_VALUES: usize = 64;
/// Rows decoded at a time.
const BATCH_ROWS: usize = 128;

/// A file to be merged, whose bytes have the checksum that is recorded for them.
pub(crate) struct Input {
    store: LakeStore,
    pub(crate) path: PathBuf,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: u64,
    pub(crate) size_bytes: u64,
    /// The object that it was made from; none of a part and of files from before it was recorded.
    pub(crate) origin: Option<Origin>,
    /// Numbers of the rows that are merged.
    pub(crate) wanted: Range<u64>,
}

impl Input {
    /// Opens a file. A part has the checksum in its log; other files have it in themselves.
    pub(crate) fn open(
        store: &LakeStore,
        path: PathBuf,
        part_sha256: Option<&str>,
    ) -> Result<Input, LakeError> {
        let file = store
            .open_file(&path)
            .map_err(LakeError::io("open", &path))?;
        let verified = match part_sha256 {
            Some(sha256) => file.verify_sha256(sha256),
            None => file.verify(),
        };
        verified.map_err(LakeError::io("read", &path))?;
        let (size_bytes, reader) = reader(store, &path)?;
        let rows = reader.metadata().file_metadata().num_rows();
        let rows = u64::try_from(rows).unwrap_or(0);
        Ok(Input {
            // The file's own metadata are those of its object, and no part of the schema.
            schema: Arc::new(
                reader
                    .schema()
                    .as_ref()
                    .clone()
                    .with_metadata(HashMap::new()),
            ),
            rows,
            size_bytes,
            origin: Origin::of(reader.metadata()),
            wanted: 0..rows,
            store: store.clone(),
            path,
        })
    }

    /// The same file, of which these rows are merged.
    pub(crate) fn with_rows(&self, wanted: Range<u64>) -> Input {
        Input {
            store: self.store.clone(),
            path: self.path.clone(),
            schema: self.schema.clone(),
            rows: self.rows,
            size_bytes: self.size_bytes,
            origin: self.origin.clone(),
            wanted,
        }
    }

    /// The archive object of the first row, as the row names it.
    pub(crate) fn url(&self) -> Result<Option<String>, LakeError> {
        let (_, reader) = reader(&self.store, &self.path)?;
        let wanted = ["archiver", "ArchiveURL"];
        let columns = reader.parquet_schema().columns();
        let Some(leaf) = columns
            .iter()
            .position(|column| column.path().parts() == wanted)
        else {
            return Ok(None);
        };
        let mask = ProjectionMask::leaves(reader.parquet_schema(), [leaf]);
        let reader = reader.with_projection(mask).with_limit(1);
        let first = guarded(|| {
            let batch = reader.build()?.next().transpose()?;
            Ok::<_, ParquetError>(batch)
        });
        let Some(batch) = first.map_err(LakeError::parquet("read", &self.path))? else {
            return Ok(None);
        };
        let url = batch
            .column(0)
            .as_struct_opt()
            .and_then(|archiver| archiver.column(0).as_string_opt::<i32>())
            .and_then(|urls| urls.iter().next().flatten());
        Ok(url.map(str::to_owned))
    }

    /// Passes the rows that are wanted to `visit`.
    fn read(
        &self,
        mut visit: impl FnMut(&RecordBatch) -> Result<(), LakeError>,
    ) -> Result<(), LakeError> {
        let (_, reader) = reader(&self.store, &self.path)?;
        let read = LakeError::parquet("read", &self.path);
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let Range { start, end } = self.wanted.clone();
        let reader = reader
            .with_batch_size(BATCH_ROWS)
            .with_offset(count(start))
            .with_limit(count(end.saturating_sub(start)));
        let mut batches = guarded(|| reader.build()).map_err(&read)?;
        while let Some(batch) =
            guarded(|| Ok::<_, ParquetError>(batches.next().transpose()?)).map_err(&read)?
        {
            visit(&batch)?;
        }
        Ok(())
    }
}

fn reader(
    store: &LakeStore,
    path: &Path,
) -> Result<(u64, ParquetRecordBatchReaderBuilder<LakeFile>), LakeError> {
    let file = store.open_file(path).map_err(LakeError::io("open", path))?;
    let size_bytes = file.size_bytes();
    let reader = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file));
    Ok((
        size_bytes,
        reader.map_err(LakeError::parquet("read", path))?,
    ))
}

/// Writes the rows of all inputs, in their order, and gives rows, bytes and the hexadecimal SHA-256 of what was written.
pub(crate) fn merge(
    inputs: &[Input],
    file: &File,
    path: &Path,
    settings: &Settings,
) -> Result<(u64, u64, Sha256Hex), LakeError> {
    let write = LakeError::parquet("write", path);
    let schema = inputs.first().map(|input| input.schema.clone());
    let schema = schema.unwrap_or_else(|| arrow_schema::Schema::empty().into());
    let output = Hashed {
        file,
        sha256: Sha256::new(),
        size_bytes: 0,
    };
    let mut writer =
        ArrowWriter::try_new(output, schema, Some(properties(settings))).map_err(&write)?;
    let mut rows = 0;
    for input in inputs {
        input.read(|batch| {
            rows += batch.num_rows() as u64;
            writer.write(batch).map_err(&write)?;
            if writer.in_progress_size() >= settings.row_group_bytes {
                writer.flush().map_err(&write)?;
            }
            Ok(())
        })?;
    }
    let output = writer.into_inner().map_err(&write)?;
    file.sync_all().map_err(LakeError::io("sync", path))?;
    let digest = output.sha256.finalize();
    Ok((rows, output.size_bytes, Sha256Hex::of(&digest.into())))
}

fn properties(settings: &Settings) -> WriterProperties {
    let id = || ColumnPath::from("id");
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's");
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(settings.row_group_rows))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_write_batch_size(PAGE_CHECK_VALUES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(id(), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(id(), true)
        .build()
}

/// A file that is hashed while it is written.
struct Hashed<'a> {
    file: &'a File,
    sha256: Sha256,
    size_bytes: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
