//! Violations of the spool's contract are recorded with the file name. The operator's state stays private and limited.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::{Lab, Running, files_below, wait_for};
use groma_publish::{Form, Publisher, Quarantine, Wanted, find_receipts};
use prometheus_client::registry::Registry;
use rustix::fs::{CWD, FileType, Mode, mknodat};

const DAY: &str = "ndt7/2026/01/01";
const PUBLISHED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
const QUARANTINED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"quarantined\"}";

/// Kind and file of everything on record.
fn events(state: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(state.join("events.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let part = |key: &str| line[key].as_str().unwrap().to_owned();
            assert!(part("time").parse::<jiff::Timestamp>().is_ok());
            assert!(!part("detail").is_empty());
            (part("kind"), part("file"))
        })
        .collect()
}

#[test]
fn every_breach_is_on_record_with_its_file() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let state = dir.path().join("state");
    let mut config = lab.config();
    config.writer_probe = Some(groma_lease::has_writer);
    let day = lab.spool.path().join(DAY);
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("a b.json"), "{}").unwrap();
    mknodat(CWD, day.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let null = rustix::fs::makedev(1, 3);
        mknodat(
            CWD,
            day.join("device"),
            FileType::CharacterDevice,
            Mode::RWXU,
            null,
        )
        .unwrap();
    } else {
        groma_tests::skip("a device node needs root");
    }
    // Never modified again, and never closed.
    let held = File::create(day.join("held")).unwrap();
    // Claimed, and deleted by another program right after the listing: only a race can do this.
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let running = Running::start(config, Arc::new(lab.store()));
    // A close event was seen, and another process still has the file open.
    let mut reopened = File::create(day.join("reopened")).unwrap();
    File::options()
        .append(true)
        .open(day.join("reopened"))
        .unwrap()
        .write_all(b"1")
        .unwrap();
    let has = |kind: &str, file: &str| {
        events(&state).contains(&(kind.to_owned(), format!("{DAY}/{file}")))
    };
    wait_for("the reopened file", || has("reopened", "reopened"));
    for (kind, file) in [
        ("name", "a b.json"),
        ("kind", "pipe"),
        ("held_open", "held"),
        ("kind", "device"),
    ] {
        assert!(
            has(kind, file) || (file == "device" && !is_root),
            "{kind} {file}"
        );
    }
    reopened.write_all(b"2").unwrap();
    drop(reopened);
    drop(held);
    lab.written.insert(format!("{DAY}/reopened"), b"2".to_vec());
    lab.written.insert(format!("{DAY}/held"), Vec::new());
    wait_for("all that can be", || running.metric(PUBLISHED) == 3);
    running.stop().unwrap();
    for (_, file) in events(&state) {
        let _ = fs::remove_file(lab.spool.path().join(file));
    }
    lab.assert_exactly_once();
}

#[test]
fn claimed_files_that_are_deleted_before_their_bundle_count_as_dropped() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Tgz);
    for name in ["a", "b"] {
        let path = format!("{DAY}/{name}").parse().unwrap();
        lab.spool.write(&path, b"x").unwrap();
    }
    let mut config = lab.config();
    config.flush_age = Duration::from_secs(2);
    let running = Running::start(config, Arc::new(lab.store()));
    let pending = "groma_publish_pending_files{datatype=\"ndt7\"}";
    wait_for("the claims", || running.metric(pending) == 2);
    fs::remove_dir_all(lab.spool.claimed_dir().join("ndt7")).unwrap();
    let dropped = "groma_publish_files_total{datatype=\"ndt7\",state=\"dropped\"}";
    wait_for("the drop", || running.metric(dropped) == 2);
    assert_eq!(running.metric(pending), 0);
    running.stop().unwrap();
    assert_eq!(lab.arrived().len(), 0);
    let event = ("deleted".to_owned(), "ndt7".to_owned());
    assert_eq!(events(&dir.path().join("state")), [event]);
}

