//! Every file system, every layout of volumes, and what changes when they are mounted again or copied.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{Lab, Late, Running, files_below, wait_for};
use groma_publish::{Config, Form, Publisher};
use groma_service::Lifecycle;
use groma_spool::SpoolPath;
use groma_tests::mount::{Kind, Mount};
use prometheus_client::registry::Registry;

/// Runs a publisher until everything is published.
fn publish_all(lab: &Lab) {
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
}

/// Claims and seals everything while the archive is away, and dies.
fn seal_all(lab: &Lab) {
    let root = lab.root.join("archive");
    fs::write(&root, "not a directory yet").unwrap();
    let running = Running::start(lab.config(), Arc::new(Late { root: root.clone() }));
    let written = lab.written.len() as u64;
    let pending = "groma_publish_pending_files{datatype=\"ndt7\"}";
    wait_for("the claims", || running.metric(pending) == written);
    let failed = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"deliver\"}";
    wait_for("a sealed bundle", || running.metric(failed) > 0);
    // The process is cut off before its publisher ends.
    std::process::abort();
}

/// A laboratory on a file system of its own.
fn on(kind: Kind, dir: &Path) -> Option<(Mount, Lab)> {
    let Some(mount) = Mount::new(kind, dir) else {
        groma_tests::skip(&format!("{kind:?} cannot be mounted here"));
        return None;
    };
    let lab = Lab::new(&mount.path().join("lab"), Form::Tgz);
    Some((mount, lab))
}

fn config(lab: &Lab, lifecycle: &Lifecycle) -> Config {
    let mut config = lab.config();
    config.lifecycle = Some(lifecycle.clone());
    config
}

#[test]
fn every_file_system_publishes_every_file_once() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some((_mount, mut lab)) = on(kind, dir.path()) else {
            continue;
        };
        lab.write_some("before", 30);
        let running = Running::start(lab.config(), Arc::new(lab.store()));
        lab.write_some("meanwhile", 60);
        running.stop().unwrap();
        publish_all(&lab);
        lab.assert_exactly_once();
        assert_eq!(
            files_below(&lab.root.join("state/quarantine")).len(),
            0,
            "{kind:?}"
        );
    }
}

/// Tells this program, started again, where to seal files and die.
const CHILD: &str = "GROMA_TEST_SEAL";

#[test]
fn child() {
    let Ok(root) = std::env::var(CHILD) else {
        return;
    };
    let mut lab = Lab::new(Path::new(&root), Form::Tgz);
    lab.write_some("file", 20);
    seal_all(&lab);
}

/// Seals twenty files in a process that is cut off.
fn seal_and_die(lab: &mut Lab) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(CHILD, &lab.root)
        .output()
        .unwrap();
    assert!(!status.status.success());
    fs::remove_file(lab.root.join("archive")).unwrap();
    for number in 0..20 {
        let path = format!("ndt7/2026/01/{:02}/file-{number}.json", number % 3 + 1);
        let body = format!("{{\"batch\":\"file\",\"number\":{number}}}");
        lab.written.insert(path, body.into_bytes());
    }
    assert!(!files_below(&lab.root.join("state/bundles")).is_empty());
    assert_eq!(files_below(&lab.spool.claimed_dir()).len(), 20);
}

#[test]
fn sealed_files_are_published_once_after_a_remount() {
    for kind in [Kind::Ext4, Kind::Btrfs, Kind::Overlay, Kind::Fuse] {
        let dir = tempfile::tempdir().unwrap();
        let Some((mount, mut lab)) = on(kind, dir.path()) else {
            continue;
        };
        seal_and_die(&mut lab);
        mount.again().unwrap();
        publish_all(&lab);
        lab.assert_exactly_once();
    }
}

#[test]
fn sealed_files_are_published_once_after_a_copy_of_the_volume() {
    let (dir, other) = (common::tempdir(), tempfile::tempdir().unwrap());
    let mut lab = Lab::new(&dir.path().join("lab"), Form::Tgz);
    seal_and_die(&mut lab);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&lab.root)
        .arg(other.path())
        .status();
    assert!(copied.unwrap().success());
    let mut copy = Lab::new(&other.path().join("lab"), Form::Tgz);
    copy.written.clone_from(&lab.written);
    publish_all(&copy);
    copy.assert_exactly_once();
}

