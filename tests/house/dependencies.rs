//! The licences and sources of dependencies: the rules of `deny.toml`.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The packages of both workspaces, with all features.
fn packages() -> Vec<Value> {
    let root = groma_tests::workspace();
    let of = |manifest: &str| {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--locked",
                "--all-features",
                "--format-version",
                "1",
            ])
            .arg("--manifest-path")
            .arg(root.join(manifest))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{manifest}: {error}");
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        metadata["packages"].as_array().unwrap().clone()
    };
    let packages = [of("Cargo.toml"), of("sql/Cargo.toml")].concat();
    assert!(packages.len() > 100);
    packages
}

#[test]
fn every_licence_is_allowed_and_every_source_is_the_registry() {
    let rules = std::fs::read_to_string(groma_tests::workspace().join("deny.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let allowed: Vec<&str> = rules["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|licence| licence.as_str().unwrap())
        .collect();
    let mut faults = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        match package["source"].as_str() {
            None | Some(REGISTRY) => {}
            Some(other) => faults.push(format!("{name} comes from {other}")),
        }
        let licence = package["license"].as_str().unwrap_or_default();
        // Old packages write `A/B` for `A OR B`.
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        let is_allowed = expression.is_ok_and(|expression| {
            expression.evaluate(|requirement| allowed.contains(&requirement.to_string().as_str()))
        });
        if !is_allowed {
            faults.push(format!(
                "{name} has the licence {licence:?}, which deny.toml does not allow"
            ));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
