//! An ndt7 client that is not ours, from crates.io, measures against a lab.

use std::path::PathBuf;

use serde_json::Value;

use crate::groma::{command, run, told};
use crate::lab::Lab;

/// `GROMA_NDT7_CLIENT`, else `ndt7-client` on `PATH`; says so and skips where there is none.
fn ndt7_client() -> Option<PathBuf> {
    let named = std::env::var_os("GROMA_NDT7_CLIENT").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| {
        std::env::split_paths(&path)
            .map(|dir| dir.join("ndt7-client"))
            .find(|file| file.is_file())
    });
    if found.is_none() {
        groma_tests::skip("no ndt7-client; see CONTRIBUTING.md");
    }
    found
}

/// The UUIDs that a client saw, one per direction.
fn uuids(output: &[u8]) -> Vec<String> {
    let mut uuids = Vec::new();
    for line in String::from_utf8_lossy(output).lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let uuid = event["Measurement"]["ConnectionInfo"]["UUID"].as_str();
        uuids.extend(uuid.map(str::to_owned));
    }
    uuids.sort_unstable();
    uuids.dedup();
    uuids
}

fn measures_both_directions(service: &str, flags: &[&str]) {
    let Some(client) = ndt7_client() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let lab = Lab::start(&temporary.path().join("lab"), "1s");
    let server = [
        "--server",
        lab.address(service),
        "--no-locate",
        "--format",
        "json",
    ];
    let output = run(&mut command(
        &client,
        server.into_iter().chain(flags.iter().copied()),
    ));
    assert!(output.status.success(), "{}", told(&output));
    let uuids = uuids(&output.stdout);
    assert_eq!(uuids.len(), 2, "one UUID per direction: {}", told(&output));
    let rows = uuids.iter().map(|uuid| lab.row_of(uuid));
    let downloads = rows
        .filter(|row| row["raw"]["Download"].is_object())
        .count();
    assert_eq!(downloads, 1, "one of the two is the download");
}

#[test]
fn a_strangers_client_measures_over_plain_websocket() {
    measures_both_directions("ws", &["--no-tls"]);
}

#[test]
fn a_strangers_client_measures_over_tls() {
    measures_both_directions("wss", &["--no-verify"]);
}
