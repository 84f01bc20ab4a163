//! Two sealers and two loaders on one lake, killed again and again while objects keep coming.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_lake::seal;
use groma_lake_store::LakeStore;

use crate::support::{CLOSED, Lab, OPEN, check_with_pyarrow, eager, now};

const ROLE: &str = "GROMA_LAKE_TEST_ROLE";
const ROOT: &str = "GROMA_LAKE_TEST_ROOT";
/// Where the lake is, when it is not below the root.
const PLACE: &str = "GROMA_LAKE_TEST_PLACE";
const ROWS: usize = 3;

/// Not a test of its own: the killed processes run this function in an endless loop. The environment sets their role.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut lab = Lab::new(std::env::var_os(ROOT).unwrap().as_ref());
    if let Ok(place) = std::env::var(PLACE) {
        lab.place = LakeStore::open(&place).unwrap();
    }
    loop {
        if role == "seal" {
            let archive = lab.archive();
            // The other processes must never make a run fail.
            seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap();
        } else {
            let swept = lab.loader().sweep("").unwrap();
            assert!(swept.failed.is_empty(), "{:?}", swept.failed);
        }
    }
}

pub(crate) fn spawn(lab: &Lab, role: &str, variables: &[(String, String)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if lab.place.is_bucket() {
        command.env(PLACE, lab.place.to_string());
    }
    command
        .args(["--exact", "kill::child", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, &lab.root)
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn row_ids(date: &str, object: usize) -> Vec<String> {
    (0..ROWS)
        .map(|row| format!("{date}-{object}-{row}"))
        .collect()
}

/// Archives objects of both dates until `done` is set. Returns the ids of each date.
fn write(lab: &Lab, done: &AtomicBool, pause_ms: u64) -> BTreeMap<String, Vec<String>> {
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0.. {
        for date in [CLOSED, OPEN] {
            let ids = row_ids(date, number);
            lab.put(date, number, &ids);
            written.entry(date.to_owned()).or_default().extend(ids);
        }
        if done.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    written
}

/// Reads as anyone would, all the time: a row that was seen once is there ever after, and once.
fn read(lab: &Lab, done: &AtomicBool) -> usize {
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut reads = 0;
    while !done.load(Ordering::Relaxed) {
        for date in [CLOSED, OPEN] {
            let ids = lab.ids(date);
            let doubled: Vec<_> = ids
                .iter()
                .filter(|(_, count)| **count > 1)
                .take(3)
                .collect();
            assert!(doubled.is_empty(), "{date}: {doubled:?}");
            let seen = seen.entry(date).or_default();
            let lost: Vec<_> = seen
                .iter()
                .filter(|id| !ids.contains_key(*id))
                .take(3)
                .collect();
            assert!(lost.is_empty(), "{date}: {lost:?} were there");
            seen.extend(ids.into_keys());
            reads += 1;
        }
    }
    reads
}

#[test]
fn killed_two_hundred_times_no_row_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    kill(&lab, &[], 200, 5..60);
    let staged = std::fs::read_dir(lab.lake().join(".staged")).unwrap();
    assert_eq!(staged.count(), 0, "nothing is left aside");
}

/// The same in a bucket, fewer times unless `GROMA_LAKE_KILLS` says so: its store is slow.
#[cfg(feature = "s3")]
#[test]
fn killed_on_a_bucket_no_row_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bucket) = crate::support::in_bucket(dir.path()) else {
        return;
    };
    let lab = Lab::with_lake(dir.path(), bucket.place.clone());
    let kills = std::env::var("GROMA_LAKE_KILLS").map_or(30, |kills| kills.parse().unwrap());
    kill(&lab, &bucket.variables, kills, 50..900);
}

/// Runs two sealers and two loaders. Kills and restarts one of them after `pause_ms` milliseconds, `kills` times.
fn kill(lab: &Lab, variables: &[(String, String)], kills: usize, pause_ms: Range<u64>) {
    let done = AtomicBool::new(false);
    let (writer, reader) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(lab, &done, pause_ms.start.saturating_mul(8)));
        let reader = scope.spawn(|| read(lab, &done));
        let roles = ["seal", "load", "seal", "load"];
        let mut children = roles.map(|role| spawn(lab, role, variables));
        let mut ended_alone = Vec::new();
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(rand::random_range(pause_ms.clone())));
            let victim = rand::random_range(0..roles.len());
            if let Some(status) = children[victim].try_wait().unwrap() {
                ended_alone.push((roles[victim], status));
            }
            children[victim].kill().unwrap();
            children[victim].wait().unwrap();
            children[victim] = spawn(lab, roles[victim], variables);
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(ended_alone.is_empty(), "{ended_alone:?}");
        (writer.join().unwrap(), reader.join().unwrap())
    });
    assert!(reader > 0);
    settle(lab);
    for (date, ids) in &writer {
        let found = lab.ids(date);
        assert_eq!(found.len(), ids.len(), "{date}");
        assert!(ids.iter().all(|id| found.get(id) == Some(&1)), "{date}");
    }
    assert_eq!(lab.files("live", CLOSED), [""; 0]);
    check_with_pyarrow(lab, &writer);
    let later = "2024-05-08T02:00:00Z".parse().unwrap();
    seal(lab.place.clone(), later, &eager(), Some(&lab.archive())).unwrap();
    assert_eq!(lab.files("live", OPEN), [""; 0]);
    check_with_pyarrow(lab, &writer);
}

/// Does the work that the next processes would do.
fn settle(lab: &Lab) {
    let swept = lab.loader().sweep("").unwrap();
    assert!(swept.failed.is_empty(), "{:?}", swept.failed);
    let archive = lab.archive();
    seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap();
    let again = seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap();
    assert_eq!(again, groma_lake::Pass::default(), "nothing is left to do");
}
