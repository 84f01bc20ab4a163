//! A disk that is too full for a bundle is worked off all the same, and no test is admitted meanwhile.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Lab, Running, wait_for};
use groma_publish::{Config, Form};
use groma_service::Lifecycle;

const DISK: &str = "GROMA_TEST_DISK";
const PUBLISHED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";

/// A disk of three megabytes with files that no compression makes smaller, and room for their archive elsewhere.
fn small_disk(disk: &Path) -> Lab {
    symlink(disk.with_file_name("archive"), disk.join("archive")).unwrap();
    lab_with_files(disk, 100)
}

fn lab_with_files(disk: &Path, count: usize) -> Lab {
    let mut lab = Lab::new(disk, Form::Tgz);
    for number in 0..count {
        let bytes: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
        lab.write(&format!("ndt7/2026/01/01/{number}.bin"), &bytes);
    }
    lab
}

/// Leaves no room for another file; answers the directory that holds them all.
fn fill_inodes(disk: &Path) -> PathBuf {
    let dir = disk.join("many");
    fs::create_dir(&dir).unwrap();
    let made =
        (0..100_000).take_while(|number| fs::File::create(dir.join(number.to_string())).is_ok());
    assert!(made.count() > 0);
    dir
}

/// Fills a disk to its last byte; answers with what.
fn fill(disk: &Path) -> fs::File {
    let mut file = fs::File::create(disk.join("ballast")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    file
}

/// Starts a publisher that has nothing to do but to make its reserve, and ends it.
fn set_aside(lab: &Lab, config: &Config) {
    let mut nothing = config.clone();
    nothing.datatypes.clear();
    Running::start(nothing, Arc::new(lab.store()))
        .stop()
        .unwrap();
}

/// Not a test of its own: it runs in a mount namespace where the directory that its environment names is a small disk.
#[test]
fn on_a_small_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    let lab = small_disk(&disk);
    let ballast = fill(&disk);
    let full = ballast.metadata().unwrap().len();
    ballast.set_len(full - 150_000).unwrap();
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    let failures = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"seal\"}";
    wait_for("all files", || running.metric(PUBLISHED) == 100);
    assert!(running.metric(failures) > 0, "the disk was not full");
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

/// Not a test of its own, either: of this disk nothing is left but what was set aside.
#[test]
fn with_a_reserve() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    let lab = small_disk(&disk);
    let mut config = lab.config();
    config.reserve_bytes = 300_000;
    let reserve = disk.join("state/reserve");
    let stop = lab.spool.admission_stop_file();
    // It is set aside at the start, whatever else there is to do, and stays over an end.
    set_aside(&lab, &config);
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 300_000);
    assert!(!stop.exists());

    let ballast = fill(&disk);
    let lifecycle = Lifecycle::new();
    config.lifecycle = Some(lifecycle.clone());
    let is_ready = || lifecycle.faulty_parts().is_empty();
    let running = Running::start(config, Arc::new(lab.store()));
    assert!(stop.exists(), "tests are admitted on a full disk");
    wait_for("all files", || running.metric(PUBLISHED) == 100);
    let stopped = "groma_publish_admission_stopped";
    wait_for("room", || !stop.exists());
    wait_for("the reserve", || {
        fs::metadata(&reserve).is_ok_and(|found| found.len() == 300_000)
    });
    wait_for("the end of the alarm", || {
        running.metric(stopped) == 0 && is_ready()
    });

    // Full again, with nothing to publish that would make room.
    let before = ballast.metadata().unwrap().len();
    let mut more = fs::File::create(disk.join("more")).unwrap();
    while more.write_all(&[0; 4096]).is_ok() {}
    wait_for("the alarm", || {
        running.metric(stopped) == 1 && stop.exists() && !is_ready()
    });
    let parts = lifecycle.faulty_parts();
    assert!(
        parts
            .iter()
            .all(|(part, reason)| part == "disk of ndt" && reason.contains("nearly full")),
        "{parts:?}"
    );
    drop(more);
    fs::remove_file(disk.join("more")).unwrap();
    assert_eq!(
        ballast.metadata().unwrap().len(),
        before,
        "somebody else's file was touched"
    );
    wait_for("room again", || !stop.exists() && is_ready());
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

