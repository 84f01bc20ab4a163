//! A disk that is too full for a bundle is worked off all the same, and no test is admitted meanwhile.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Lab, Running, wait_for};
use groma_publish::Form;

const DISK: &str = "GROMA_TEST_DISK";
const PUBLISHED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";

/// A disk of three megabytes with files that no compression makes smaller, and room for their archive elsewhere.
fn small_disk(disk: &Path) -> Lab {
    symlink(disk.with_file_name("archive"), disk.join("archive")).unwrap();
    let mut lab = Lab::new(disk, Form::Tgz);
    for number in 0..100 {
        let bytes: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
        lab.write(&format!("ndt7/2026/01/01/{number}.bin"), &bytes);
    }
    lab
}

/// Fills a disk to its last byte; answers with what.
fn fill(disk: &Path) -> fs::File {
    let mut file = fs::File::create(disk.join("ballast")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    file
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
    let mut nothing = config.clone();
    nothing.datatypes.clear();
    Running::start(nothing, Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 300_000);
    assert!(!stop.exists());

    let ballast = fill(&disk);
    let running = Running::start(config, Arc::new(lab.store()));
    assert!(stop.exists(), "tests are admitted on a full disk");
    wait_for("all files", || running.metric(PUBLISHED) == 100);
    let stopped = "groma_publish_admission_stopped";
    wait_for("room", || !stop.exists());
    wait_for("the reserve", || {
        fs::metadata(&reserve).is_ok_and(|found| found.len() == 300_000)
    });
    wait_for("the end of the alarm", || running.metric(stopped) == 0);

    // Full again, with nothing to publish that would make room.
    let before = ballast.metadata().unwrap().len();
    let mut more = fs::File::create(disk.join("more")).unwrap();
    while more.write_all(&[0; 4096]).is_ok() {}
    wait_for("the alarm", || {
        running.metric(stopped) == 1 && stop.exists()
    });
    drop(more);
    fs::remove_file(disk.join("more")).unwrap();
    assert_eq!(
        ballast.metadata().unwrap().len(),
        before,
        "somebody else's file was touched"
    );
    wait_for("room again", || !stop.exists());
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

fn in_a_namespace(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(dir.path().join("archive")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=3m none \"$GROMA_TEST_DISK\" || exit 77; exec \"$0\" --exact {test} --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
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
        return groma_tests::skip(&format!("no mount namespace: {err}"));
    }
    assert!(
        output.status.success() && out.contains("worked off"),
        "{out}{err}"
    );
}

#[test]
fn a_full_disk_is_worked_off_in_small_bundles() {
    in_a_namespace("on_a_small_disk");
}

#[test]
fn what_was_set_aside_lets_publishing_go_on_and_admission_stops_meanwhile() {
    in_a_namespace("with_a_reserve");
}