#[test]
fn what_somebody_else_deletes_is_on_record_and_counted_as_dropped() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let bytes: Vec<u8> = (0..40_000_000).map(|_| rand::random()).collect();
    lab.write(&format!("{DAY}/a-large"), &bytes);
    lab.spool
        .write(&format!("{DAY}/z-last").parse().unwrap(), b"x")
        .unwrap();
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    // While the first is compressed, the second is listed already.
    wait_for("the bundle", || {
        !files_below(&dir.path().join("state/bundles")).is_empty()
    });
    fs::remove_file(lab.spool.claimed_dir().join("ndt7/2026-01-01/z-last")).unwrap();
    wait_for("the first", || running.metric(PUBLISHED) == 1);
    let dropped = "groma_publish_files_total{datatype=\"ndt7\",state=\"dropped\"}";
    wait_for("the drop", || running.metric(dropped) == 1);
    running.stop().unwrap();
    let recorded = events(&dir.path().join("state"));
    let [(kind, file)] = &recorded[..] else {
        panic!("{recorded:?}");
    };
    assert_eq!(kind, "deleted");
    // The bundle names the file if it was deleted after the listing; else it is missing among all that were claimed.
    assert!(
        [&format!("{DAY}/z-last"), "ndt7"].contains(&&file[..]),
        "{file}"
    );
    lab.assert_exactly_once();
}

#[test]
fn the_state_is_the_operators_alone() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    lab.write(&format!("{DAY}/good.json"), b"{}");
    lab.spool
        .write(&format!("{DAY}/bad.json").parse().unwrap(), b"{")
        .unwrap();
    let state = dir.path().join("state");
    let config = lab.config();
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state), 0o700);
    let files = files_below(&state);
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        let mut dir = file.parent().unwrap();
        while dir != state {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
            dir = dir.parent().unwrap();
        }
    }
}

#[test]
fn a_state_directory_that_was_there_stays_open_and_what_is_made_in_it_is_closed() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let state = dir.path().join("state");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for path in [&state, &state.join("another's"), &state.join("receipts")] {
        open(path);
    }
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert_eq!(mode(&state), 0o755);
    assert_eq!(mode(&state.join("another's")), 0o755);
    assert_eq!(mode(&state.join("receipts")), 0o700);
    assert_eq!(mode(&state.join("bundles")), 0o700);
    lab.assert_exactly_once();
}

#[test]
fn a_full_quarantine_holds_its_datatype_up_and_deletes_nothing() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Jsonl);
    let mut config = lab.config();
    config.quarantine_max_bytes = 3 * 8192;
    for number in 0..4 {
        let path = format!("{DAY}/bad-{number}.json").parse().unwrap();
        lab.spool.write(&path, "{".repeat(80).as_bytes()).unwrap();
    }
    let running = Running::start(config, Arc::new(lab.store()));
    let full = "groma_publish_quarantine_full{datatype=\"ndt7\"}";
    wait_for("the alarm", || running.metric(full) == 1);
    assert!(running.metric(QUARANTINED) < 4);
    // Nothing more is picked up, and nothing is lost.
    let path = format!("{DAY}/later.json").parse().unwrap();
    let later = lab.spool.write(&path, b"{}").unwrap();
    let quarantine = Quarantine::open(&dir.path().join("state"));
    for file in quarantine.list().unwrap() {
        quarantine.drop(&file, "a test").unwrap();
    }
    wait_for("room", || {
        running.metric(QUARANTINED) == 4 && running.metric(full) == 0
    });
    running.stop().unwrap();
    assert!(!later.exists());
    assert_eq!(lab.arrived().len(), 1);
}

#[test]
fn what_is_not_read_leaves_the_claimed_files_also_for_another_file_system() {
    let dir = tempfile::tempdir_in("/dev/shm").ok();
    let state = tempfile::tempdir().unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let Some(dir) = dir.filter(|dir| device(dir.path()) != device(state.path())) else {
        return groma_tests::skip("/dev/shm and the temporary directory are one file system");
    };
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/good.json"), b"{}");
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let claimed = lab.spool.claimed_dir().join("ndt7/2026-01-01");
    fs::create_dir_all(&claimed).unwrap();
    symlink(&secret, claimed.join("symlink")).unwrap();
    fs::hard_link(&secret, claimed.join("hardlink")).unwrap();
    mknodat(CWD, claimed.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut config = lab.config();
    config.state_dir = state.path().join("state");
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    let listed = Quarantine::open(&state.path().join("state"))
        .list()
        .unwrap();
    let reasons: Vec<_> = listed
        .iter()
        .map(|file| (&*file.id, &*file.reason))
        .collect();
    let id = |name: &str| format!("ndt7/2026-01-01/{name}");
    assert_eq!(
        reasons,
        [
            (&*id("hardlink"), "it has several hard links"),
            (&*id("pipe"), "it is not a regular file"),
            (&*id("symlink"), "it is a symbolic link"),
        ]
    );
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    lab.assert_exactly_once();
}

#[test]
fn a_file_beyond_the_limit_goes_to_quarantine_with_its_reason() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write(&format!("{DAY}/small.pcap.gz"), &[7; 100]);
    let path = format!("{DAY}/large.pcap.gz").parse().unwrap();
    lab.spool.write(&path, &[7; 101]).unwrap();
    let mut config = lab.config();
    config.max_file_bytes = 100;
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    let listed = Quarantine::open(&dir.path().join("state")).list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].reason, "it has more than 100 bytes");
    lab.assert_exactly_once();
}

