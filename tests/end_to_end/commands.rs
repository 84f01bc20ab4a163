//! The promises of the small commands to scripts.

use crate::groma::{groma, run, run_json, told};
use crate::stored;

#[test]
fn an_unknown_uuid_is_exit_code_one() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path().to_str().unwrap();
    let output = run(&mut groma([
        "show",
        "host_1700000000_00000000000000AB",
        "--dir",
        at,
        "--json",
    ]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["stage"], "unknown", "{report}");
}

#[test]
fn wrong_usage_is_exit_code_two() {
    for arguments in [
        vec![],
        vec!["survey"],
        vec!["up", "--ws-port", "many"],
        vec!["load"],
    ] {
        let output = run(&mut groma(arguments.iter().copied()));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn completions_complete_the_commands() {
    let output = run(&mut groma(["completions", "bash"]));
    assert!(output.status.success(), "{}", told(&output));
    let script = String::from_utf8(output.stdout).unwrap();
    for command in ["demo", "up", "measure", "show", "load"] {
        assert!(script.contains(command), "no {command}");
    }
}

#[test]
fn a_bundle_of_real_measurements_becomes_rows_once() {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let bundles = stored::files(&data.join("archives"), "ndt.tgz");
    assert!(!bundles.is_empty(), "no bundles in {}", data.display());
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    let bundle = bundles[0].to_str().unwrap();
    let arguments = ["load", bundle, "--lake", lake.to_str().unwrap(), "--json"];
    run_json(&mut groma(arguments));
    let first = stored::rows(temporary.path(), "ndt7");
    assert!(!first.is_empty());
    run_json(&mut groma(arguments));
    assert_eq!(
        stored::rows(temporary.path(), "ndt7"),
        first,
        "a second load changed the rows"
    );
}

#[test]
fn an_export_has_every_row_once_whatever_became_of_its_file() {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let bundles = stored::files(&data.join("archives"), "ndt7-mlab3-syd03-ndt.tgz");
    let temporary = tempfile::tempdir().unwrap();
    let lake = temporary.path().join("lake");
    let lake = lake.to_str().unwrap();
    let bundle = bundles[0].to_str().unwrap();
    run_json(&mut groma(["load", bundle, "--lake", lake, "--json"]));
    let exported = || {
        let output = run(&mut groma([
            "export",
            "--lake",
            lake,
            "--date",
            "2020-03-18",
        ]));
        assert!(output.status.success(), "{}", told(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let live = exported();
    assert!(!live.is_empty());
    // The live file is sealed and still there, and then it is gone.
    for linger in ["15", "0"] {
        run_json(&mut groma([
            "seal", "--lake", lake, "--linger", linger, "--json",
        ]));
        assert_eq!(exported(), live, "linger {linger}");
    }
}

#[test]
fn tests_are_found_in_a_lake_and_in_its_copy() {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let bundles = stored::files(&data.join("archives"), "ndt7-mlab3-syd03-ndt.tgz");
    let temporary = tempfile::tempdir().unwrap();
    let (lake, copy) = (temporary.path().join("lake"), temporary.path().join("copy"));
    let (lake, copy) = (lake.to_str().unwrap(), copy.to_str().unwrap());
    let bundle = bundles[0].to_str().unwrap();
    run_json(&mut groma(["load", bundle, "--lake", lake, "--json"]));
    let find = |lake: &str, arguments: &[&str]| {
        let common = ["find", "--lake", lake, "--json"];
        run(&mut groma(common.iter().chain(arguments).copied()))
    };
    let all = run_json(&mut groma([
        "find", "--lake", lake, "--json", "--limit", "1000",
    ]));
    let all = all["tests"].as_array().unwrap();
    let fast = find(lake, &["--min-mbps", "50", "--since", "2020-03-18"]);
    let fast: serde_json::Value = serde_json::from_slice(&fast.stdout).unwrap();
    let is_fast = |test: &&serde_json::Value| test["mean_throughput_mbps"].as_f64() >= Some(50.0);
    let wanted = all.iter().filter(is_fast).count();
    assert!(0 < wanted && wanted < all.len());
    assert_eq!(fast["tests"].as_array().unwrap().len(), wanted);
    let none = find(lake, &["--client-net", "192.0.2.0/24"]);
    assert_eq!(none.status.code(), Some(1), "{}", told(&none));

    let mirrored = run_json(&mut groma([
        "mirror", "--lake", lake, "--to", copy, "--json",
    ]));
    assert_eq!(mirrored["files"], 1, "{mirrored}");
    let found = find(copy, &["--limit", "1000"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["tests"].as_array(), Some(all));
    let uuid = all[0]["id"].as_str().unwrap();
    let shown = run_json(&mut groma([
        "show", uuid, "--lake", copy, "--dir", "none", "--json",
    ]));
    assert_eq!(shown["row"]["id"], uuid);
    let refused = run(&mut groma(["mirror", "--lake", copy, "--to", lake]));
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(
        told(&refused).contains("not a copy of"),
        "{}",
        told(&refused)
    );
}
