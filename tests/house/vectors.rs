//! Values that other languages' libraries must agree with: `contracts/vectors`, which the Python SDK reads too.

use std::fs;

use groma_events::{Admission, Event};
use groma_manifest::{Manifest, Sidecar};
use groma_spool::{FileName, Name};
use groma_uuid::Prefix;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = groma_tests::workspace()
        .join("contracts/vectors")
        .join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn uuids() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prefix");
    for vector in list(&vectors("uuid.json")) {
        fs::write(&file, text(&vector["prefix"])).unwrap();
        let uuid = Prefix::read(&file)
            .unwrap()
            .uuid(vector["cookie"].as_u64().unwrap());
        assert_eq!(uuid.as_str(), text(&vector["uuid"]));
    }
}

#[test]
fn names() {
    let names = vectors("names.json");
    for (group, is_allowed) in [("allowed", true), ("refused", false)] {
        for name in list(&names["experiments"][group]) {
            assert_eq!(text(name).parse::<Name>().is_ok(), is_allowed, "{name}");
        }
        for name in list(&names["files"][group]) {
            assert_eq!(text(name).parse::<FileName>().is_ok(), is_allowed, "{name}");
        }
    }
}

#[test]
fn accepted_policies() {
    let read = |path| fs::read_to_string(groma_tests::workspace().join(path)).unwrap();
    let manifest = read("experiments/ndt7/experiment.toml");
    let sidecar = Sidecar::parse(&read("sidecars/tcp-info/sidecar.toml")).unwrap();
    for vector in list(&vectors("consent.json")) {
        let own = format!("policy_version = {}", vector["own"]);
        let manifest = manifest.replace("policy_version = \"2\"", &own);
        assert!(manifest.contains(&own), "{vector}");
        let folder = groma_tests::workspace().join("experiments/ndt7");
        let manifest = Manifest::parse(&manifest, |name| fs::read_to_string(folder.join(name)));
        let sidecars = list(&vector["tags"]).iter().map(|tag| {
            assert_eq!(text(tag), "tcpinfo1");
            sidecar.clone()
        });
        let manifest = manifest
            .unwrap()
            .attach(&sidecars.collect::<Vec<_>>())
            .unwrap();
        let is_accepted = manifest.consent.accepts(text(&vector["sent"]));
        assert_eq!(
            is_accepted,
            vector["accepted"].as_bool().unwrap(),
            "{vector}"
        );
    }
}

#[test]
fn the_line_of_an_admission() {
    let vector = vectors("admission.json");
    let admission = Admission {
        timestamp: text(&vector["timestamp"]).parse().unwrap(),
        uuid: text(&vector["uuid"]).parse().unwrap(),
        test_id: text(&vector["test_id"]).parse().unwrap(),
        policy_version: text(&vector["policy_version"]).to_owned(),
    };
    let line = text(&vector["line"]);
    let event = Event::Admission(admission);
    assert_eq!(event.to_line(), line);
    assert_eq!(Event::parse(line.as_bytes()).unwrap(), event);
}
