//! Standard output and standard error that are closed, full, or a terminal.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::groma::{groma, run, run_json, told};
use crate::stored;

/// A lake of real measurements, if there are any.
fn lake(root: &Path) -> Option<String> {
    let data = groma_tests::real_data()?;
    let bundles = stored::files(&data.join("archives"), "ndt7-mlab3-syd03-ndt.tgz");
    let lake = root.join("lake").to_str().unwrap().to_owned();
    run_json(&mut groma([
        "load",
        bundles[0].to_str().unwrap(),
        "--lake",
        &lake,
        "--json",
    ]));
    Some(lake)
}

fn commands(lake: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["completions", "bash"],
        vec!["find", "--lake", lake, "--limit", "1000"],
        vec!["find", "--lake", lake, "--json"],
        vec!["export", "--lake", lake, "--date", "2020-03-18"],
        vec![
            "export",
            "--lake",
            lake,
            "--date",
            "2020-03-18",
            "--out",
            "-",
        ],
        vec!["seal", "--lake", lake],
        vec!["seal", "--lake", lake, "--json"],
        vec!["load", "--lake", lake, "/nowhere"],
        vec!["--help"],
    ]
}

fn panicked(output: &Output) -> bool {
    output.status.code().is_none_or(|code| code == 101)
}

#[test]
fn a_reader_that_leaves_ends_no_command_with_noise() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(lake) = lake(temporary.path()) else {
        return;
    };
    for arguments in commands(&lake) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(groma(arguments.iter().copied()).stdout(writer));
        let expected = i32::from(arguments.contains(&"/nowhere"));
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {}",
            told(&output)
        );
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            !complaint.to_lowercase().contains("pipe"),
            "{arguments:?}: {complaint}"
        );
        // The same for standard error, where logs and complaints go.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(groma(arguments.iter().copied()).stderr(writer));
        assert!(!panicked(&output), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn a_full_standard_output_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(lake) = lake(temporary.path()) else {
        return;
    };
    let printing = commands(&lake).into_iter();
    for arguments in
        printing.filter(|arguments| !arguments.contains(&"/nowhere") && arguments[0] != "--help")
    {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(groma(arguments.iter().copied()).stdout(Stdio::from(full)));
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            told(&output)
        );
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("groma: "), "{arguments:?}: {complaint}");
    }
}

#[test]
fn an_export_to_a_hyphen_goes_to_standard_output() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(lake) = lake(temporary.path()) else {
        return;
    };
    let export = ["export", "--lake", &lake, "--date", "2020-03-18"];
    let usual = run(&mut groma(export));
    let hyphen = run(groma(export.into_iter().chain(["--out", "-"])).current_dir(&temporary));
    assert!(usual.status.success() && !usual.stdout.is_empty());
    assert_eq!(hyphen.stdout, usual.stdout, "{}", told(&hyphen));
    assert!(!temporary.path().join("-").exists());
}

#[test]
fn a_log_level_that_does_not_exist_is_refused() {
    for level in ["verbose", "groma=loud", "info,chatty"] {
        let output = run(groma(["completions", "bash"]).env("GROMA_LOG", level));
        assert_eq!(output.status.code(), Some(2), "{level}: {}", told(&output));
        assert!(
            told(&output).contains("is not a log level"),
            "{}",
            told(&output)
        );
        assert!(output.stdout.is_empty());
    }
}
