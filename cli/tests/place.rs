//! Which lab or lake a command looks at.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn told(arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(arguments)
        .env("GROMA_LAKE", dir.join("lake-of-the-environment"))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_directory_that_was_typed_wins_over_a_lake_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (by_variable, by_dir) = ("lake-of-the-environment", "my-lab");
    for command in [&["find"][..], &["show", "x"]] {
        let with = |more: &[&'static str]| told(&[command, more].concat(), dir.path());
        assert!(with(&[]).contains(by_variable));
        let typed = with(&["--dir", by_dir]);
        assert!(
            typed.contains(by_dir) && !typed.contains(by_variable),
            "{typed}"
        );
        let both = with(&["--dir", by_dir, "--lake", "typed-lake"]);
        assert!(both.contains("typed-lake"), "{both}");
    }
}

/// Runs a command that must be refused because of a mistyped path, and returns its message.
fn refused(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_mistyped_directory_of_a_service_is_refused_and_not_created() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (spool, state, archive) = (path("ndt"), path("state"), path("archive"));
    fs::create_dir(&spool).unwrap();
    let (no_spool, no_parent) = (path("ntd"), path("missing/state"));
    let publish = |spool: &str, state: &str, archive: &str| {
        let flags = ["publish", "--directory", spool, "--state", state];
        refused(&[&flags[..], &["--archive", archive]].concat())
    };
    let record = |spool: &str, state: &str| {
        let flags = ["tcp-info", "--directory", spool, "--state", state];
        refused(&[&flags[..], &["--port", "1"]].concat())
    };
    for (message, flag) in [
        (publish(&no_spool, &state, &archive), "--directory"),
        (publish(&spool, &no_parent, &archive), "--state"),
        (publish(&spool, &state, &no_parent), "--archive"),
        (record(&no_spool, &state), "--directory"),
        (record(&spool, &no_parent), "--state"),
        (refused(&["ndt7", "--directory", &no_parent]), "--directory"),
        (
            refused(&["quarantine", "--state", &no_spool, "list"]),
            "--state",
        ),
    ] {
        assert!(message.contains("does not exist"), "{message}");
        assert!(message.contains(flag), "{message}");
    }
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "a refused command created something");
}
