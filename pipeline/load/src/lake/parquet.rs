//! The rows of one object as Parquet.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use groma_lake_store::{Committed, NewFile};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::Lake;
use crate::LoadError;

/// Named in every file; a fixed text, so that the same rows are the same bytes.
const CREATED_BY: &str = "groma-load";

/// Level of zstd: what it costs is far below what parsing the JSON costs.
const ZSTD_LEVEL: i32 = 3;

/// Integers of the first rows from which on they are compressed after they were packed.
const COMPRESSED_VALUES: usize = 2048;

/// A Parquet file that is being written and appears when it is complete.
pub(crate) struct ParquetFile {
    state: State,
    schema: SchemaRef,
    target: PathBuf,
    row_group_bytes: usize,
    rows: u64,
}

/// The writer is made when the first rows are there, because they tell which columns are worth a compressor.
enum State {
    Waiting(NewFile),
    Writing(Box<ArrowWriter<NewFile>>),
    /// Making the writer failed, and that was told.
    Failed,
}

impl ParquetFile {
    pub(crate) fn create(
        lake: &Lake,
        path: PathBuf,
        schema: SchemaRef,
        row_group_bytes: usize,
    ) -> Result<Self, LoadError> {
        let create = LoadError::lake("create", path.clone());
        let file = lake.store().new_file(path).map_err(create)?;
        Ok(ParquetFile {
            target: file.target().to_owned(),
            state: State::Waiting(file),
            schema,
            row_group_bytes,
            rows: 0,
        })
    }

    fn writer(&mut self, first: &RecordBatch) -> Result<&mut ArrowWriter<NewFile>, ParquetError> {
        if let State::Waiting(_) = self.state
            && let State::Waiting(file) = std::mem::replace(&mut self.state, State::Failed)
        {
            let properties = writer_properties(first)?;
            let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties))?;
            self.state = State::Writing(Box::new(writer));
        }
        match &mut self.state {
            State::Writing(writer) => Ok(writer),
            _ => Err(ParquetError::General("no writer".to_owned())),
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Where it will stand.
    pub(crate) fn path(&self) -> &Path {
        &self.target
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), LoadError> {
        self.rows += batch.num_rows() as u64;
        let limit = self.row_group_bytes;
        let result = self.writer(batch).and_then(|writer| {
            writer.write(batch)?;
            if writer.in_progress_size() < limit {
                return Ok(());
            }
            writer.flush()
        });
        result.map_err(|error| encode(&self.target, &error))
    }

    /// Writes the footer and gives the file its name unless that is taken.
    pub(crate) fn commit(mut self) -> Result<Committed, LoadError> {
        let none = RecordBatch::new_empty(self.schema.clone());
        let made = self.writer(&none).map(drop);
        let file = match (made, self.state) {
            (Ok(()), State::Writing(writer)) => writer.into_inner(),
            (Err(error), _) => Err(error),
            _ => Err(ParquetError::General("no writer".to_owned())),
        };
        let file = file.map_err(|error| encode(&self.target, &error))?;
        super::step();
        file.commit().map_err(LoadError::lake("name", self.target))
    }
}

fn encode(path: &Path, error: &ParquetError) -> LoadError {
    LoadError::Encode {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// How tables are written, of which these are the first rows.
///
/// Bloom filter and page statistics on the key, so that one row is found by reading a few kilobytes of a file. Integers, which
/// most columns are, are counters and times that differ little from row to row: their differences are smaller than a dictionary
/// of them, and sooner made.
///
/// A column that has little, or always the same, is not compressed: making a compressor costs more than the few bytes could
/// save, and a table has hundreds of such columns (of an ndt7 test, those of the other direction are empty). Statistics of lists
/// are left out, because no engine skips rows by them.
pub fn writer_properties(first: &RecordBatch) -> Result<WriterProperties, ParquetError> {
    let id = || ColumnPath::from("id");
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's");
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(id(), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(id(), true);
    let mut leaves = Vec::new();
    for column in first.columns() {
        find_leaves(column, &mut leaves);
    }
    let schema = ArrowSchemaConverter::new().convert(&first.schema())?;
    for (column, leaf) in schema.columns().iter().zip(leaves) {
        let path = || column.path().clone();
        let is_integer = matches!(column.physical_type(), Type::INT32 | Type::INT64);
        let values = leaf.len() - leaf.null_count();
        if is_integer {
            builder = builder.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if is_integer || values == 0 {
            builder = builder.set_column_dictionary_enabled(path(), false);
        }
        if values == 0 || is_integer && (values < COMPRESSED_VALUES || is_constant(leaf)) {
            builder = builder.set_column_compression(path(), Compression::UNCOMPRESSED);
        }
        if column.max_rep_level() > 0 {
            builder = builder.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// The leaves in the order of Parquet's columns.
fn find_leaves<'a>(array: &'a ArrayRef, leaves: &mut Vec<&'a ArrayRef>) {
    match array.data_type() {
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                find_leaves(column, leaves);
            }
        }
        DataType::List(_) => find_leaves(array.as_list::<i32>().values(), leaves),
        _ => leaves.push(array),
    }
}

/// Whether all numbers are the same; of other types than INTEGER nobody asks.
fn is_constant(leaf: &ArrayRef) -> bool {
    leaf.as_primitive_opt::<Int64Type>()
        .is_some_and(|numbers| numbers.values().windows(2).all(|two| two[0] == two[1]))
}
