//! Rows as `BigQuery`'s JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Date32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_json::writer::{Encoder, EncoderFactory, LineDelimited, NullableEncoder, Writer};
use arrow_json::{EncoderOptions, WriterBuilder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use flate2::Compression;
use flate2::write::GzEncoder;
use groma_load::Object;
use jiff::civil::Date;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use serde_json::{Map, Value};

/// Integers beyond it come as text, because readers of JSON may take numbers for floating-point ones.
const LARGEST_NUMBER: u64 = (1 << 53) - 1;

/// Rows decoded and written at a time: all of them are in memory, as columns and as text, and text may be many times as long.
const MOST_ROWS: usize = 16;

/// Bytes of Parquet's values that are decoded at a time, except for a single larger row.
const BATCH_BYTES: i64 = 8 << 20;

/// Writes the rows of a Parquet file, each with its date and object, to a file of JSON lines in gzip.
pub(crate) fn write_rows(parquet: &Path, date: Date, object: &str, out: &Path) -> io::Result<()> {
    let file = File::open(parquet)?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
        .map_err(io::Error::other)?;
    let gzip = GzEncoder::new(File::create(out)?, Compression::fast());
    let mut lines: Writer<_, LineDelimited> = WriterBuilder::new()
        .with_encoder_factory(Arc::new(Encoders))
        .build(BufWriter::new(gzip));
    // One after the other, so that no batch is larger than a row group.
    for (number, group) in metadata.metadata().row_groups().iter().enumerate() {
        let file = file.try_clone()?;
        let rows = batch_rows(group.num_rows(), group.total_byte_size());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![number])
            .with_batch_size(rows)
            .build()
            .map_err(io::Error::other)?;
        for batch in reader {
            let batch = batch.and_then(|batch| placed(&batch, date, object));
            let written = batch.and_then(|batch| lines.write(&batch));
            written.map_err(io::Error::other)?;
        }
    }
    lines.finish().map_err(io::Error::other)?;
    finish(lines.into_inner())
}

/// The number of rows to decode at a time, for a row group of this many rows and bytes.
fn batch_rows(rows: i64, bytes: i64) -> usize {
    let mean = bytes / rows.max(1);
    let fitting = BATCH_BYTES / mean.max(1);
    usize::try_from(fitting).map_or(MOST_ROWS, |rows| rows.clamp(1, MOST_ROWS))
}

/// Writes the lines of a lake's error list for the errors table.
pub(crate) fn write_errors(list: &Path, date: Date, object: &Object, out: &Path) -> io::Result<()> {
    let gzip = GzEncoder::new(File::create(out)?, Compression::fast());
    let mut lines = BufWriter::new(gzip);
    let datatype = format!("{}/{}", object.experiment, object.datatype);
    for line in BufReader::new(File::open(list)?).lines() {
        let mut row: Map<String, Value> = serde_json::from_str(&line?)?;
        row.insert("object".to_owned(), object.stem.clone().into());
        row.insert("date".to_owned(), date.to_string().into());
        row.insert("datatype".to_owned(), datatype.clone().into());
        serde_json::to_writer(&mut lines, &row)?;
        lines.write_all(b"\n")?;
    }
    finish(lines)
}

fn finish(lines: BufWriter<GzEncoder<File>>) -> io::Result<()> {
    let gzip = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
    gzip.finish().map(drop)
}

/// The batch with the columns that the path of its file encodes in front.
fn placed(batch: &RecordBatch, date: Date, object: &str) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let days = (date - Date::constant(1970, 1, 1)).get_days();
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![days; rows]));
    let objects: ArrayRef = Arc::new(StringArray::from(vec![object; rows]));
    let mut fields: Vec<FieldRef> = vec![
        Arc::new(Field::new("date", DataType::Date32, false)),
        Arc::new(Field::new("object", DataType::Utf8, false)),
    ];
    fields.extend(batch.schema().fields().iter().cloned());
    let mut columns = vec![dates, objects];
    columns.extend(batch.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns)
}

/// What `BigQuery` wants otherwise than Arrow writes it.
#[derive(Debug)]
struct Encoders;

impl EncoderFactory for Encoders {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Int64 => Box::new(Integers(array.as_primitive::<Int64Type>())),
            DataType::Binary => Box::new(Bytes(array.as_binary())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Integers<'a>(&'a Int64Array);

impl Encoder for Integers<'_> {
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) {
        let value = self.0.value(at);
        let written = if value.unsigned_abs() <= LARGEST_NUMBER {
            write!(out, "{value}")
        } else {
            write!(out, "\"{value}\"")
        };
        written.expect("writing to memory cannot fail");
    }
}

struct Bytes<'a>(&'a BinaryArray);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, at: usize, out: &mut Vec<u8>) {
        let text = BASE64_STANDARD.encode(self.0.value(at));
        write!(out, "\"{text}\"").expect("writing to memory cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use arrow_array::{Float64Array, TimestampMicrosecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn values_are_as_bigquery_reads_them() {
        let dir = tempfile::TempDir::new().unwrap();
        let (parquet, out) = (dir.path().join("x.parquet"), dir.path().join("x.gz"));
        let micros = TimestampMicrosecondArray::from(vec![1_584_491_933_425_987]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "small",
                Arc::new(Int64Array::from(vec![-9_007_199_254_740_991])),
            ),
            ("large", Arc::new(Int64Array::from(vec![i64::MAX]))),
            ("none", Arc::new(Int64Array::from(vec![None]))),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]]))),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("time", Arc::new(micros.with_timezone("+00:00"))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer =
            ArrowWriter::try_new(File::create(&parquet).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        write_rows(&parquet, Date::constant(2020, 3, 18), "an-object", &out).unwrap();
        let mut text = String::new();
        let mut reader = flate2::read::GzDecoder::new(File::open(&out).unwrap());
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "{\"date\":\"2020-03-18\",\"object\":\"an-object\",\"small\":-9007199254740991,\
             \"large\":\"9223372036854775807\",\"bytes\":\"/wA=\",\"nan\":null,\
             \"time\":\"2020-03-18T00:38:53.425987Z\"}\n"
        );
    }

    #[test]
    fn the_larger_rows_are_the_fewer_are_in_memory_and_all_are_written() {
        assert_eq!(batch_rows(0, 0), 16);
        assert_eq!(batch_rows(5000, 16 << 20), 16);
        assert_eq!(batch_rows(10, 40 << 20), 2);
        assert_eq!(batch_rows(3, 600 << 20), 1);

        let dir = tempfile::TempDir::new().unwrap();
        let (parquet, out) = (dir.path().join("x.parquet"), dir.path().join("x.gz"));
        let numbers = |from: i64| -> RecordBatch {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 40));
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let file = File::create(&parquet).unwrap();
        let mut writer = ArrowWriter::try_new(file, numbers(0).schema(), None).unwrap();
        for group in 0..3 {
            writer.write(&numbers(group * 40)).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        write_rows(&parquet, Date::constant(2020, 3, 18), "an-object", &out).unwrap();
        let lines = BufReader::new(flate2::read::GzDecoder::new(File::open(&out).unwrap())).lines();
        let found: Vec<i64> = lines
            .map(|line| {
                let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
                row["n"].as_i64().unwrap()
            })
            .collect();
        assert_eq!(found, (0..120).collect::<Vec<i64>>());
    }
}
