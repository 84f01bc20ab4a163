//! The watch against a real kernel.

use super::*;
use std::collections::BTreeSet;

/// Collects until the tree has been silent for a moment.
fn all(tree: &mut TreeWatch) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let more = tree.wait(Duration::from_millis(200)).unwrap();
        if more.is_empty() {
            return changes;
        }
        changes.extend(more);
    }
}

fn files(changes: &[Change]) -> BTreeSet<PathBuf> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::File { path, .. } => Some(path.clone()),
            Change::Rescan => None,
        })
        .collect()
}

#[test]
fn a_closed_and_a_moved_file_are_told_an_open_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::new(dir.path()).unwrap();
    let open = fs::File::create(dir.path().join("open")).unwrap();
    fs::write(dir.path().join("closed"), "x").unwrap();
    fs::write(dir.path().join(".hidden"), "x").unwrap();
    fs::rename(dir.path().join(".hidden"), dir.path().join("moved")).unwrap();
    let told = files(&all(&mut tree));
    assert_eq!(
        told,
        ["closed", "moved"]
            .iter()
            .map(|name| dir.path().join(name))
            .collect()
    );
    drop(open);
    assert_eq!(all(&mut tree).len(), 1);
}

#[test]
fn files_of_a_directory_made_and_filled_at_once_are_all_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::new(dir.path()).unwrap();
    let mut expected = BTreeSet::new();
    for day in 1..=28 {
        let date = dir.path().join(format!("ndt7/2026/02/{day:02}"));
        fs::create_dir_all(&date).unwrap();
        for serial in 0..20 {
            let path = date.join(format!("{serial}.json"));
            fs::write(&path, "{}").unwrap();
            expected.insert(path);
        }
    }
    assert_eq!(files(&all(&mut tree)), expected);
}

#[test]
fn hidden_directories_and_links_are_not_entered() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::new(dir.path()).unwrap();
    fs::create_dir(dir.path().join(".tmp")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    all(&mut tree);
    fs::write(dir.path().join(".tmp/a"), "x").unwrap();
    fs::write(outside.path().join("b"), "x").unwrap();
    assert_eq!(all(&mut tree), []);
}

#[test]
fn a_missing_root_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(TreeWatch::new(&dir.path().join("none")).is_err());
}

#[test]
fn a_root_that_is_removed_is_an_error_and_a_new_one_in_its_place_a_rescan() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut tree = TreeWatch::new(&root).unwrap();
    fs::remove_dir(&root).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "x").unwrap();
    assert!(all(&mut tree).contains(&Change::Rescan));
    fs::write(root.join("b"), "x").unwrap();
    assert!(files(&all(&mut tree)).contains(&root.join("b")));
    fs::remove_dir_all(&root).unwrap();
    let ended = tree.wait(std::time::Duration::from_secs(10));
    assert!(ended.is_err(), "{ended:?}");
}

#[test]
fn an_overflowing_queue_is_told_as_a_rescan() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if limit > 100_000 {
        println!("skipped: the kernel's queue of {limit} events is too long to fill here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::new(dir.path()).unwrap();
    for serial in 0..=limit {
        // Two names in turn, because the kernel merges equal events that follow each other.
        fs::write(dir.path().join(format!("{}", serial % 2)), "x").unwrap();
    }
    assert!(all(&mut tree).contains(&Change::Rescan));
    fs::write(dir.path().join("after"), "x").unwrap();
    assert!(files(&all(&mut tree)).contains(&dir.path().join("after")));
}

/// A file of `dir` is reported although another directory below the root cannot be watched.
fn still_tells(tree: &mut TreeWatch, dir: &Path, unwatched: usize) {
    let told = all(tree);
    assert!(told.contains(&Change::Rescan), "{told:?}");
    assert_eq!(tree.unwatched(), unwatched);
    fs::write(dir.join("file"), "x").unwrap();
    assert!(files(&all(tree)).contains(&dir.join("file")));
}

#[test]
fn a_path_too_long_for_the_kernel_does_not_end_the_watch() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::with_max_depth(dir.path(), 1000).unwrap();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut inner = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
    for _ in 0..30 {
        let name = "n".repeat(200);
        mkdirat(&inner, &name, Mode::RWXU).unwrap();
        inner = openat(&inner, &name, flags, Mode::empty()).unwrap();
    }
    still_tells(&mut tree, dir.path(), 1);
    let mut later = TreeWatch::with_max_depth(dir.path(), 1000).unwrap();
    still_tells(&mut later, dir.path(), 1);
}

