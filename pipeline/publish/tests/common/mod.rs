//! A laboratory of one experiment: a spool, an archive, and the question whether everything arrived exactly once.

#![allow(dead_code, reason = "every test program uses another part")]
#![allow(
    unreachable_pub,
    reason = "included as a module by several test programs"
)]

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use flate2::read::MultiGzDecoder;
use groma_archive::{LocalStore, Store};
use groma_disk::RENAME_LOCK;
use groma_names::Node;
use groma_publish::{Config, DatatypeConfig, Form, PublishError, Publisher};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::value::RawValue;

pub struct Lab {
    pub root: PathBuf,
    pub spool: ExperimentDir,
    pub form: Form,
    /// The files that must arrive: path below the experiment's directory, and content.
    pub written: BTreeMap<String, Vec<u8>>,
}

/// A file as the archive has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived {
    pub object: String,
    pub path: String,
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    pub date: String,
    pub archiver: Archiver,
    pub raw: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Archiver {
    pub version: String,
    pub git_commit: String,
    #[serde(rename = "ArchiveURL")]
    pub archive_url: String,
    pub filename: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IndexLine {
    pub filename: String,
    pub size: usize,
    pub time_added: String,
}

impl Lab {
    pub fn new(root: &Path, form: Form) -> Lab {
        let spool = ExperimentDir::open(root.join("spool/ndt"), "ndt".parse().unwrap()).unwrap();
        Lab {
            root: root.to_path_buf(),
            spool,
            form,
            written: BTreeMap::new(),
        }
    }

    pub fn config(&self) -> Config {
        let node = Node::new("mlab1", "lga01").unwrap();
        let mut config = Config::new(self.spool.clone(), self.root.join("state"), node);
        config.datatypes.push(DatatypeConfig {
            name: "ndt7".parse().unwrap(),
            form: self.form,
            schema: None,
        });
        config.organization = Some("lab".to_owned());
        config.flush_age = Duration::ZERO;
        config.settle = Duration::ZERO;
        // A slow file system must not leave files for the next start.
        config.grace = Duration::from_mins(10);
        config.retry_max = Duration::from_millis(20);
        config.metadata = vec![("MLAB.server.name".to_owned(), "mlab1-lga01".to_owned())];
        config.version = "v0".into();
        config.git_commit = "c0ffee".into();
        config
    }

    pub fn store(&self) -> LocalStore {
        LocalStore::open(self.root.join("archive")).unwrap()
    }

    /// Writes a file as an experiment does.
    pub fn write(&mut self, path: &str, bytes: &[u8]) {
        self.spool.write(&path.parse().unwrap(), bytes).unwrap();
        self.written.insert(path.to_owned(), bytes.to_vec());
    }

    /// Writes `count` small JSON files over three dates.
    pub fn write_some(&mut self, batch: &str, count: usize) {
        for number in 0..count {
            let path = format!("ndt7/2026/01/{:02}/{batch}-{number}.json", number % 3 + 1);
            let body = format!("{{\"batch\":\"{batch}\",\"number\":{number}}}");
            self.write(&path, body.as_bytes());
        }
    }

    /// Returns the files of the archive, none while the archive does not exist.
    ///
    /// Tests call this in a loop, so it only reads: `LocalStore::open` calls `fsync`, and on btrfs a thread that commits its
    /// log waits until no other `fsync` arrives for one timer tick. A loop around `open` stopped every writer there.
    pub fn arrived(&self) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        let Ok(store) = LocalStore::existing(self.root.join("archive")) else {
            return arrived;
        };
        for object in store.list("").unwrap() {
            if object.strip_suffix(".tgz").is_some() {
                read_tgz(&store, &object, &mut arrived);
            } else if object.strip_suffix("-data.jsonl.gz").is_some() {
                self.read_jsonl(&store, &object, &mut arrived);
            }
        }
        arrived.sort();
        arrived
    }

    fn read_jsonl(&self, store: &LocalStore, object: &str, arrived: &mut Vec<Arrived>) {
        let text = gunzip(store, object);
        let index = gunzip(
            store,
            &object
                .replace("/ndt7/", "/index1/")
                .replace("-data.", "-index1."),
        );
        assert_eq!(text.lines().count(), index.lines().count(), "{object}");
        for (line, index) in text.split('\n').zip(index.split('\n')) {
            let parsed: Line = serde_json::from_str(line).unwrap();
            let index: IndexLine = serde_json::from_str(index).unwrap();
            assert_eq!(index.filename, parsed.archiver.filename);
            assert_eq!(index.size, line.len());
            assert_eq!(parsed.archiver.archive_url, store.url(object));
            let path = Path::new(&parsed.archiver.filename)
                .strip_prefix(self.spool.path())
                .unwrap();
            arrived.push(Arrived {
                object: object.to_owned(),
                path: path.to_str().unwrap().to_owned(),
                bytes: parsed.raw.get().as_bytes().to_vec(),
            });
        }
    }

    /// Everything written is in exactly one object, with its bytes, under its date; nothing else is; the spool is empty.
    pub fn assert_exactly_once(&self) {
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for file in self.arrived() {
            let date = &file.path["ndt7/".len()..][.."2026/01/01".len()];
            assert!(
                file.object.contains(&format!("/ndt7/{date}/")),
                "{} in {}",
                file.path,
                file.object
            );
            assert_eq!(
                found.insert(file.path.clone(), file.bytes),
                None,
                "{} arrived twice",
                file.path
            );
        }
        assert!(
            found == self.written,
            "arrived {} of {}",
            found.len(),
            self.written.len()
        );
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        assert_eq!(
            files_below(&self.root.join("state/bundles")),
            Vec::<PathBuf>::new()
        );
    }

    /// Files that are still in the spool, claimed or not.
    pub fn left(&self) -> Vec<PathBuf> {
        let mut left = files_below(self.spool.path());
        // The link of a datatype on another disk, and the lock of renames, which stays.
        left.retain(|path| !path.is_dir() && !path.ends_with(RENAME_LOCK));
        left
    }
}

