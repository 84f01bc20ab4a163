//! The commands of the README and of the guides work as they are printed.

use std::process::Command;

use crate::groma::program;

/// Runs the commands of a document, or skips the test.
fn run(document: &str) {
    if !rustix::process::geteuid().is_root() {
        return groma_tests::skip("needs root for a network namespace and a mount namespace");
    }
    let root = groma_tests::workspace();
    let output = Command::new("python3")
        .arg(root.join("tests/guides/run.py"))
        .arg(program())
        .arg(root.join(document))
        // A guide that asks groma-sql does so only where there is one.
        .args(std::env::var_os("GROMA_SQL"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{error}");
    assert!(printed.contains("commands work"), "{printed}");
}

#[test]
fn developing() {
    run("docs/guide-developer.md");
}

#[test]
fn measuring() {
    run("docs/guide-measure.md");
}

#[test]
fn operating() {
    run("docs/guide-operator.md");
}

#[test]
fn finding_rows() {
    run("docs/guide-researcher.md");
}