#[test]
fn a_new_file_under_the_name_of_a_sealed_one_is_published_too() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    seal_and_die(&mut lab);
    // Which files the bundle holds depends on the order of the claims.
    let bundles = files_below(&lab.root.join("state/bundles"));
    let journal = bundles.iter().find(|path| path.ends_with("bundle.json"));
    let journal = fs::read(journal.unwrap()).unwrap();
    let journal: serde_json::Value = serde_json::from_slice(&journal).unwrap();
    let path = journal["members"][0]["path"].as_str().unwrap();
    let spool_path: SpoolPath = path.parse().unwrap();
    let claimed = lab.spool.claimed_dir().join(format!(
        "ndt7/{}/{}",
        spool_path.date,
        spool_path.file.as_str()
    ));
    let first = fs::read(&claimed).unwrap();
    let modified = fs::metadata(&claimed).unwrap().modified().unwrap();
    // The same size and the same times: only the content differs.
    let second: Vec<u8> = first.iter().map(u8::to_ascii_uppercase).collect();
    assert_eq!(first.len(), second.len());
    fs::write(&claimed, &second).unwrap();
    let file = fs::File::options().write(true).open(&claimed).unwrap();
    file.set_times(common::both_times(modified)).unwrap();
    publish_all(&lab);
    publish_all(&lab);
    let arrived = lab.arrived().into_iter().filter(|file| file.path == path);
    let mut versions: Vec<_> = arrived.map(|file| file.bytes).collect();
    versions.sort();
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(versions, expected);
}

fn publishes(layout: &str, prepare: impl FnOnce(&Path, &Path) -> Option<Mount>) {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let other = dir.path().join("other");
    fs::create_dir_all(&other).unwrap();
    let Some(mount) = prepare(lab.spool.path(), &other) else {
        groma_tests::skip(&format!("{layout} needs root"));
        return;
    };
    lab.write_some("before", 10);
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    lab.write_some("meanwhile", 10);
    // Rows come from events, not only from the walk at the end.
    wait_for(layout, || lab.arrived().len() == 20);
    running.stop().unwrap();
    lab.assert_exactly_once();
    drop(mount);
}

#[test]
fn a_volume_per_datatype_is_published() {
    publishes("a bind mount", |spool, other| {
        Mount::bind(other, &spool.join("ndt7"))
    });
    publishes("a mount", |spool, _| {
        Mount::tmpfs(&spool.join("ndt7"), "size=8m")
    });
    publishes("a link to another disk", |spool, other| {
        let mount = Mount::tmpfs(other, "size=8m")?;
        symlink(other, spool.join("ndt7")).unwrap();
        Some(mount)
    });
}

#[test]
fn files_that_were_claimed_on_another_volume_are_brought_home() {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    seal_and_die(&mut lab);
    let other = dir.path().join("other");
    let Some(mount) = Mount::tmpfs(&other, "size=8m") else {
        groma_tests::skip("mounting a tmpfs needs root");
        return;
    };
    let datatype = lab.spool.path().join("ndt7");
    fs::remove_dir_all(&datatype).unwrap();
    symlink(&other, &datatype).unwrap();
    publish_all(&lab);
    lab.assert_exactly_once();
    drop(mount);
}

#[test]
fn a_directory_in_which_nothing_works_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let datatype = lab.spool.path().join("ndt7");
    let Some(mount) = Mount::tmpfs(&datatype, "size=8m,ro") else {
        groma_tests::skip("mounting a tmpfs needs root");
        return;
    };
    let open = || {
        let opened = Publisher::open(
            lab.config(),
            Arc::new(lab.store()),
            &mut Registry::default(),
        );
        opened.err().map(|error| error.to_string())
    };
    let error = open().unwrap();
    assert!(
        error.contains("spool/ndt/ndt7: Read-only file system"),
        "{error}"
    );
    drop(mount);
    fs::remove_dir(&datatype).unwrap();
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    symlink(&other, &datatype).unwrap();
    let chowned = Command::new("chown")
        .args(["-h", "65534"])
        .arg(&datatype)
        .status();
    assert!(chowned.unwrap().success());
    let error = open().unwrap();
    assert!(error.contains("symbolic link of another user"), "{error}");
    fs::remove_file(&datatype).unwrap();
    assert_eq!(open(), None);
}