/// Returns the times that set access and modification to `time`. Some FUSE file systems ignore a change of one of them alone.
pub fn both_times(time: SystemTime) -> FileTimes {
    FileTimes::new().set_accessed(time).set_modified(time)
}

fn read_tgz(store: &LocalStore, object: &str, arrived: &mut Vec<Arrived>) {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(store.open(object).unwrap()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = format!("ndt7/{}", entry.path().unwrap().to_str().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        arrived.push(Arrived {
            object: object.to_owned(),
            path,
            bytes,
        });
    }
}

pub fn gunzip(store: &LocalStore, object: &str) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(store.open(object).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// All files below a directory, hidden ones included.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files
}

/// A temporary directory in `GROMA_TEST_DIR`, else in memory where there is any: these tests do not need a disk.
pub fn tempdir() -> tempfile::TempDir {
    if let Some(dir) = std::env::var_os("GROMA_TEST_DIR") {
        return tempfile::tempdir_in(dir).unwrap();
    }
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// An archive directory that is opened again for every call, so that it fails while its root is not a directory.
pub struct Late {
    pub root: PathBuf,
}

impl Store for Late {
    fn put_new(
        &self,
        name: &str,
        body: &Path,
    ) -> Result<groma_archive::Put, groma_archive::StoreError> {
        LocalStore::open(&self.root)?.put_new(name, body)
    }
    fn stat(&self, name: &str) -> Result<Option<groma_archive::Stat>, groma_archive::StoreError> {
        LocalStore::open(&self.root)?.stat(name)
    }
    fn open(&self, name: &str) -> Result<Box<dyn std::io::Read + Send>, groma_archive::StoreError> {
        LocalStore::open(&self.root)?.open(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<String>, groma_archive::StoreError> {
        LocalStore::open(&self.root)?.list(prefix)
    }
    fn url(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Waits for something that must happen; fails after a time that only a broken program needs.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < Duration::from_mins(1),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A publisher that runs in a thread.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), PublishError>>,
    pub registry: Registry,
}

impl Running {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "tests hand over what they made for it"
    )]
    pub fn start(config: Config, store: Arc<dyn Store>) -> Running {
        let mut registry = Registry::default();
        // The threads of one that died in this process may need a moment to let go, and a process that another test starts
        // has the locks until its `exec`.
        let mut opened = None;
        wait_for("the lock", || {
            registry = Registry::default();
            match Publisher::open(config.clone(), Arc::clone(&store), &mut registry) {
                Err(PublishError::InUse { .. }) => false,
                other => {
                    opened = Some(other.unwrap());
                    true
                }
            }
        });
        let publisher = opened.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Running {
            stop,
            thread: std::thread::spawn(move || publisher.run(told)),
            registry,
        }
    }

    /// Tells it to stop.
    pub fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Tells it to stop and waits for the end. `Err(())` when it died of a panic.
    pub fn stop(self) -> Result<(), ()> {
        self.tell_to_stop();
        self.thread.join().map_err(|_| ())?.map_err(|_| ())
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The value of a metric: name and labels as they are printed.
    pub fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(line).and_then(|rest| rest.strip_prefix(' ')));
        value.map_or(0, |value| value.parse().unwrap())
    }
}
