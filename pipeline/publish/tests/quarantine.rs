//! Actions of an operator on files that were not published.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use common::{Lab, Running, files_below};
use groma_publish::{Form, Quarantine};

fn run(lab: &Lab) {
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
}

#[test]
fn a_file_is_listed_with_its_reason_released_and_dropped_and_all_that_is_on_record() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    lab.write("ndt7/2026/01/01/good.json", b"{}");
    for (name, body) in [("bad.json", &b"{\"a\":\n}"[..]), ("worse.json", b"[")] {
        let path = format!("ndt7/2026/01/01/{name}").parse().unwrap();
        lab.spool.write(&path, body).unwrap();
    }
    run(&lab);
    lab.assert_exactly_once();
    let state = dir.path().join("state");
    let quarantine = Quarantine::open(&state);
    let listed = quarantine.list().unwrap();
    let ids: Vec<_> = listed.iter().map(|file| file.id.as_str()).collect();
    assert_eq!(
        ids,
        ["ndt7/2026-01-01/bad.json", "ndt7/2026-01-01/worse.json"]
    );
    assert!(listed[0].reason.contains("line 2"), "{}", listed[0].reason);
    let bad = state.join("quarantine/ndt7/2026-01-01/bad.json");
    assert_eq!(
        fs::metadata(&bad).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The operator repairs one and drops the other.
    fs::write(&bad, b"{\"a\":1}").unwrap();
    quarantine
        .release(&listed[0], &lab.spool, "an operator")
        .unwrap();
    quarantine.drop(&listed[1], "an operator").unwrap();
    assert_eq!(quarantine.list().unwrap(), []);
    lab.written
        .insert("ndt7/2026/01/01/bad.json".to_owned(), b"{\"a\":1}".to_vec());
    run(&lab);
    lab.assert_exactly_once();
    let log = state.join("quarantine/audit.jsonl");
    assert_eq!(
        files_below(&state.join("quarantine")),
        std::slice::from_ref(&log)
    );
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (&line["action"], &line["by"], &line["path"]))
        .collect();
    assert_eq!(
        serde_json::to_value(told).unwrap(),
        serde_json::json!([
            ["release", "an operator", "ndt7/2026/01/01/bad.json"],
            ["drop", "an operator", "ndt7/2026/01/01/worse.json"],
        ])
    );
}

#[test]
fn ids_lead_nowhere_else_and_links_are_not_followed() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Tgz);
    let day = dir.path().join("state/quarantine/ndt7/2026-01-01");
    fs::create_dir_all(&day).unwrap();
    fs::write(dir.path().join("secret"), b"secret").unwrap();
    symlink(dir.path().join("secret"), day.join("link.json")).unwrap();
    let quarantine = Quarantine::open(&dir.path().join("state"));
    for id in [
        "",
        "ndt7",
        "../../secret",
        "ndt7/2026-01-01/..",
        "ndt7/2026-01-01/../../x",
        "/etc/passwd",
    ] {
        assert_eq!(quarantine.look(id).unwrap(), None, "{id}");
    }
    let link = quarantine
        .look("ndt7/2026-01-01/link.json")
        .unwrap()
        .unwrap();
    assert!(quarantine.content(&link.id).is_err());
    assert!(quarantine.release(&link, &lab.spool, "x").is_err());
    quarantine.drop(&link, "x").unwrap();
    assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn names_of_255_bytes_are_published_quarantined_and_released() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    let name = |first: char| format!("{first}{}.json", "x".repeat(249));
    lab.write(&format!("ndt7/2026/01/01/{}", name('a')), b"{}");
    let bad = format!("ndt7/2026/01/01/{}", name('b'));
    for _ in 0..2 {
        lab.spool.write(&bad.parse().unwrap(), b"{").unwrap();
        run(&lab);
    }
    lab.assert_exactly_once();
    let quarantine = Quarantine::open(&dir.path().join("state"));
    let listed = quarantine.list().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|file| file.path.as_ref() == Some(&bad)));
    quarantine.release(&listed[0], &lab.spool, "x").unwrap();
    assert!(
        quarantine.release(&listed[1], &lab.spool, "x").is_err(),
        "the name is taken"
    );
    assert_eq!(quarantine.list().unwrap().len(), 1);
}

#[test]
fn a_file_with_the_name_of_a_reason_is_no_reason() {
    const NAMES: [&str; 2] = ["a.json", "a.json.reason.json"];
    for first in [0, 1] {
        let dir = common::tempdir();
        let lab = Lab::new(dir.path(), Form::Jsonl);
        for name in [NAMES[first], NAMES[1 - first]] {
            let path = format!("ndt7/2026/01/01/{name}").parse().unwrap();
            lab.spool.write(&path, b"{").unwrap();
            run(&lab);
        }
        let quarantine = Quarantine::open(&dir.path().join("state"));
        let listed = quarantine.list().unwrap();
        assert_eq!(listed.len(), 2, "{listed:?}");
        for file in &listed {
            assert!(!file.is_missing && file.path.is_some(), "{file:?}");
            let content = std::io::read_to_string(quarantine.content(&file.id).unwrap());
            assert_eq!(content.unwrap(), "{", "{file:?}");
        }
    }
}
