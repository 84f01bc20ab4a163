//! `groma demo` needs nothing: no root, no account, no configuration.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::groma::{command, program, run_json};
use crate::stored;

/// A user that owns nothing.
const NOBODY: &str = "65534";

fn assert_both_tests_have_rows(demo: &Value) {
    assert_eq!(demo["ok"], true, "{demo}");
    let tests = demo["tests"].as_array().expect("tests are a list");
    let mut directions: Vec<_> = tests
        .iter()
        .map(|test| test["direction"].as_str())
        .collect();
    directions.sort_unstable();
    assert_eq!(directions, [Some("download"), Some("upload")], "{demo}");
    for test in tests {
        assert!(test["uuid"].is_string(), "{test}");
        assert_eq!(test["row"]["id"], test["uuid"], "{test}");
        assert_eq!(test["row"]["a"]["UUID"], test["uuid"], "{test}");
        assert!(test["mean_mbps"].as_f64() > Some(0.0), "{test}");
        // Ten seconds of load, looked at every 10 ms; a busy machine looks less often.
        assert!(test["trace"]["snapshots"].as_u64() > Some(50), "{test}");
        assert!(test["trace"]["bytes_acked"].as_u64() > Some(100), "{test}");
        assert!(test["min_rtt_ms"].as_f64() > Some(0.0), "{test}");
        // In an upload the server sends too few bytes for this ratio.
        let says = test["direction"] == "upload" || test["retransmission_ratio"].is_number();
        assert!(says, "{test}");
        for step in [
            "test_end_to_closed",
            "closed_to_archived",
            "archived_to_row",
            "test_end_to_row",
        ] {
            assert!(
                test["seconds"][step].as_f64() >= Some(0.0),
                "{step} of {test}"
            );
        }
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir)
        .expect("the folder is ours")
        .next()
        .is_none()
}

#[test]
fn the_demo_measures_shows_rows_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = run_json(command(program(), ["demo", "--json"]).env("TMPDIR", temporary.path()));
    assert_both_tests_have_rows(&demo);
    assert!(is_empty(temporary.path()), "the demo left its folder");
}

#[test]
fn the_demo_runs_without_any_privilege_and_keeps_its_data_on_request() {
    if !groma_tests::root() {
        return;
    }
    let temporary = open_to_everyone();
    let copy = temporary.path().join("groma");
    fs::copy(program(), &copy).unwrap();
    let data = temporary.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();

    let become_nobody = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let copy = copy.to_str().unwrap();
    let arguments = become_nobody
        .into_iter()
        .chain([copy, "demo", "--json", "--keep"]);
    let demo = run_json(
        command(Path::new("setpriv"), arguments)
            .env("TMPDIR", &data)
            .env("HOME", &data)
            .current_dir(&data),
    );
    assert_both_tests_have_rows(&demo);
    let kept: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [kept] = kept.as_slice() else {
        panic!("one folder should be kept: {kept:?}");
    };
    let results = stored::rows(kept, "ndt7");
    assert_eq!(results.len(), 2);
    assert_eq!(stored::rows(kept, "tcpinfo"), results, "the key joins them");
    assert_eq!(stored::archived(kept, "ndt7").len(), 2);
    let tests = demo["tests"].as_array().unwrap().iter();
    let traced: Vec<_> = tests
        .map(|test| format!("{}.00000.jsonl.zst", test["uuid"].as_str().unwrap()))
        .collect();
    let archived = stored::archived(kept, "tcpinfo");
    assert!(
        archived.len() == 2 && traced.iter().all(|name| archived.contains_key(name)),
        "the tests' connections and no others are traced: {archived:?} for {traced:?}"
    );
}

#[test]
fn the_demo_works_where_the_kernel_gives_no_directory_events() {
    if !groma_tests::root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    // The limit belongs to the user namespace, so other processes are not affected.
    let script = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" demo --json";
    let program = program().to_str().unwrap();
    let demo = run_json(
        command(
            Path::new("unshare"),
            ["--user", "--map-root-user", "sh", "-c", script, program],
        )
        .env("TMPDIR", temporary.path()),
    );
    assert_both_tests_have_rows(&demo);
}

fn open_to_everyone() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}
