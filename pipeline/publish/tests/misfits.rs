//! Files that the quarantine has no room for, now or ever.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Lab, Running, wait_for};
use groma_publish::{Config, Form, Quarantine};

const DAY: &str = "ndt7/2026/01/01";
const PUBLISHED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
const FULL: &str = "groma_publish_quarantine_full{datatype=\"ndt7\"}";
const DROPPED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"dropped\"}";
const QUARANTINED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"quarantined\"}";
const PENDING: &str = "groma_publish_pending_files{datatype=\"ndt7\"}";
const OLDEST: &str = "groma_publish_oldest_pending_seconds{datatype=\"ndt7\"}";
const MAX_BYTES: u64 = 8192;

fn config(lab: &Lab) -> Config {
    let mut config = lab.config();
    config.max_file_bytes = 100;
    config.quarantine_max_bytes = MAX_BYTES;
    config
}

/// The right side of the equation of states, without blocked files: equal to the files that were spooled.
fn sum_of_states(running: &Running) -> u64 {
    let spooled = running.metric("groma_publish_files_total{datatype=\"ndt7\",state=\"spooled\"}");
    let states = [PUBLISHED, PENDING, QUARANTINED, DROPPED];
    let sum = states.map(|state| running.metric(state)).iter().sum();
    assert_eq!(spooled, sum);
    sum
}

#[test]
fn a_file_of_holes_counts_with_what_it_takes_of_the_disk() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let path = lab.spool.path().join(DAY).join("holes.bin");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().set_len(2 << 30).unwrap();
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let running = Running::start(config(&lab), Arc::new(lab.store()));
    wait_for("the other file", || running.metric(PUBLISHED) == 1);
    running.stop().unwrap();
    lab.assert_exactly_once();
    let listed = Quarantine::open(&dir.path().join("state")).list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size_bytes, 2 << 30);
}

#[test]
fn a_file_larger_than_the_quarantine_stays_and_holds_nobody_up() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let huge = vec![7; 4 * MAX_BYTES as usize];
    let path = format!("{DAY}/huge.bin").parse().unwrap();
    lab.spool.write(&path, &huge).unwrap();
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let running = Running::start(config(&lab), Arc::new(lab.store()));
    wait_for("the other file", || running.metric(PUBLISHED) == 1);
    lab.write(&format!("{DAY}/later.json"), b"[]");
    wait_for("a later file", || running.metric(PUBLISHED) == 2);
    assert_eq!(running.metric(FULL), 0);
    // It stays pending, and its age grows.
    assert_eq!(running.metric(PENDING), 1);
    assert_eq!(sum_of_states(&running), 3);
    wait_for("its age", || running.metric(OLDEST) >= 2);
    running.stop().unwrap();
    assert_eq!(lab.arrived().len(), 2);
    let kept = lab.spool.claimed_dir().join("ndt7/2026-01-01/huge.bin");
    assert_eq!(fs::read(kept).unwrap(), huge);
    let note_path = dir
        .path()
        .join("state/quarantine/ndt7/2026-01-01/huge.bin.reason.json");
    let note = fs::read_to_string(&note_path).unwrap();
    assert!(note.contains("larger than the quarantine"), "{note}");
    let quarantine = Quarantine::open(&dir.path().join("state"));
    let listed = quarantine.list().unwrap();
    let [file] = &listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(file.id, "ndt7/2026-01-01/huge.bin");
    assert!(file.is_missing && file.reason.contains("larger than the quarantine"));
    assert!(quarantine.release(file, &lab.spool, "me").is_err());
    // For all that is known it is still on its way.
    let early = quarantine.drop(file, "me").unwrap_err().to_string();
    assert!(early.contains("ten minutes"), "{early}");
    let long_ago = SystemTime::now() - Duration::from_mins(11);
    let note = File::options().write(true).open(&note_path).unwrap();
    note.set_times(common::both_times(long_ago)).unwrap();
    quarantine.drop(file, "me").unwrap();
    assert_eq!(quarantine.list().unwrap(), []);
}

#[test]
fn a_deleted_file_that_was_larger_than_the_quarantine_counts_as_dropped() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let path = format!("{DAY}/huge.bin").parse().unwrap();
    lab.spool
        .write(&path, &vec![7; 4 * MAX_BYTES as usize])
        .unwrap();
    let running = Running::start(config(&lab), Arc::new(lab.store()));
    let note_path = dir
        .path()
        .join("state/quarantine/ndt7/2026-01-01/huge.bin.reason.json");
    wait_for("its age", || {
        running.metric(OLDEST) >= 1 && note_path.exists()
    });
    assert_eq!(running.metric(PENDING), 1);
    fs::remove_file(lab.spool.claimed_dir().join("ndt7/2026-01-01/huge.bin")).unwrap();
    wait_for("the drop", || running.metric(DROPPED) == 1);
    wait_for("the end of its age", || running.metric(OLDEST) == 0);
    assert_eq!(running.metric(PENDING), 0);
    assert_eq!(sum_of_states(&running), 1);
    running.stop().unwrap();
}

/// Fills the quarantine, and plants among the claimed files one that may not be read.
fn with_full_quarantine(root: &Path) -> (Lab, Running) {
    let lab = Lab::new(root, Form::Tgz);
    let path = format!("{DAY}/large.bin").parse().unwrap();
    lab.spool.write(&path, &[7; 101]).unwrap();
    Running::start(config(&lab), Arc::new(lab.store()))
        .stop()
        .unwrap();
    let claimed = lab.spool.claimed_dir().join("ndt7/2026-01-01");
    fs::create_dir_all(&claimed).unwrap();
    fs::write(root.join("secret"), "secret").unwrap();
    fs::hard_link(root.join("secret"), claimed.join("link")).unwrap();
    let running = Running::start(config(&lab), Arc::new(lab.store()));
    wait_for("the alarm", || running.metric(FULL) == 1);
    (lab, running)
}

#[test]
fn room_in_quarantine_ends_the_wait_for_a_file_that_may_not_be_read() {
    let dir = common::tempdir();
    let (mut lab, running) = with_full_quarantine(dir.path());
    let quarantine = Quarantine::open(&dir.path().join("state"));
    for file in quarantine.list().unwrap() {
        quarantine.drop(&file, "a test").unwrap();
    }
    wait_for("the end of the alarm", || running.metric(FULL) == 0);
    lab.write(&format!("{DAY}/later.json"), b"{}");
    wait_for("a later file", || running.metric(PUBLISHED) == 1);
    running.stop().unwrap();
    lab.assert_exactly_once();
    assert_eq!(quarantine.list().unwrap().len(), 1);
}

#[test]
fn the_wait_ends_when_the_file_is_deleted_that_has_no_room() {
    let dir = common::tempdir();
    let (mut lab, running) = with_full_quarantine(dir.path());
    fs::remove_file(lab.spool.claimed_dir().join("ndt7/2026-01-01/link")).unwrap();
    wait_for("the end of the alarm", || running.metric(FULL) == 0);
    lab.write(&format!("{DAY}/later.json"), b"{}");
    wait_for("a later file", || running.metric(PUBLISHED) == 1);
    running.stop().unwrap();
    lab.assert_exactly_once();
}
