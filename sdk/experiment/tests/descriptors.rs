//! A result for which no file descriptor is left. The test runs alone in its process, because it uses all of them.

use std::fs::File;
use std::sync::mpsc;
use std::time::Duration;

use groma_experiment::FinishError;

#[path = "rules/common.rs"]
#[expect(dead_code, reason = "the rules use what this one test does not")]
mod common;

use common::{Lab, result_file};

fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_result_waits_for_descriptors_and_is_given_up_only_when_none_come_back() {
    let limit = rustix::process::Rlimit {
        current: Some(128),
        maximum: Some(128),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let okay = experiment.outcome("okay").unwrap();
    let (first, second) = (
        experiment.admit(&[]).unwrap(),
        experiment.admit(&[]).unwrap(),
    );
    // The date directory is there, so that only the writing itself needs descriptors.
    let before = experiment.admit(&[]).unwrap();
    let file = |name| Some(result_file("rows", name, b"{}"));
    before.finish(&okay, file("before.json")).unwrap();

    let taken = take_all();
    let (began, begins) = mpsc::channel();
    let release = std::thread::spawn(move || {
        begins.recv().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        drop(taken);
    });
    began.send(()).unwrap();
    first.finish(&okay, file("waited.json")).unwrap();
    release.join().unwrap();
    let written = lab.data_dir().join("rows/2026/11/22/waited.json");
    assert!(written.exists());
    assert_eq!(
        lab.sample("errors_total", r#"operation="write_result""#),
        "0"
    );

    let taken = take_all();
    let error = second.finish(&okay, file("lost.json")).unwrap_err();
    drop(taken);
    assert!(
        matches!(&error, FinishError::Spool(error) if error.is_out_of_descriptors()),
        "{error}"
    );
    assert_eq!(
        lab.sample("errors_total", r#"operation="write_result""#),
        "1"
    );
}
