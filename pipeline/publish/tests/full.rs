//! A disk that is too full for a bundle is worked off all the same.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use common::{Lab, Running};
use groma_publish::Form;

const DISK: &str = "GROMA_TEST_DISK";

/// Not a test of its own: it runs in a mount namespace where the directory that its environment names is a disk of
/// three megabytes.
#[test]
fn on_a_small_disk() {
    let Ok(disk) = std::env::var(DISK) else {
        return;
    };
    let disk = PathBuf::from(disk);
    symlink(disk.with_file_name("archive"), disk.join("archive")).unwrap();
    let mut lab = Lab::new(&disk, Form::Tgz);
    // Random bytes, which no compression makes fit.
    for number in 0..100 {
        let bytes: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
        lab.write(&format!("ndt7/2026/01/01/{number}.bin"), &bytes);
    }
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let full = file.metadata().unwrap().len();
    file.set_len(full - 150_000).unwrap();
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    let failures = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"seal\"}";
    let published = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
    common::wait_for("all files", || running.metric(published) == 100);
    assert!(running.metric(failures) > 0, "the disk was not full");
    running.stop().unwrap();
    lab.assert_exactly_once();
    println!("worked off");
}

#[test]
fn a_full_disk_is_worked_off_in_small_bundles() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(dir.path().join("archive")).unwrap();
    let script = "mount -t tmpfs -o size=3m none \"$GROMA_TEST_DISK\" || exit 77; exec \"$0\" --exact on_a_small_disk --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(DISK, &disk)
        .output();
    let Ok(output) = output else {
        return println!("skipped: no unshare");
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.code() == Some(77) || err.starts_with("unshare:") {
        return println!("skipped: no mount namespace: {err}");
    }
    assert!(
        output.status.success() && out.contains("worked off"),
        "{out}{err}"
    );
}
