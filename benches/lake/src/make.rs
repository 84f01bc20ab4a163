//! Lakes of real rows under new names.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::DataType;
use groma_archive::{LocalStore, Store as _};
use groma_lake::{Settings, seal};
use groma_load::{Lake, Loader};
use groma_mlab::load_datatype;
use groma_schema::Schema;
use jiff::ToSpan as _;
use jiff::civil::Date;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

const OBJECT: &str = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";
const SCHEMA: &str = include_str!("../../../experiments/ndt7/schema/ndt7.json");
const FIRST: Date = Date::constant(2024, 1, 1);

/// The UUID of the row with this number.
pub(crate) fn id(number: usize) -> String {
    // Spread, as the UUIDs of several machines are.
    let spread = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("bench_1583603744_{spread:016X}")
}

/// The rows of the real archive object.
pub(crate) fn template(data: &Path, dir: &Path) -> anyhow::Result<RecordBatch> {
    let archive = LocalStore::open(dir.join("archive"))?;
    let name = format!("ndt/ndt7/2020/03/18/{OBJECT}");
    archive.put_new(&name, &data.join("archives").join(OBJECT))?;
    let schema = Schema::parse(SCHEMA).context("read the schema of ndt7")?;
    let datatype = load_datatype("ndt".parse()?, "ndt7".parse()?, schema);
    let lake = Lake::new(dir.join("template"));
    let loaded = Loader::new(Arc::new(archive), lake, vec![datatype]).load_object(&name, None)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&loaded.path)?)?;
    let mut batches = reader.with_batch_size(1024).build()?;
    Ok(batches.next().context("the archive object has rows")??)
}

/// Of these rows the UUID and what is computed of each test.
pub(crate) fn narrow(template: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = template.schema();
    Ok(template.project(&[schema.index_of("id")?, schema.index_of("a")?])?)
}

/// A lake of sealed dates.
pub(crate) fn sealed(
    template: &RecordBatch,
    lab: &Path,
    days: usize,
    rows: usize,
) -> anyhow::Result<()> {
    let lake = lab.join("lake");
    for day in 0..days {
        let date = FIRST.checked_add(i64::try_from(day)?.days())?;
        let dir = lake.join(format!("ndt/ndt7/live/date={date}"));
        fs::create_dir_all(&dir)?;
        let path = dir.join("20240101T000000.000000Z-ndt7-mlab1-lga0t-ndt.parquet");
        write(template, &path, day * rows, rows)?;
        let settings = Settings {
            linger: Duration::ZERO,
            ..Settings::default()
        };
        seal(&lake, jiff::Timestamp::now(), &settings, None)?;
    }
    fs::write(lab.join("made"), "")?;
    Ok(())
}

/// A lake of one date in files of one row.
pub(crate) fn live(template: &RecordBatch, lab: &Path, files: usize) -> anyhow::Result<()> {
    let dir = lab.join(format!("lake/ndt/ndt7/live/date={FIRST}"));
    fs::create_dir_all(&dir)?;
    for number in 0..files {
        let stem = format!("20240101T{number:06}.000000Z-ndt7-mlab1-lga0t-ndt.parquet");
        write(template, &dir.join(stem), number, 1)?;
    }
    fs::write(lab.join("made"), "")?;
    Ok(())
}

/// Writes `rows` rows, numbered from `first`, as the loader does.
fn write(template: &RecordBatch, path: &Path, first: usize, rows: usize) -> anyhow::Result<()> {
    let id_column = || ColumnPath::from("id");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_column_bloom_filter_enabled(id_column(), true)
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path)?, template.schema(), Some(properties))?;
    let mut done = 0;
    while done < rows {
        let from = (first + done) % template.num_rows();
        let count = (template.num_rows() - from).min(rows - done);
        let ids = (first + done..first + done + count).map(id);
        let copy = i64::try_from((first + done) / template.num_rows())?;
        let copied = template.slice(from, count);
        let mut columns: Vec<ArrayRef> = copied
            .columns()
            .iter()
            .map(|column| vary(column, copy))
            .collect();
        columns[0] = Arc::new(StringArray::from_iter_values(ids)) as ArrayRef;
        writer.write(&RecordBatch::try_new(template.schema(), columns)?)?;
        done += count;
        if writer.in_progress_size() > 64 << 20 {
            writer.flush()?;
        }
    }
    writer.close()?;
    Ok(())
}

/// Counters, times and sizes moved by this much, so that copies of a row are not the same to a compressor.
fn vary(column: &ArrayRef, by: i64) -> ArrayRef {
    /// Smaller values are counts that hardly vary between rows.
    const LARGE: i64 = 1000;
    match column.data_type() {
        DataType::Int64 => {
            let moved = |value| if value > LARGE { value + by } else { value };
            Arc::new(
                column
                    .as_primitive::<Int64Type>()
                    .unary::<_, Int64Type>(moved),
            )
        }
        DataType::Struct(fields) => {
            let record = column.as_struct();
            let columns = record.columns().iter().map(|column| vary(column, by));
            let nulls = record.nulls().cloned();
            Arc::new(StructArray::new(fields.clone(), columns.collect(), nulls))
        }
        DataType::List(item) => {
            let list = column.as_list::<i32>();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::new(
                item.clone(),
                offsets,
                vary(list.values(), by),
                nulls,
            ))
        }
        _ => column.clone(),
    }
}
