//! The rows of one object as Parquet.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Lake;
use super::new_file::{Committed, NewFile};
use crate::LoadError;

/// Named in every file; a fixed text, so that the same rows are the same bytes.
const CREATED_BY: &str = "groma-load";

/// Level of zstd: what it costs is far below what parsing the JSON costs.
const ZSTD_LEVEL: i32 = 3;

/// A Parquet file that is being written and appears when it is complete.
pub(crate) struct ParquetFile {
    writer: ArrowWriter<NewFile>,
    row_group_bytes: usize,
    rows: u64,
}

impl ParquetFile {
    pub(crate) fn create(
        lake: &Lake,
        path: PathBuf,
        schema: SchemaRef,
        row_group_bytes: usize,
    ) -> Result<Self, LoadError> {
        let file = NewFile::create(lake, path)?;
        let target = file.target().to_owned();
        let writer = ArrowWriter::try_new(file, schema, Some(properties()))
            .map_err(|error| encode(&target, &error))?;
        Ok(ParquetFile {
            writer,
            row_group_bytes,
            rows: 0,
        })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Where it will stand.
    pub(crate) fn path(&self) -> &Path {
        self.writer.inner().target()
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), LoadError> {
        self.rows += batch.num_rows() as u64;
        let result = self.writer.write(batch).and_then(|()| {
            if self.writer.in_progress_size() < self.row_group_bytes {
                return Ok(());
            }
            self.writer.flush()
        });
        result.map_err(|error| encode(self.path(), &error))
    }

    /// Writes the footer and gives the file its name unless that is taken.
    pub(crate) fn commit(self) -> Result<Committed, LoadError> {
        let target = self.writer.inner().target().to_owned();
        let file = self.writer.into_inner();
        file.map_err(|error| encode(&target, &error))?.commit()
    }
}

fn encode(path: &Path, error: &ParquetError) -> LoadError {
    LoadError::Encode {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Bloom filter and page statistics on the key, so that one row is found by reading a few kilobytes of a file.
fn properties() -> WriterProperties {
    let id = || ColumnPath::from("id");
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's");
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(id(), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(id(), true)
        .build()
}
