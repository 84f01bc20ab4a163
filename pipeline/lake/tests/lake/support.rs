//! An archive that grows, loaders into a lake, and what the lake holds.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
#[cfg(feature = "s3")]
use groma_archive::Opening;
use groma_archive::{LocalStore, Store as _};
use groma_lake::{Day, Settings, Table};
use groma_lake_store::LakeStore;
use groma_load::{Lake, LoadDatatype, Loader};
use groma_schema::Schema;
#[cfg(feature = "s3")]
use groma_tests::stores::{Kind, ObjectStore};
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The closed date of the tests.
pub(crate) const CLOSED: &str = "2024-05-06";
/// The date that still grows.
pub(crate) const OPEN: &str = "2024-05-07";

const SCHEMA: &str = r#"[
    {"name": "Count", "type": "INTEGER"},
    {"name": "Hops", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "TTL", "type": "INTEGER"}]}
]"#;

/// The moment at which the tests take place.
pub(crate) fn now() -> Timestamp {
    "2024-05-07T12:00:00Z".parse().unwrap()
}

/// Settings under which everything is due at once.
pub(crate) fn eager() -> Settings {
    Settings {
        compact_files: 4,
        linger: Duration::ZERO,
        ..Settings::default()
    }
}

/// A lake in a bucket.
#[cfg(feature = "s3")]
pub(crate) struct InBucket {
    pub(crate) place: LakeStore,
    /// The environment in which processes find it.
    pub(crate) variables: Vec<(String, String)>,
    /// It is there as long as this.
    _server: ObjectStore,
}

/// Starts an object store with an empty lake. Returns `None` and prints the reason if the machine has none.
#[cfg(feature = "s3")]
pub(crate) fn in_bucket(dir: &Path) -> Option<InBucket> {
    let server = ObjectStore::start(Kind::Moto, &dir.join("store"))?;
    let variables = server.variables(server.address());
    let opening = Opening {
        variables: variables.clone(),
        ..Opening::to_write()
    };
    Some(InBucket {
        place: LakeStore::open_with(&format!("{}/a/lake", server.url()), &opening).unwrap(),
        variables,
        _server: server,
    })
}

/// A lab's folders in one directory, which processes share.
pub(crate) struct Lab {
    pub(crate) root: PathBuf,
    /// Where the lake is: `lake` below the root, or a bucket.
    pub(crate) place: LakeStore,
}

impl Lab {
    pub(crate) fn new(root: &Path) -> Lab {
        Lab::with_lake(root, root.join("lake").into())
    }

