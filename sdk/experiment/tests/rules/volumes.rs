//! A datatype's directory may be on another volume than the experiment's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use groma_disk::RENAME_LOCK;
use groma_tests::mount::{Kind, Mount};

use crate::common::{Lab, okay, result_file};

fn leaves_a_result(lab: &mut Lab, layout: &str) {
    let experiment = lab.experiment();
    let mut test = experiment.admit(&[]).unwrap();
    test.connection(fs::File::open("/dev/null").unwrap());
    let file = result_file("rows", "row-1.json", b"{}");
    let written = test.finish(&okay(), Some(file)).unwrap().unwrap();
    assert_eq!(fs::read(&written).unwrap(), b"{}", "{layout}");
    for tmp in [".tmp", "rows/.tmp"] {
        let left = fs::read_dir(lab.data_dir().join(tmp)).into_iter().flatten();
        // The lock of renames stays where the file system needs one.
        let left = left.filter(|entry| entry.as_ref().unwrap().file_name() != RENAME_LOCK);
        assert_eq!(left.count(), 0, "{layout}: {tmp}");
    }
}

fn with_root(layout: &str, prepare: impl FnOnce(&Path, &Path) -> Option<Mount>) {
    let mut lab = Lab::new();
    let other = lab.dir.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::create_dir_all(lab.data_dir()).unwrap();
    let Some(_keep) = prepare(&lab.data_dir(), &other) else {
        groma_tests::skip(&format!("{layout} needs root"));
        return;
    };
    leaves_a_result(&mut lab, layout);
}

#[test]
fn a_datatype_that_is_a_bind_mount_keeps_its_results() {
    with_root("a bind mount", |dir, other| {
        Mount::bind(other, &dir.join("rows"))
    });
}

#[test]
fn a_datatype_that_is_a_mount_keeps_its_results() {
    with_root("a mount", |dir, _| {
        Mount::tmpfs(&dir.join("rows"), "size=8m")
    });
}

#[test]
fn a_date_directory_that_is_a_mount_keeps_its_results() {
    with_root("a mounted year", |dir, _| {
        Mount::tmpfs(&dir.join("rows/2026"), "size=8m")
    });
}

#[test]
fn a_datatype_that_is_linked_to_another_disk_keeps_its_results() {
    with_root("a link to another disk", |dir, other| {
        let mount = Mount::tmpfs(other, "size=8m")?;
        symlink(other, dir.join("rows")).unwrap();
        Some(mount)
    });
}

#[test]
fn a_datatype_that_is_a_btrfs_subvolume_keeps_its_results() {
    let mut lab = Lab::new();
    let Some(disk) = Mount::new(Kind::Btrfs, &lab.dir.path().join("disk")) else {
        groma_tests::skip("mounting btrfs needs root");
        return;
    };
    fs::create_dir_all(lab.data_dir().parent().unwrap()).unwrap();
    fs::create_dir(disk.path().join("sample")).unwrap();
    let made = std::process::Command::new("btrfs")
        .args(["-q", "subvolume", "create"])
        .arg(disk.path().join("sample/rows"))
        .status();
    assert!(made.unwrap().success());
    symlink(disk.path().join("sample"), lab.data_dir()).unwrap();
    leaves_a_result(&mut lab, "a subvolume");
}

#[test]
fn every_file_system_keeps_results() {
    for kind in Kind::ALL {
        let mut lab = Lab::new();
        let Some(disk) = Mount::new(kind, &lab.dir.path().join("disk")) else {
            groma_tests::skip(&format!("{kind:?} cannot be mounted here"));
            continue;
        };
        fs::create_dir(disk.path().join("spool")).unwrap();
        symlink(disk.path().join("spool"), lab.dir.path().join("spool")).unwrap();
        leaves_a_result(&mut lab, &format!("{kind:?}"));
    }
}
