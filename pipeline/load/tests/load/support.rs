//! Archives, lakes and rows for the tests.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use groma_archive::{LocalStore, Store};
use groma_load::{Lake, Loader};
use groma_mlab::load_datatype;
use groma_schema::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// The real archive object of platform reference, section E.
pub(crate) const REAL: &str = "20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";

/// Its full name.
pub(crate) const REAL_OBJECT: &str =
    "ndt/ndt7/2020/03/18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.tgz";

/// An object of the generic datatype `probe1`.
pub(crate) const PROBE_OBJECT: &str =
    "lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tgz";

/// The same as JSON lines.
pub(crate) const PROBE_LINES: &str = "autoload/v1/lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab-data.jsonl.gz";

const NDT7_SCHEMA: &str = include_str!("../../../../experiments/ndt7/schema/ndt7.json");

const PROBE_SCHEMA: &str = r#"[
    {"name": "UUID", "type": "STRING"},
    {"name": "Count", "type": "INTEGER"},
    {"name": "Share", "type": "FLOAT"},
    {"name": "Seen", "type": "TIMESTAMP"},
    {"name": "Day", "type": "DATE"},
    {"name": "Cost", "type": "NUMERIC"},
    {"name": "Body", "type": "BYTES"},
    {"name": "Up", "type": "BOOLEAN"},
    {"name": "Hops", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "TTL", "type": "INTEGER"}]}
]"#;

pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) store: LocalStore,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("archive")).unwrap();
        Lab { dir, store }
    }

    pub(crate) fn lake(&self) -> Lake {
        Lake::new(self.dir.path().join("lake"))
    }

    pub(crate) fn loader(&self) -> Loader {
        self.loader_into(self.lake())
    }

    pub(crate) fn loader_into(&self, lake: Lake) -> Loader {
        loader_of(Arc::new(self.store.clone()), lake)
    }

    pub(crate) fn put(&self, name: &str, body: &[u8]) {
        let path = self.dir.path().join("body");
        fs::write(&path, body).unwrap();
        self.store.put_new(name, &path).unwrap();
    }
}

pub(crate) fn loader_of(store: Arc<dyn Store>, lake: Lake) -> Loader {
    let datatype = |experiment: &str, datatype: &str, schema: &str| {
        let schema = Schema::parse(schema).unwrap();
        load_datatype(
            experiment.parse().unwrap(),
            datatype.parse().unwrap(),
            schema,
        )
    };
    let datatypes = vec![
        datatype("ndt", "ndt7", NDT7_SCHEMA),
        datatype("lab", "probe1", PROBE_SCHEMA),
    ];
    Loader::new(store, lake, datatypes)
}

/// The bytes of the real archive, where there is one.
pub(crate) fn real_archive() -> Option<Vec<u8>> {
    let dir = groma_tests::real_data()?;
    Some(fs::read(dir.join("archives").join(REAL)).unwrap())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar, not compressed. Names go in as they are, whatever they are.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, body) in members {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(body.len() as u64);
        header.set_mode(0o666);
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

/// All rows of a Parquet file as JSON, NULLs left out.
pub(crate) fn rows(path: &Path) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    lines(&text)
}

pub(crate) fn lines(text: &[u8]) -> Vec<Value> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Keys of the members of a lake's error list, with their reasons.
pub(crate) fn errors(lake: &Lake, object: &str) -> Vec<(String, Option<u64>, String)> {
    let parts: Vec<&str> = object
        .trim_start_matches("autoload/v1/")
        .split('/')
        .collect();
    let [experiment, datatype, year, month, day, file] = parts[..] else {
        panic!("{object} has six parts");
    };
    let stem = file.trim_end_matches(".tgz").trim_end_matches(".jsonl.gz");
    let date = format!("{year}-{month}-{day}").parse().unwrap();
    let path = lake.errors_path(
        &experiment.parse().unwrap(),
        &datatype.parse().unwrap(),
        date,
        stem,
    );
    let entries = lines(&fs::read(path).unwrap());
    entries
        .into_iter()
        .map(|entry| {
            assert_eq!(entry["object"], object);
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            (text("member"), entry["line"].as_u64(), text("reason"))
        })
        .collect()
}
