//! Sweeping an archive and following it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_load::Lake;

use crate::support::{Lab, PROBE_LINES, PROBE_OBJECT, gzip, rows, tar};

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
