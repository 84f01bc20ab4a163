//! Clocks that cannot be right, and state directories with anything in them.

mod common;

use std::fs;
use std::sync::Arc;

use common::{Lab, Running, wait_for};
use groma_publish::{Form, Quarantine, Wanted, find_receipts};
use jiff::{SignedDuration, Timestamp};

const DAY: &str = "ndt7/2026/01/01";

#[test]
fn a_file_of_1970_is_published() {
    for form in [Form::Tgz, Form::Jsonl] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        lab.write("ndt7/1970/01/01/first.json", b"{}");
        let mut config = lab.config();
        config.clock = || Timestamp::from_second(5).unwrap();
        lab.write(&format!("{DAY}/second.json"), b"{}");
        let running = Running::start(config, Arc::new(lab.store()));
        running.stop().unwrap();
        lab.assert_exactly_once();
        let wanted = Wanted::File("first.json".to_owned());
        let found = || {
            find_receipts(&dir.path().join("state"), &wanted)
                .unwrap()
                .len()
        };
        assert_eq!(found(), 1);
        // The clock is right again: the receipts of 1970 are not old.
        lab.write(&format!("{DAY}/third.json"), b"{}");
        let running = Running::start(lab.config(), Arc::new(lab.store()));
        running.stop().unwrap();
        lab.assert_exactly_once();
        assert_eq!(found(), 1);
    }
}

#[test]
fn a_clock_that_starts_months_ahead_deletes_no_receipt() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let state = dir.path().join("state");
    let found = |name: &str| find_receipts(&state, &Wanted::File(name.to_owned())).unwrap();
    lab.write(&format!("{DAY}/first.json"), b"{}");
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    running.stop().unwrap();
    for known_clock in [true, false] {
        if !known_clock {
            // As an earlier version left it.
            fs::remove_file(state.join("receipts-clock")).unwrap();
        }
        let mut config = lab.config();
        config.clock = || Timestamp::now() + SignedDuration::from_hours(24 * 120);
        let path = format!("{DAY}/ahead-{known_clock}.json");
        lab.write(&path, b"{}");
        let running = Running::start(config, Arc::new(lab.store()));
        let name = format!("ahead-{known_clock}.json");
        wait_for("the file", || !found(&name).is_empty());
        running.stop().unwrap();
        assert_eq!(found("first.json").len(), 1);
    }
    lab.assert_exactly_once();
}

#[test]
fn no_content_of_the_state_directory_stops_the_publisher() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let state = dir.path().join("state");
    lab.write(&format!("{DAY}/first.json"), b"{}");
    let running = Running::start(lab.config(), Arc::new(lab.store()));
    running.stop().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let journal = |id: &str, body: &str| {
        serde_json::json!({
            "id": id, "experiment": "ndt", "datatype": "ndt7", "date": "2026-01-01", "form": "tgz",
            "objects": [{"name": "x", "body": body, "size_bytes": 1, "sha256": ""}],
            "members": [{"path": "ndt7/2026/01/01/a.json", "member": "a", "sha256": "", "size_bytes": 1}],
        })
        .to_string()
    };
    for (name, text) in [
        ("garbage", "{".to_owned()),
        ("empty", String::new()),
        ("binary", "\0\u{1}".repeat(100)),
        ("leads-out", journal("../../outside/x", "data.tgz")),
        (
            "body-leads-out",
            journal("body-leads-out", "../../../outside/x"),
        ),
        ("no-body", journal("no-body", "data.tgz")),
    ] {
        let bundle = state.join("bundles").join(name);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("bundle.json"), text).unwrap();
    }
    fs::write(state.join("bundles/a-file"), "").unwrap();
    fs::create_dir_all(state.join("conflict/garbage/in-the-way")).unwrap();
    fs::create_dir_all(state.join("receipts/9999-12-31")).unwrap();
    fs::write(state.join("receipts/9999-12-31/x.json"), "[]").unwrap();
    fs::write(state.join("receipts/9999-12-31/x.keys"), "gromkey1").unwrap();
    fs::write(state.join("receipts/a-file"), "").unwrap();
    let odd = state.join("quarantine/ndt7/2026-01-01");
    fs::create_dir_all(&odd).unwrap();
    // The 150th byte is within a character.
    fs::write(odd.join(format!("a{}", "é".repeat(110))), "").unwrap();
    for damaged in ["last-moment", "receipts-clock"] {
        for content in ["9999-12-30T22:00:00.999999999Z", "", "\0\0\0\0"] {
            fs::write(state.join(damaged), content).unwrap();
            let path = format!("{DAY}/{damaged}-{}.json", content.len());
            lab.write(&path, b"{}");
            let running = Running::start(lab.config(), Arc::new(lab.store()));
            running.stop().unwrap();
        }
    }
    assert_eq!(lab.arrived().len(), lab.written.len());
    Quarantine::open(&state).list().unwrap();
    let found = find_receipts(&state, &Wanted::File("first.json".to_owned())).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn everything_has_an_explicit_mode_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    // The umask is the whole process's: this test has one of its own.
    const CHILD: &str = "GROMA_TEST_MODES";
    if let Ok(root) = std::env::var(CHILD) {
        rustix::process::umask(rustix::fs::Mode::empty());
        let mut lab = Lab::new(root.as_ref(), Form::Tgz);
        lab.write_some("some", 5);
        lab.write(&format!("{DAY}/bad.json"), b"{");
        let mut config = lab.config();
        config.datatypes[0].schema = Some(groma_schema::Schema { fields: Vec::new() });
        config.reserve_bytes = 4096;
        let running = Running::start(config, Arc::new(lab.store()));
        running.stop().unwrap();
        return;
    }
    let dir = common::tempdir();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "everything_has_an_explicit_mode_whatever_the_umask",
        ])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert!(status.status.success());
    let mut waiting = vec![dir.path().join("spool"), dir.path().join("state")];
    waiting.push(dir.path().join("archive"));
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{path:?} {mode:o}");
        seen += 1;
        if path
            .file_name()
            .is_some_and(|name| name == "lock" || name == ".claimed" || name == ".tmp")
        {
            assert_eq!(
                mode & 0o077,
                0,
                "{path:?} {mode:o}: others can hold locks on it"
            );
        }
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    assert!(seen > 20, "only {seen} files and directories");
}
