//! M-Lab's browser library, as published, measures against a lab from Chromium.

use std::path::{Path, PathBuf};

use crate::groma::{command, run_json};
use crate::lab::Lab;

const CHROMIUM: &str = "/usr/bin/chromium";

/// Where the browser's libraries are installed; says so and skips where they are not.
fn node_modules() -> Option<PathBuf> {
    let Some(modules) = std::env::var_os("GROMA_NODE_MODULES").map(PathBuf::from) else {
        groma_tests::skip("GROMA_NODE_MODULES is not set; see CONTRIBUTING.md");
        return None;
    };
    for needed in [
        Path::new(CHROMIUM),
        &modules.join("playwright-core"),
        &modules.join("@m-lab/ndt7"),
    ] {
        if !needed.exists() {
            groma_tests::skip(&format!(
                "{} is missing; see CONTRIBUTING.md",
                needed.display()
            ));
            return None;
        }
    }
    Some(modules)
}

#[test]
fn the_unmodified_library_measures_from_a_browser_and_each_test_becomes_a_row() {
    let Some(modules) = node_modules() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let lab = Lab::start(&temporary.path().join("lab"), "1s");
    let script = groma_tests::workspace().join("tests/browser/run.mjs");
    let script = script.to_str().unwrap();
    let targets = ["ws", "wss"].map(|protocol| format!("{protocol}={}", lab.address(protocol)));
    let arguments = [script, CHROMIUM]
        .into_iter()
        .chain(targets.iter().map(String::as_str));
    let seen = run_json(command(Path::new("node"), arguments).env("GROMA_NODE_MODULES", modules));
    println!("{seen}");

    let tests = seen["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 4, "{seen}");
    for test in tests {
        assert_eq!(test["code"], 0, "{test}");
        assert_eq!(test["errors"].as_array().map(Vec::len), Some(0), "{test}");
        let uuid = test["uuid"]
            .as_str()
            .unwrap_or_else(|| panic!("no UUID: {test}"));
        let row = lab.row_of(uuid);
        assert!(row["a"]["MeanThroughputMbps"].as_f64() > Some(0.0), "{row}");
        let direction = if test["direction"] == "download" {
            "Download"
        } else {
            "Upload"
        };
        let metadata = row["raw"][direction]["ClientMetadata"].as_array().unwrap();
        let has = |name: &str, value: &str| {
            metadata
                .iter()
                .any(|pair| pair["Name"] == name && pair["Value"] == value)
        };
        assert!(has("client_library_name", "ndt7-js"), "{metadata:?}");
        assert!(has("client_name", "groma-browser-test"), "{metadata:?}");
    }
}
