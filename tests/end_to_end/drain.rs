//! A lab that is asked to end lets its tests end first.

use std::process::Stdio;

use serde_json::Value;

use crate::groma::{groma, run, told, wait_for};
use crate::lab::{Lab, PATIENCE, show};

#[test]
fn a_running_test_ends_properly_after_sigterm_and_becomes_a_row() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("lab");
    let lab = Lab::start(&dir, "1s");
    let server = lab.address("ws").to_owned();
    let client = groma([
        "measure",
        &server,
        "--no-tls",
        "--direction",
        "download",
        "--accept-data-policy",
        "--json",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    wait_for("the test's begin", PATIENCE, || {
        (lab.metric("groma_experiment_active_tests") > 0.0).then_some(())
    });

    lab.ask_to_end();
    wait_for("the lame duck", PATIENCE, || {
        (!lab.admin("/ready").starts_with("HTTP/1.1 200")).then_some(())
    });
    let late = run(&mut groma([
        "measure",
        &server,
        "--no-tls",
        "--accept-data-policy",
        "--json",
    ]));
    assert_eq!(
        late.status.code(),
        Some(1),
        "a new test was let in: {}",
        told(&late)
    );

    let output = client.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "the test was cut off: {}",
        told(&output)
    );
    let uuid = uuid_of(&serde_json::from_slice(&output.stdout).unwrap());
    let status = lab.ended();
    assert_eq!(status.code(), Some(0));

    let flushed = show(&dir, &uuid).expect("what ended before the lab is known after it");
    assert!(
        flushed["stage"] == "published" || flushed["stage"] == "loaded",
        "not flushed: {flushed}"
    );
    let row = Lab::start(&dir, "1s").row_of(&uuid);
    assert!(row["a"]["MeanThroughputMbps"].as_f64() > Some(0.0), "{row}");
}

/// The UUID in what `groma measure` printed for one direction.
pub(crate) fn uuid_of(measured: &Value) -> String {
    let uuid = measured["tests"][0]["uuid"].as_str();
    uuid.unwrap_or_else(|| panic!("no UUID in {measured}"))
        .to_owned()
}
