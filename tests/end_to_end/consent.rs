//! Nobody is measured without having agreed.

use crate::groma::{groma, run, told};

#[test]
fn without_consent_and_without_a_terminal_nothing_is_measured() {
    // Nothing listens there: the refusal must come before any connection.
    let output = run(&mut groma(["measure", "127.0.0.1:9", "--no-tls", "--json"]));
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(output.stdout.is_empty(), "{}", told(&output));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("--accept-data-policy"), "{message}");
    assert!(message.contains("policy"), "{message}");
}

#[test]
fn with_consent_a_server_that_is_not_there_is_a_failure() {
    let output = run(&mut groma([
        "measure",
        "127.0.0.1:9",
        "--no-tls",
        "--json",
        "--accept-data-policy",
    ]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(!output.stderr.is_empty());
}
