//! The rows of one object as Parquet.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use groma_lake_store::{CREATED_BY, Committed, FILE_SHA256, NO_SHA256, NewFile, Origin};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use super::Lake;
use crate::LoadError;

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

/// The writer is made with the first rows, because they show which columns are worth compressing.
enum State {
    Waiting(NewFile),
    Writing(Box<ArrowWriter<Hashed>>),
    /// Making the writer failed, and the error was returned.
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

    fn writer(&mut self, first: &RecordBatch) -> Result<&mut ArrowWriter<Hashed>, ParquetError> {
        if let State::Waiting(_) = self.state
            && let State::Waiting(file) = std::mem::replace(&mut self.state, State::Failed)
        {
            let properties = writer_properties(first)?;
            let file = Hashed {
                file,
                sha256: Sha256::new(),
            };
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

    /// Returns its final path.
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

    /// Writes the footer with the object's identity and the checksum of the whole file.
    pub(crate) fn finish(mut self, origin: &Origin) -> Result<FinishedFile, LoadError> {
        let none = RecordBatch::new_empty(self.schema.clone());
        self.writer(&none)
            .map(drop)
            .map_err(|error| encode(&self.target, &error))?;
        let target = self.target;
        let State::Writing(mut writer) = self.state else {
            return Err(encode(
                &target,
                &ParquetError::General("no writer".to_owned()),
            ));
        };
        for entry in origin.to_metadata() {
            writer.append_key_value_metadata(entry);
        }
        let checksum = KeyValue::new(FILE_SHA256.to_owned(), NO_SHA256.to_owned());
        writer.append_key_value_metadata(checksum);
        let Hashed { mut file, sha256 } = writer
            .into_inner()
            .map_err(|error| encode(&target, &error))?;
        file.stamp(&sha256.finalize().into())
            .map_err(LoadError::lake("write", &target))?;
        Ok(FinishedFile { file, target })
    }
}

/// A Parquet file that only has to get its name.
pub(crate) struct FinishedFile {
    file: NewFile,
    target: PathBuf,
}

impl FinishedFile {
    /// Gives the file its name unless that is taken.
    pub(crate) fn commit(self) -> Result<Committed, LoadError> {
        super::step();
        let committed = self.file.commit();
        committed.map_err(LoadError::lake("name", self.target))
    }

    /// Gives the file its name, in place of the file that has it.
    pub(crate) fn commit_over(self) -> Result<(), LoadError> {
        super::step();
        let committed = self.file.commit_over();
        committed.map_err(LoadError::lake("name", self.target))
    }
}

/// A file that is hashed while it is written.
struct Hashed {
    file: NewFile,
    sha256: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
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

/// Reports whether all integers are the same; `false` for other types.
fn is_constant(leaf: &ArrayRef) -> bool {
    leaf.as_primitive_opt::<Int64Type>()
        .is_some_and(|numbers| numbers.values().windows(2).all(|two| two[0] == two[1]))
}
