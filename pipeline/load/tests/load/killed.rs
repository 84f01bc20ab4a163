//! Two loaders on one lake, killed again and again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use groma_archive::LocalStore;
use groma_load::Lake;

use crate::support::{Lab, gzip, loader_of, rows, tar};

/// Where the child finds archive and lake.
const ARCHIVE: &str = "GROMA_TEST_ARCHIVE";
const LAKE: &str = "GROMA_TEST_LAKE";

const OBJECTS: usize = 300;
const ROWS: usize = 5;
const KILLS: u64 = 100;

fn object(number: usize) -> String {
    format!("lab/probe1/2024/05/06/20240506T070809.{number:06}Z-probe1-mlab1-lga0t-lab.tgz")
}

/// The loader that is killed; a test only because a test program can start nothing but itself.
#[test]
#[ignore = "started by loaders_that_are_killed_lose_and_double_nothing"]
fn child() {
    let var = |name: &str| std::env::var(name).unwrap();
    let store = LocalStore::existing(var(ARCHIVE)).unwrap();
    let loader = loader_of(Arc::new(store), Lake::new(var(LAKE)));
    loader.sweep("").unwrap();
}

fn start(archive: &Path, lake: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed::child", "--exact", "--ignored"])
        .env(ARCHIVE, archive)
        .env(LAKE, lake)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn loaders_that_are_killed_lose_and_double_nothing() {
    let lab = Lab::new();
    for number in 0..OBJECTS {
        let members: Vec<(String, String)> = (0..ROWS)
            .map(|row| {
                (
                    format!("{row}.json"),
                    format!(r#"{{"UUID": "{number}-{row}", "Count": {row}}}"#),
                )
            })
            .chain([("bad.json".to_owned(), "{".to_owned())])
            .collect();
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(name, body)| (name.as_str(), body.as_bytes()))
            .collect();
        lab.put(&object(number), &gzip(&tar(&members)));
    }
    let lake = lab.lake();
    let (archive, root) = (lab.store.root(), lake.root());
    let mut loaders = [start(archive, root), start(archive, root)];
    for kill in 0..KILLS {
        // Moments all over the life of a loader, the start of the program included.
        std::thread::sleep(Duration::from_millis(3 + (kill * 37) % 60));
        let loader = &mut loaders[(kill % 2) as usize];
        loader.kill().unwrap();
        loader.wait().unwrap();
        *loader = start(archive, root);
    }
    for mut loader in loaders {
        assert!(loader.wait().unwrap().success());
    }
    let (experiment, datatype) = ("lab".parse().unwrap(), "probe1".parse().unwrap());
    let date = "2024-05-06".parse().unwrap();
    let mut seen = BTreeSet::new();
    let live = lake.live_path(&experiment, &datatype, date, "any");
    for entry in std::fs::read_dir(live.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        for row in rows(&path) {
            assert!(
                seen.insert(row["id"].as_str().unwrap().to_owned()),
                "doubled: {row}"
            );
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        for beside in [
            lake.account_path(&experiment, &datatype, date, stem),
            lake.errors_path(&experiment, &datatype, date, stem),
        ] {
            assert!(beside.exists(), "{}", beside.display());
        }
    }
    assert_eq!(seen.len(), OBJECTS * ROWS);
    lake.clear_abandoned().unwrap();
    assert_eq!(std::fs::read_dir(root.join(".tmp")).unwrap().count(), 0);
}
