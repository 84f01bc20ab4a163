//! The Python SDK, tested by its own tests.

use std::process::Command;

#[test]
fn its_tests_pass() {
    let is_new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let python = Command::new("python3").args(["-c", is_new_enough]).status();
    if !python.is_ok_and(|status| status.success()) {
        return groma_tests::skip("there is no python3 of version 3.11 or later");
    }
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s", "sdk/python/tests"])
        .current_dir(groma_tests::workspace())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    // A discovery that finds nothing succeeds too.
    assert!(
        printed.contains("\nRan ") && !printed.contains("\nRan 0 "),
        "{printed}"
    );
}
