//! Sweeping an archive and following it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use groma_archive::{LocalStore, Put, Stat, Store, StoreError};
use groma_load::Lake;

use crate::support::{Lab, PROBE_LINES, PROBE_OBJECT, gzip, loader_of, rows, tar};

const SCHEMA_OBJECT: &str = "autoload/v1/tables/lab/probe1.table.json";
const INDEX_OBJECT: &str = "autoload/v1/lab/index1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab-index1.jsonl.gz";
const FOREIGN_OBJECT: &str =
    "lab/other1/2024/05/06/20240506T070809.000000Z-other1-mlab1-lga0t-lab.tgz";

fn body() -> Vec<u8> {
    gzip(&tar(&[("a.json", b"{}")]))
}

fn lines() -> Vec<u8> {
    gzip(br#"{"Archiver":{"Filename":"a.json"},"Raw":{}}"#)
}

#[test]
fn a_sweep_loads_data_objects_and_nothing_else() {
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, &body());
    lab.put(PROBE_LINES, &lines());
    for name in [SCHEMA_OBJECT, INDEX_OBJECT, FOREIGN_OBJECT] {
        lab.put(name, b"{}");
    }
    let swept = lab.loader().sweep("").unwrap();
    assert_eq!((swept.objects, swept.already, swept.rows), (2, 0, 2));
    assert!(swept.failed.is_empty());
    let again = lab.loader().sweep("lab/").unwrap();
    assert_eq!((again.objects, again.already), (0, 1));
}

/// Waits for a condition that another thread brings about, long enough that only a fault can miss it.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

fn parquet(lake: &Lake, stem: &str) -> std::path::PathBuf {
    let name = |text: &str| text.parse().unwrap();
    lake.live_path(
        &name("lab"),
        &name("probe1"),
        "2024-05-06".parse().unwrap(),
        stem,
    )
}

/// An archive that fails its first listings and its first openings.
struct Recovering {
    inner: LocalStore,
    failures: AtomicUsize,
}

impl Recovering {
    fn fail(&self, operation: &'static str) -> Result<(), StoreError> {
        let left = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        left.map_or(Ok(()), |_| {
            let name = "archive".to_owned();
            let reason = "not now".to_owned();
            Err(StoreError::Remote {
                operation,
                name,
                reason,
            })
        })
    }
}

impl Store for Recovering {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        self.inner.put_new(name, body)
    }
    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.inner.stat(name)
    }
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.fail("open")?;
        self.inner.open(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        if self.failures.load(Ordering::Relaxed) > 1 {
            self.fail("list")?;
        }
        self.inner.list(prefix)
    }
    fn url(&self, name: &str) -> String {
        self.inner.url(name)
    }
}

#[test]
fn following_outlives_an_archive_that_fails() {
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, &body());
    let store = Recovering {
        inner: lab.store.clone(),
        failures: AtomicUsize::new(2),
    };
    let loader = loader_of(Arc::new(store), lab.lake()).watching(lab.store.root());
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let following = scope.spawn(|| loader.follow(Arc::clone(&stop)));
        let path = parquet(
            &lab.lake(),
            "20240506T070809.000000Z-probe1-mlab1-lga0t-lab",
        );
        wait_for("the retry", || path.exists());
        stop.store(true, Ordering::Relaxed);
        following.join().unwrap().unwrap();
    });
}

#[test]
fn a_directory_that_is_not_there_cannot_be_followed() {
    let lab = Lab::new();
    let loader = lab.loader().watching(lab.store.root().join("nowhere"));
    assert!(loader.follow(Arc::new(AtomicBool::new(false))).is_err());
}

#[test]
fn following_loads_what_is_there_and_what_appears() {
    for watching in [true, false] {
        let lab = Lab::new();
        let stop = Arc::new(AtomicBool::new(false));
        lab.put(PROBE_OBJECT, &body());
        let loader = if watching {
            lab.loader().watching(lab.store.root())
        } else {
            lab.loader()
        };
        std::thread::scope(|scope| {
            let following = scope.spawn(|| loader.follow(Arc::clone(&stop)));
            let first = parquet(
                &lab.lake(),
                "20240506T070809.000000Z-probe1-mlab1-lga0t-lab",
            );
            wait_for("the first object", || first.exists());
            lab.put(PROBE_LINES, &lines());
            let second = parquet(
                &lab.lake(),
                "20240506T070809.000000Z-probe1-mlab1-lga0t-lab-data",
            );
            wait_for("the second object", || second.exists());
            stop.store(true, Ordering::Relaxed);
            following.join().unwrap().unwrap();
            assert_eq!(rows(&second).len(), 1);
        });
    }
}
