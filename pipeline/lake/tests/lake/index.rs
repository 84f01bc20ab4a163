//! The index that a plain web server serves.

use std::fs;

use groma_lake::{publish_index, seal};
use serde_json::{Value, json};

use crate::support::{CLOSED, Lab, OPEN, eager, now};

#[test]
fn the_index_says_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    for object in 0..3 {
        lab.put(CLOSED, object, &[format!("closed{object}")]);
        lab.put(OPEN, object, &[format!("open{object}")]);
    }
    lab.loader().sweep("").unwrap();
    seal(lab.lake(), now(), &eager(), Some(&lab.archive())).unwrap();
    publish_index(lab.lake()).unwrap();
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(lab.lake().join(path)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let dataset = &index["datasets"][0];
    assert_eq!(
        (&dataset["experiment"], &dataset["datatype"]),
        (&json!("lab"), &json!("probe1"))
    );
    assert_eq!(
        dataset["columns"][0],
        json!({"name": "id", "type": "STRING"})
    );
    let raw = &dataset["columns"][2]["fields"];
    assert_eq!(raw[1]["type"], "REPEATED RECORD");
    let figures = |date: usize| {
        ["date", "state", "complete", "objects", "rows", "errors"]
            .map(|name| dataset["dates"][date][name].clone())
    };
    assert_eq!(
        figures(0),
        [
            json!(CLOSED),
            json!("sealed"),
            json!(false),
            json!(3),
            json!(3),
            json!(3)
        ]
    );
    assert_eq!(
        figures(1),
        [
            json!(OPEN),
            json!("live"),
            json!(null),
            json!(3),
            json!(3),
            json!(3)
        ]
    );
    for date in read("lab/probe1/index.json")["dates"].as_array().unwrap() {
        for file in date["files"].as_array().unwrap() {
            assert!(lab.lake().join(file.as_str().unwrap()).is_file(), "{file}");
        }
    }
    let page = fs::read_to_string(lab.lake().join("index.html")).unwrap();
    for link in [
        "lab/probe1/index.json",
        "lab/probe1/sealed/date=2024-05-06/_manifest.json",
    ] {
        assert!(
            page.contains(&format!("\"{link}\"")) && lab.lake().join(link).is_file(),
            "{link}"
        );
    }
}
