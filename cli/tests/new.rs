//! `groma new` writes an experiment without problems.

use std::path::Path;
use std::process::{Command, Output};

fn groma(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn both_languages_pass_the_check_and_leave_no_placeholder() {
    let dir = tempfile::tempdir().unwrap();
    for (name, language, server) in [
        ("pings", "python", "server.py"),
        ("pongs", "rust", "src/main.rs"),
    ] {
        let output = groma(dir.path(), &["new", name, "--language", language]);
        assert!(output.status.success(), "{output:?}");
        let own = dir.path().join(name);
        assert!(own.join(server).is_file(), "{server}");
        let output = groma(dir.path(), &["manifest", "check", name]);
        assert!(output.status.success(), "{output:?}");
        for file in files(&own) {
            let text = std::fs::read_to_string(&file).unwrap();
            for placeholder in [
                "@NAME@", "@LAUNCH@", "@RUN@", "@BUILD@", "@SERVER@", "@SDK@",
            ] {
                assert!(
                    !text.contains(placeholder),
                    "{placeholder} in {}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn a_directory_that_exists_and_a_bad_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pings")).unwrap();
    let output = groma(dir.path(), &["new", "pings"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(files(dir.path()).len(), 0);
    let output = groma(dir.path(), &["new", "my-test"]);
    assert_eq!(output.status.code(), Some(2));
    let output = groma(
        dir.path(),
        &["new", "pongs", "--language", "rust", "--sdk", "nowhere"],
    );
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("--sdk"), "{text}");
    assert!(!dir.path().join("pongs").exists());
}