#[test]
fn a_directory_that_may_not_be_read_does_not_end_the_watch() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use std::os::unix::fs::PermissionsExt as _;
    // Capabilities are the thread's own, so what root may is given up for this test alone.
    let test = std::thread::spawn(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        let (made, kept) = (dir.path().join(".made"), dir.path().join("kept"));
        fs::create_dir(&made).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o000)).unwrap();
        fs::rename(&made, &kept).unwrap();
        still_tells(&mut tree, dir.path(), 1);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
        let error = TreeWatch::new(dir.path()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    });
    test.join().unwrap();
}

#[test]
fn what_lies_too_deep_is_left_out_and_asked_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let deepest = dir.path().join("1/2");
    let mut tree = TreeWatch::with_max_depth(dir.path(), 2).unwrap();
    fs::create_dir_all(deepest.join("3/4")).unwrap();
    fs::create_dir_all(deepest.join("other/4")).unwrap();
    let told = all(&mut tree);
    assert_eq!(told, [Change::Rescan], "one for both");
    assert_eq!(tree.unwatched(), 2);
    fs::write(deepest.join("3/unseen"), "x").unwrap();
    fs::write(deepest.join("seen"), "x").unwrap();
    let seen = BTreeSet::from([deepest.join("seen")]);
    assert_eq!(files(&all(&mut tree)), seen);
}

#[test]
fn what_can_be_watched_again_is_found_at_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::with_max_depth(dir.path(), 1).unwrap();
    fs::create_dir_all(dir.path().join("1/2")).unwrap();
    assert_eq!(all(&mut tree), [Change::Rescan]);
    tree.max_depth = 2;
    tree.retry_at = Some(Instant::now());
    assert_eq!(all(&mut tree), [Change::Rescan]);
    assert_eq!((tree.unwatched(), tree.retry_at), (0, None));
    let file = dir.path().join("1/2/file");
    fs::write(&file, "x").unwrap();
    assert_eq!(files(&all(&mut tree)), BTreeSet::from([file]));
}

#[test]
fn running_out_of_watches_does_not_end_the_watch() {
    const INSIDE: &str = "GROMA_WATCH_TEST_LIMITED";
    if std::env::var_os(INSIDE).is_some() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..10 {
            fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let mut tree = TreeWatch::new(dir.path()).unwrap();
        return still_tells(&mut tree, dir.path(), 7);
    }
    // The limit is that of a user namespace, and a process enters one only while it has one thread.
    let limit = "echo 4 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let test = "tests::running_out_of_watches_does_not_end_the_watch";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", limit, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, "1")
        .output();
    match output {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            assert!(output.status.success(), "{output:?}");
        }
        none if std::env::var_os("GROMA_REQUIRE_ALL").is_some() => panic!("{none:?}"),
        _ => println!("skipped: no user namespace with a limit of its own"),
    }
}

#[test]
fn a_list_that_nobody_takes_becomes_a_rescan() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TreeWatch::new(dir.path()).unwrap();
    for serial in 0..=MAX_CHANGES {
        tree.report(dir.path().join(serial.to_string()), true);
    }
    assert_eq!(tree.found[0], Change::Rescan);
    assert_eq!(tree.found.len(), 2);
}