/// Not a test of its own: no file can be created on this disk but in the place of those that were set aside.
#[test]
fn without_inodes() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    let lab = small_disk(&disk);
    let mut config = lab.config();
    config.reserve_bytes = 100_000;
    set_aside(&lab, &config);
    let stop = lab.spool.admission_stop_file();
    assert!(!stop.exists());

    let many = fill_inodes(&disk);
    let running = Running::start(config, Arc::new(lab.store()));
    wait_for("all files", || running.metric(PUBLISHED) == 100);
    // The publisher keeps its reserve for a while.
    fs::remove_dir_all(many).unwrap();
    let (stopped, held) = (
        "groma_publish_admission_stopped",
        "groma_publish_reserve_held",
    );
    wait_for("room", || {
        running.metric(stopped) == 0 && running.metric(held) == 1 && !stop.exists()
    });
    assert_eq!(
        fs::read_dir(disk.join("state/reserve-inodes"))
            .unwrap()
            .count(),
        32
    );
    let many = fill_inodes(&disk);
    wait_for("the alarm", || {
        running.metric(stopped) == 1 && stop.exists()
    });
    fs::remove_dir_all(many).unwrap();
    wait_for("room again", || !stop.exists());
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

/// Not a test of its own: the disk is the archive's, spool and state are elsewhere.
#[test]
fn the_archive_on_a_small_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    let root = disk.with_file_name("archive");
    symlink(&disk, root.join("archive")).unwrap();
    let mut lab = Lab::new(&root, Form::Jsonl);
    let store = lab.store();
    fill(&disk);
    let running = Running::start(lab.config(), Arc::new(store));
    let stop = lab.spool.admission_stop_file();
    let failures = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"deliver\"}";
    for batch in ["a", "b"] {
        lab.write_some(batch, 10);
        let before = running.metric(failures);
        wait_for("failures", || running.metric(failures) >= before + 2);
        assert_eq!(running.metric(PUBLISHED), 0);
        assert_eq!(lab.left().len(), lab.written.len(), "something is gone");
        assert_eq!(lab.arrived(), []);
        assert!(!stop.exists(), "there is room for tests");
    }
    fs::remove_file(disk.join("ballast")).unwrap();
    wait_for("all files", || running.metric(PUBLISHED) == 20);
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

/// Not a test of its own: spool, state and archive are on one disk, of which nothing is left but what was set aside.
#[test]
fn all_on_a_small_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    // Few, because of every bundle the receipt stays and takes some of the room.
    let lab = lab_with_files(&disk, 30);
    let mut config = lab.config();
    config.reserve_bytes = 300_000;
    config.flush_bytes = 100_000;
    set_aside(&lab, &config);
    // Room for a bundle, but not for its copy in the archive.
    let ballast = fill(&disk);
    let full = ballast.metadata().unwrap().len();
    ballast.set_len(full - 160_000).unwrap();
    let running = Running::start(config, Arc::new(lab.store()));
    let failures = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"deliver\"}";
    wait_for("all files", || running.metric(PUBLISHED) == 30);
    assert!(running.metric(failures) > 0, "the archive was not full");
    ballast.set_len(0).unwrap();
    let stop = lab.spool.admission_stop_file();
    wait_for("room again", || !stop.exists());
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

const TMPFS: &str = "mount -t tmpfs -o size=3m,nr_inodes=400 none \"$GROMA_TEST_DISK\"";
/// With what root and the system's services may fill as well.
const EXT4: &str = "truncate -s 12M \"$GROMA_TEST_DISK.image\" \
    && mkfs.ext4 -q -m 0 -N 400 \"$GROMA_TEST_DISK.image\" \
    && mount -o loop \"$GROMA_TEST_DISK.image\" \"$GROMA_TEST_DISK\"";

/// Runs a test of this file in a mount namespace with a disk of its own. A loop device needs root.
fn in_a_namespace(test: &str, mount: &str) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(dir.path().join("archive")).unwrap();
    let script = format!("{{ {mount}; }} || exit 77; exec \"$0\" --exact {test} --nocapture");
    let mut unshare = Command::new("unshare");
    if mount == TMPFS {
        unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .args(["--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DISK, &disk)
        .output();
    let Ok(output) = output else {
        return groma_tests::skip("no unshare");
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.code() == Some(77) || err.starts_with("unshare:") {
        return groma_tests::skip(&format!("no such disk: {err}"));
    }
    assert!(
        output.status.success() && out.contains("worked off"),
        "{out}{err}"
    );
}

#[test]
fn a_full_disk_is_worked_off_in_small_bundles() {
    in_a_namespace("on_a_small_disk", TMPFS);
}

#[test]
fn what_was_set_aside_lets_publishing_go_on_and_admission_stops_meanwhile() {
    for mount in [TMPFS, EXT4] {
        in_a_namespace("with_a_reserve", mount);
    }
}

#[test]
fn files_that_were_set_aside_let_publishing_go_on_without_inodes() {
    for mount in [TMPFS, EXT4] {
        in_a_namespace("without_inodes", mount);
    }
}

#[test]
fn a_full_archive_costs_time_only() {
    for mount in [TMPFS, EXT4] {
        in_a_namespace("the_archive_on_a_small_disk", mount);
    }
}

#[test]
fn what_was_set_aside_serves_an_archive_on_the_same_disk() {
    in_a_namespace("all_on_a_small_disk", TMPFS);
}
