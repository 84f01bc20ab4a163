//! The admin ports of the services of a lake.

use std::fs;
use std::time::{Duration, SystemTime};

use groma_tests::http_get;

use crate::groma::wait_for;
use crate::lab::PATIENCE;
use crate::parts::{Part, wait_for_log};
use crate::publish::admin_of;

fn status(admin: &str, path: &str) -> u16 {
    let answer = http_get(admin, path);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn has_sample(admin: &str, sample: &str) -> bool {
    http_get(admin, "/metrics")
        .lines()
        .any(|line| line == sample)
}

#[test]
fn a_loader_that_follows_an_archive_has_an_admin_port() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (archive, lake, log) = (path("archive"), path("lake"), temporary.path().join("log"));
    fs::create_dir(&archive).unwrap();
    let loader = Part::start(&["load", &archive, "--lake", &lake, "--follow"], &log);
    wait_for_log(&log, "phase=ready");
    let admin = admin_of(&log);
    for page in ["/ready", "/alive", "/health"] {
        assert_eq!(status(&admin, page), 200, "{page}");
    }
    // Before the first event, and counted at the first.
    for name in ["failures_total", "damaged_objects_total"] {
        assert!(
            has_sample(&admin, &format!("groma_load_{name} 0")),
            "{name}"
        );
    }
    let day = temporary.path().join("archive/ndt/ndt7/2026/01/02");
    fs::create_dir_all(&day).unwrap();
    let object = "20260102T030405.000000Z-ndt7-mlab1-lga01-ndt.tgz";
    // Not a copy that may still be on its way: it is an hour old.
    let page = temporary.path().join("page");
    fs::write(&page, "<html>").unwrap();
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    let file = fs::File::options().write(true).open(&page).unwrap();
    file.set_modified(hour_ago).unwrap();
    drop(file);
    fs::rename(&page, day.join(object)).unwrap();
    wait_for("the count", PATIENCE, || {
        has_sample(&admin, "groma_load_damaged_objects_total 1").then_some(())
    });
    fs::remove_dir_all(&archive).unwrap();
    wait_for("the failed stage", PATIENCE, || {
        (status(&admin, "/ready") == 503).then_some(())
    });
    fs::create_dir(&archive).unwrap();
    wait_for("the restarted stage", PATIENCE, || {
        (status(&admin, "/ready") == 200).then_some(())
    });
    loader.end();
}

#[test]
fn a_sealer_that_runs_again_and_again_has_an_admin_port() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (lake, log) = (path("lake"), temporary.path().join("log"));
    fs::create_dir(&lake).unwrap();
    let sealer = Part::start(&["seal", "--lake", &lake, "--every", "1"], &log);
    wait_for_log(&log, "phase=ready");
    let admin = admin_of(&log);
    wait_for("the first run", PATIENCE, || {
        (!has_sample(&admin, "groma_seal_runs_total 0")).then_some(())
    });
    assert!(has_sample(&admin, "groma_seal_failures_total 0"));
    assert!(has_sample(&admin, "groma_seal_unreadable_files 0"));
    wait_for("a run that works", PATIENCE, || {
        (status(&admin, "/ready") == 200).then_some(())
    });
    // An entry that no sealer wrote.
    let log_dir = temporary.path().join("lake/ndt/ndt7/log/date=2026-01-02");
    let live = temporary.path().join("lake/ndt/ndt7/live/date=2026-01-02");
    fs::create_dir_all(&log_dir).unwrap();
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("a.parquet"), "no Parquet").unwrap();
    fs::write(log_dir.join("000000.json"), "{").unwrap();
    wait_for("the failed run", PATIENCE, || {
        (status(&admin, "/ready") == 503).then_some(())
    });
    assert!(!has_sample(&admin, "groma_seal_failures_total 0"));
    assert!(http_get(&admin, "/ready").contains("seal"));
    fs::remove_dir_all(temporary.path().join("lake/ndt")).unwrap();
    wait_for("a run that works again", PATIENCE, || {
        (status(&admin, "/ready") == 200).then_some(())
    });
    sealer.end();
}