#[test]
fn a_flush_archives_what_is_not_due() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.flush_age = Duration::from_hours(24);
    let mut registry = Registry::default();
    let publisher = Publisher::open(config, Arc::new(lab.store()), &mut registry).unwrap();
    let flusher = publisher.flusher();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let running = std::thread::spawn(move || publisher.run(told));
    lab.write_some("a", 9);
    flusher.flush();
    wait_for("the archive", || lab.arrived().len() == 9);
    stop.store(true, std::sync::atomic::Ordering::Release);
    running.join().unwrap().unwrap();
    lab.assert_exactly_once();
}

#[test]
fn receipts_expire_by_the_day() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let wanted = |name: &str| Wanted::File(name.to_owned());
    let state = dir.path().join("state");
    lab.write(&format!("{DAY}/old.json"), b"{}");
    let mut config = lab.config();
    config.clock = || jiff::Timestamp::now() - jiff::SignedDuration::from_hours(10 * 24);
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    assert_eq!(find_receipts(&state, &wanted("old.json")).unwrap().len(), 1);
    lab.write(&format!("{DAY}/new.json"), b"{}");
    // Ten days in which a publisher ran.
    let now = jiff::Timestamp::now().to_string();
    fs::write(state.join("receipts-clock"), now).unwrap();
    let mut config = lab.config();
    config.receipts_kept = Duration::from_hours(9 * 24);
    let running = Running::start(config, Arc::new(lab.store()));
    wait_for("the old one's end", || {
        find_receipts(&state, &wanted("old.json"))
            .unwrap()
            .is_empty()
    });
    running.stop().unwrap();
    assert_eq!(find_receipts(&state, &wanted("new.json")).unwrap().len(), 1);
    lab.assert_exactly_once();
}

#[test]
fn every_file_is_published_pending_quarantined_or_dropped() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    let metric = |running: &Running, state: &str| {
        running.metric(&format!(
            "groma_publish_files_total{{datatype=\"ndt7\",state=\"{state}\"}}"
        ))
    };
    let pending =
        |running: &Running| running.metric("groma_publish_pending_files{datatype=\"ndt7\"}");
    let sums = |running: &Running| {
        let states = ["spooled", "published", "quarantined", "dropped"];
        let [spooled, rest @ ..] = states.map(|state| metric(running, state));
        (spooled, rest, pending(running))
    };
    lab.write_some("a", 5);
    for name in ["bad", "worse"] {
        let path = format!("ndt7/2026/01/01/{name}.json").parse().unwrap();
        lab.spool.write(&path, b"{").unwrap();
    }
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    wait_for("the good and the bad", || {
        sums(&running) == (7, [5, 2, 0], 0)
    });
    // An archive that is down keeps three waiting, of which one is deleted by its owner before it is bundled.
    let archive = dir.path().join("archive/.tmp");
    fs::remove_dir(&archive).unwrap();
    lab.write("ndt7/2026/01/05/first.json", b"{}");
    wait_for("a bundle", || {
        !files_below(&dir.path().join("state/bundles")).is_empty()
    });
    lab.write("ndt7/2026/01/05/second.json", b"{}");
    lab.spool
        .write(&"ndt7/2026/01/05/gone.json".parse().unwrap(), b"{}")
        .unwrap();
    wait_for("the claims", || sums(&running) == (10, [5, 2, 0], 3));
    fs::remove_file(lab.spool.claimed_dir().join("ndt7/2026-01-05/gone.json")).unwrap();
    fs::create_dir(&archive).unwrap();
    // Whether the deletion is seen depends on when the files are listed; the sum does not.
    wait_for("delivery", || {
        let (spooled, [published, quarantined, dropped], pending) = sums(&running);
        (spooled, published, quarantined) == (10, 7, 2) && pending + dropped == 1
    });
    running.stop().unwrap();
    // The next publisher counts the files again.
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    wait_for("nothing to do", || sums(&running) == (0, [0, 0, 0], 0));
    running.stop().unwrap();
    lab.assert_exactly_once();
}
