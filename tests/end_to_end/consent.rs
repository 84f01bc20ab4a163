//! Nobody is measured without having agreed to the policy of the server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::groma::{groma, run, told};
use crate::lab::{Lab, measure};

/// SHA-256 of "We sell your address."
const SELLING: &str = "88f1e2c5b288c18d39838011a3907d02f4f820a6c5ed3099b215f3fbde56c46e";

fn policy(text: &str, sha256: &str) -> Value {
    json!({
        "description": 1, "experiment": "ndt", "version": "1", "title": "A test",
        "policy": {
            "version": "7-sold", "text": text, "sha256": sha256, "url": "https://sold.example/policy",
            "controller": "Sellers Ltd", "contact": "sell@sold.example",
        },
    })
}

/// A server that answers every request for its description with `status` and `body`, `times` times. Returns its address.
fn server(status: &'static str, body: String, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            let head = String::from_utf8_lossy(&request[..count]);
            let wanted = "GET /.well-known/groma/experiment.json HTTP/1.1\r\n";
            assert!(head.starts_with(wanted), "{head}");
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

fn shown(address: &str) -> String {
    let output = run(&mut groma([
        "measure",
        address,
        "--no-tls",
        "--show-policy",
    ]));
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_that_sells_addresses_is_shown_as_such() {
    let body = policy("We sell your address.", SELLING).to_string();
    let address = server("200 OK", body, 2);
    let text = shown(&address);
    for words in [
        "We sell your address.",
        "7-sold",
        "Sellers Ltd, sell@sold.example",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(!text.contains("Groma"), "{text}");
    // Without a terminal no person can agree, but the text is shown.
    let output = run(&mut groma(["measure", &address, "--no-tls"]));
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("We sell your address."), "{message}");
}

#[test]
fn a_policy_that_is_missing_or_damaged_is_unknown() {
    let damaged = policy("We keep your address.", SELLING).to_string();
    let endless = "x".repeat(300 * 1024);
    for (status, body) in [
        ("404 Not Found", String::new()),
        ("200 OK", "<html>".to_owned()),
        ("200 OK", damaged),
        ("200 OK", endless),
    ] {
        let text = shown(&server(status, body, 1));
        assert!(text.contains("Unknown: who controls the data"), "{text}");
        assert!(!text.contains("We keep your address."), "{text}");
    }
}

#[test]
fn a_policy_cannot_write_to_the_terminal() {
    let mut hostile = policy("We sell your address.", SELLING);
    hostile["policy"]["controller"] = json!("\u{1b}[2J\u{202e}Sellers");
    let text = shown(&server("200 OK", hostile.to_string(), 1));
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}'),
        "{text:?}"
    );
    assert!(text.contains("Sellers"), "{text}");
}

#[test]
fn the_policy_of_the_operator_is_shown_and_its_version_is_what_a_test_agrees_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.txt");
    std::fs::write(&file, "Results are also shown on a screen in our hall.\n").unwrap();
    let root = dir.path().join("lab");
    let lab = Lab::start_with(
        &root,
        "200ms",
        &[
            "--require-policy",
            "--controller",
            "City Library",
            "--privacy-contact",
            "privacy@library.example",
            "--policy-text",
            file.to_str().unwrap(),
        ],
    );
    let address = lab.address("ws");
    let text = shown(address);
    for words in [
        "Controller: City Library, privacy@library.example",
        "shown on a screen in our hall",
        "- tcpinfo: ",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let version = text
        .split("Version ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    assert!(version.starts_with("2-op"), "{version}");
    let printed = measure(&format!("ws://{address}"), "download");
    let uuid = printed["tests"][0]["uuid"].as_str().unwrap();
    let row = lab.row_of(uuid);
    let metadata = row["raw"]["Download"]["ServerMetadata"].to_string();
    assert!(metadata.contains(version), "{version} is not in {metadata}");
}

#[test]
fn without_consent_and_without_a_terminal_nothing_is_measured() {
    // Nothing listens there, so the policy is unknown.
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
