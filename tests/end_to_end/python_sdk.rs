//! The Python SDK, tested by its own tests.

use std::process::Command;

#[test]
fn its_tests_pass() {
    if !groma_tests::python_for_the_sdk() {
        return;
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
