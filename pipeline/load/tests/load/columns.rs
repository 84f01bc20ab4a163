//! Table files in other engines.

use std::fs::File;

use arrow_schema::{DataType, Field, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, LogicalType, TimeUnit as ParquetTimeUnit, TimestampType};
use parquet::file::statistics::Statistics;

use crate::support::{Lab, PROBE_OBJECT, REAL_OBJECT, gzip, tar};

fn open(object: &str, member: &[u8]) -> ParquetRecordBatchReaderBuilder<File> {
    let lab = Lab::new();
    lab.put(object, &gzip(&tar(&[("a.json", member)])));
    let loaded = lab.loader().load_object(object, None).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(File::open(loaded.path).unwrap()).unwrap()
}

#[test]
fn the_columns_are_those_of_the_design() {
    let names = |object| -> Vec<String> {
        open(object, b"{}")
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect()
    };
    assert_eq!(names(REAL_OBJECT), ["id", "archiver", "a", "raw"]);
    assert_eq!(names(PROBE_OBJECT), ["id", "archiver", "raw"]);
    let table = open(REAL_OBJECT, b"{}");
    let fields = |column: &str| match table.schema().field_with_name(column).map(Field::data_type) {
        Ok(DataType::Struct(fields)) => fields.clone(),
        other => panic!("{column} is {other:?}"),
    };
    let names: Vec<_> = fields("a")
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "UUID",
            "TestTime",
            "CongestionControl",
            "MeanThroughputMbps",
            "MinRTT",
            "LossRate"
        ]
    );
    let names: Vec<_> = fields("archiver")
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["Version", "GitCommit", "ArchiveURL", "Filename"]);
    assert_eq!(
        table.parquet_schema().num_columns(),
        286 + 1 + 4 + 6,
        "raw, id, archiver, a"
    );
}

#[test]
fn timestamps_are_instants_in_microseconds() {
    let table = open(REAL_OBJECT, b"{}");
    let (_, summary) = table.schema().column_with_name("a").unwrap();
    let DataType::Struct(fields) = summary.data_type() else {
        panic!("a record")
    };
    let (_, time) = fields.find("TestTime").unwrap();
    assert!(matches!(
        time.data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_))
    ));
    let columns = table.parquet_schema().columns();
    let time = columns
        .iter()
        .find(|column| column.path().string() == "a.TestTime")
        .unwrap();
    let instant = LogicalType::Timestamp(TimestampType {
        is_adjusted_to_u_t_c: true,
        unit: ParquetTimeUnit::MICROS,
    });
    assert_eq!(time.logical_type_ref(), Some(&instant));
}

#[test]
fn the_key_has_what_finds_it() {
    let table = open(PROBE_OBJECT, b"{}");
    for column in table.metadata().row_group(0).columns() {
        let path = column.column_path().string();
        // Nobody skips rows by the statistics of a list.
        assert_eq!(
            column.statistics().is_some(),
            !path.contains("Hops"),
            "{path}"
        );
        let is_key = path == "id";
        assert_eq!(column.bloom_filter_offset().is_some(), is_key, "{path}");
        // Columns without a value are not worth a compressor.
        let nulls = column.statistics().and_then(Statistics::null_count_opt);
        if nulls.is_some_and(|nulls| nulls < column.num_values() as u64) {
            assert!(
                matches!(column.compression(), Compression::ZSTD(_)),
                "{path}"
            );
        }
    }
}

#[test]
fn integers_are_compressed_where_there_are_many_and_not_all_the_same() {
    let compression = |hops: &[u64]| {
        let hops: Vec<String> = hops
            .iter()
            .map(|ttl| format!(r#"{{"TTL": {ttl}}}"#))
            .collect();
        let row = format!(r#"{{"Hops": [{}]}}"#, hops.join(","));
        let table = open(PROBE_OBJECT, row.as_bytes());
        let columns = table.metadata().row_group(0).columns().iter();
        let mut of_hops = columns.filter(|column| column.column_path().string().contains("TTL"));
        of_hops.next().unwrap().compression()
    };
    let counted: Vec<u64> = (0..3000).collect();
    assert!(matches!(compression(&counted), Compression::ZSTD(_)));
    assert_eq!(compression(&counted[..100]), Compression::UNCOMPRESSED);
    assert_eq!(compression(&vec![7; 3000]), Compression::UNCOMPRESSED);
}
