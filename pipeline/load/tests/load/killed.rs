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
/// The date that it asks for, if it asks for one.
const DATE: &str = "GROMA_TEST_DATE";

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
    let Ok(date) = std::env::var(DATE) else {
        let swept = loader.sweep("").unwrap();
        assert!(swept.failed.is_empty(), "{:?}", swept.failed);
        return;
    };
    // From the other end, so that the two meet.
    for number in (0..OBJECTS).rev() {
        let loaded = loader.load_object(&object(number), Some(date.parse().unwrap()));
        assert!(matches!(
            loaded,
            Ok(_) | Err(groma_load::LoadError::OtherDate { .. })
        ));
    }
}

fn start(archive: &Path, lake: &Path, date: Option<&str>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed::child", "--exact", "--ignored"])
        .env(ARCHIVE, archive)
        .env(LAKE, lake)
        .envs(date.map(|date| (DATE, date)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn loaders_that_are_killed_lose_and_double_nothing() {
    kill([None, None]);
}

#[test]
fn also_when_one_of_them_asks_for_another_date() {
    let dates = kill([None, Some("2001-02-03")]);
    assert_eq!(dates.len(), 2, "both got some objects: {dates:?}");
}

/// Kills two loaders that ask for these dates; every row is there once afterwards. Gives the dates that there are.
fn kill(dates: [Option<&str>; 2]) -> BTreeSet<String> {
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
    let mut loaders = dates.map(|date| start(archive, root, date));
    for kill in 0..KILLS {
        // Moments all over the life of a loader, the start of the program included.
        std::thread::sleep(Duration::from_millis(3 + (kill * 37) % 60));
        let number = (kill % 2) as usize;
        let loader = &mut loaders[number];
        loader.kill().unwrap();
        loader.wait().unwrap();
        *loader = start(archive, root, dates[number]);
    }
    for mut loader in loaders {
        assert!(loader.wait().unwrap().success());
    }
    let found = assert_once(&lake);
    lake.clear_abandoned().unwrap();
    assert_eq!(std::fs::read_dir(root.join(".tmp")).unwrap().count(), 0);
    found
}

/// Every row is there once, with account and errors beside it; gives the dates.
fn assert_once(lake: &Lake) -> BTreeSet<String> {
    let (experiment, datatype) = ("lab".parse().unwrap(), "probe1".parse().unwrap());
    let live = lake.root().join("lab/probe1/live");
    let (mut seen, mut dates) = (BTreeSet::new(), BTreeSet::new());
    for day in std::fs::read_dir(live).unwrap() {
        let day = day.unwrap();
        let name = day.file_name().into_string().unwrap();
        let date = name.trim_start_matches("date=").parse().unwrap();
        dates.insert(name);
        for entry in std::fs::read_dir(day.path()).unwrap() {
            let path = entry.unwrap().path();
            for row in rows(&path) {
                let id = row["id"].as_str().unwrap().to_owned();
                assert!(seen.insert(id), "doubled: {row}");
            }
            let stem = path.file_stem().unwrap().to_str().unwrap();
            for beside in [
                lake.account_path(&experiment, &datatype, date, stem),
                lake.errors_path(&experiment, &datatype, date, stem),
            ] {
                assert!(beside.exists(), "{}", beside.display());
            }
        }
    }
    assert_eq!(seen.len(), OBJECTS * ROWS);
    dates
}