    pub(crate) fn with_lake(root: &Path, place: LakeStore) -> Lab {
        Lab {
            root: root.to_owned(),
            place,
        }
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    pub(crate) fn archive(&self) -> LocalStore {
        LocalStore::open(self.root.join("archive")).unwrap()
    }

    pub(crate) fn table(&self) -> Table {
        let (experiment, datatype) = ("lab".parse().unwrap(), "probe1".parse().unwrap());
        Table::new(self.place.clone(), experiment, datatype)
    }

    pub(crate) fn loader(&self) -> Loader {
        let schema = Schema::parse(SCHEMA).unwrap();
        let datatype = LoadDatatype::new("lab".parse().unwrap(), "probe1".parse().unwrap(), schema);
        Loader::new(
            Arc::new(self.archive()),
            Lake::new(self.place.clone()),
            vec![datatype],
        )
    }

    /// Archives one object of these rows, and a line that cannot be a row; returns its stem.
    pub(crate) fn put(&self, date: &str, number: usize, ids: &[String]) -> String {
        self.put_with(date, number, ids, "no row\n")
    }

    /// Archives one object of these rows and this text behind them; returns its stem. An object of the name is replaced.
    pub(crate) fn put_with(&self, date: &str, number: usize, ids: &[String], end: &str) -> String {
        let stem = format!(
            "{}T{:06}.000000Z-probe1-mlab1-lga0t-lab-data",
            date.replace('-', ""),
            (number / 3600 % 24) * 10000 + (number / 60 % 60) * 100 + number % 60
        );
        let object = format!(
            "autoload/v1/lab/probe1/{}/{stem}.jsonl.gz",
            date.replace('-', "/")
        );
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for id in ids {
            let line = serde_json::json!({
                "id": id,
                "archiver": {"Filename": "a.json", "ArchiveURL": format!("file:///{object}")},
                "raw": {"Count": number, "Hops": [{"TTL": 1}, {"TTL": 2}]},
            });
            writeln!(encoder, "{line}").unwrap();
        }
        encoder.write_all(end.as_bytes()).unwrap();
        let body = self.root.join(format!("body-{date}"));
        fs::write(&body, encoder.finish().unwrap()).unwrap();
        let archive = self.archive();
        let _ = fs::remove_file(archive.root().join(&object));
        archive.put_new(&object, &body).unwrap();
        stem
    }

    /// The file of an object in the archive.
    pub(crate) fn object(&self, date: &str, stem: &str) -> PathBuf {
        let day = date.replace('-', "/");
        let below = format!("autoload/v1/lab/probe1/{day}/{stem}.jsonl.gz");
        self.archive().root().join(below)
    }

    /// How often each id is in force on a date; read again when a file was gone.
    pub(crate) fn ids(&self, date: &str) -> BTreeMap<String, u32> {
        for _ in 0..1000 {
            let day = Day::read(&self.table(), date.parse().unwrap()).unwrap();
            let mut ids = BTreeMap::new();
            let count = |file: &PathBuf| count_ids(&self.place, file, &mut ids);
            if day.files.iter().all(count) {
                return ids;
            }
        }
        panic!("files go faster than they can be read");
    }

    pub(crate) fn files(&self, kind: &str, date: &str) -> Vec<String> {
        let dir = self.table().dir().join(kind).join(format!("date={date}"));
        let mut names = self.place.list(&dir).unwrap();
        names.sort();
        names
    }
}

fn count_ids(place: &LakeStore, path: &Path, ids: &mut BTreeMap<String, u32>) -> bool {
    use arrow_array::cast::AsArray as _;
    let Ok(file) = place.open_file(path) else {
        return false;
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        for id in batch.column(0).as_string::<i32>() {
            *ids.entry(id.unwrap().to_owned()).or_default() += 1;
        }
    }
    true
}

/// Runs the check of the lake that knows none of our code, where there is a Python with pyarrow.
/// It reads directories; of a bucket it gets a copy.
pub(crate) fn check_with_pyarrow(lab: &Lab, expected: &BTreeMap<String, Vec<String>>) {
    let python = std::env::var("GROMA_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = std::process::Command::new(&python)
        .args(["-c", "import pyarrow"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        groma_tests::skip("no Python with pyarrow; set GROMA_PYTHON");
        return;
    }
    let table = if lab.place.is_bucket() {
        let copy = tempfile::tempdir_in(&lab.root).unwrap().keep();
        copy_folder(&lab.place, &lab.table().dir(), &copy);
        copy.join(lab.table().dir())
    } else {
        lab.table().dir()
    };
    let list = lab.root.join("expected.json");
    fs::write(&list, serde_json::to_vec(expected).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_lake.py");
    let output = std::process::Command::new(&python)
        .args([script.as_os_str(), table.as_os_str(), list.as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
}

fn copy_folder(place: &LakeStore, dir: &Path, to: &Path) {
    let folders = place.folders(dir).unwrap();
    for name in &folders {
        copy_folder(place, &dir.join(name), to);
    }
    let files = place.list(dir).unwrap().into_iter();
    for name in files.filter(|name| !folders.contains(name)) {
        let path = to.join(dir).join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, place.read(&dir.join(name)).unwrap()).unwrap();
    }
}