#[test]
fn a_volume_below_a_datatype_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let datatype = lab.spool.path().join("ndt7");
    for below in ["2026", "2026/01", "2026/01/01"] {
        let other = dir.path().join("other");
        fs::create_dir_all(&other).unwrap();
        let Some(mount) = Mount::bind(&other, &datatype.join(below)) else {
            groma_tests::skip("a bind mount needs root");
            return;
        };
        let opened = Publisher::open(
            lab.config(),
            Arc::new(lab.store()),
            &mut Registry::default(),
        );
        let error = opened.err().map(|error| error.to_string()).unwrap();
        let named = format!("ndt7/{below}: it is on another volume");
        assert!(error.contains(&named), "{error}");
        drop(mount);
    }
    publish_all(&lab);
}

#[test]
fn a_replaced_experiment_directory_is_published_without_a_restart() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    lab.write_some("first", 3);
    wait_for("the first", || lab.arrived().len() == 3);
    fs::remove_dir_all(lab.spool.path()).unwrap();
    let datatype = "ndt7".parse().unwrap();
    lab.spool.probe(&datatype).unwrap();
    lab.write_some("second", 3);
    wait_for("the second", || lab.arrived().len() == 6);
    running.stop().unwrap();
    lab.assert_exactly_once();
}

const BLOCKED: &str = "groma_publish_blocked_files{datatype=\"ndt7\",reason=";

fn adds_up(running: &Running) -> bool {
    let state = |name: &str| {
        running.metric(&format!(
            "groma_publish_files_total{{datatype=\"ndt7\",state=\"{name}\"}}"
        ))
    };
    let pending = running.metric("groma_publish_pending_files{datatype=\"ndt7\"}");
    let reasons = ["name", "kind", "permission", "other_volume", "links"];
    let blocked: u64 = reasons
        .iter()
        .map(|reason| running.metric(&format!("{BLOCKED}\"{reason}\"}}")))
        .sum();
    let parts = ["published", "quarantined", "dropped"].map(state);
    state("spooled") == pending + blocked + parts.iter().sum::<u64>()
}

#[test]
fn files_that_cannot_be_claimed_are_counted_and_make_the_publisher_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_mount, mut lab)) = on(Kind::Ext4, dir.path()) else {
        return;
    };
    let lifecycle = Lifecycle::new();
    let chattr = |flag: &str, path: &Path| {
        let status = Command::new("chattr").arg(flag).arg(path).status();
        assert!(status.unwrap().success());
    };
    lab.write_some("good", 3);
    let day = lab.spool.path().join("ndt7/2026/01/01");
    let stuck = day.join("stuck.json");
    fs::write(&stuck, "{}").unwrap();
    chattr("+i", &stuck);
    let running = Running::start(config(&lab, &lifecycle), Arc::new(lab.store()));
    wait_for("the good files", || lab.arrived().len() == 3);
    wait_for("the immutable file", || {
        running.metric(&format!("{BLOCKED}\"permission\"}}")) == 1
    });
    wait_for("a fault", || {
        lifecycle
            .faulty_parts()
            .iter()
            .any(|(_, reason)| reason.contains("stuck.json"))
    });
    wait_for("the sum", || adds_up(&running));
    let odd = lab.spool.path().join("ndt7/odd name.json");
    fs::write(&odd, "{}").unwrap();
    wait_for("the odd name", || {
        running.metric(&format!("{BLOCKED}\"name\"}}")) == 1
    });
    wait_for("the sum", || adds_up(&running));
    chattr("-i", &stuck);
    lab.written
        .insert("ndt7/2026/01/01/stuck.json".to_owned(), b"{}".to_vec());
    wait_for("the file", || lab.arrived().len() == 4);
    wait_for("the sum", || adds_up(&running));
    assert_eq!(running.metric(&format!("{BLOCKED}\"permission\"}}")), 0);
    fs::remove_file(&odd).unwrap();
    running.stop().unwrap();
    lab.assert_exactly_once();
}
