//! Checks that the documents agree with the code.

use std::fs;

use groma_tests::workspace;

#[test]
fn every_rule_of_the_loader_stands_in_the_format_reference() {
    let formats = fs::read_to_string(workspace().join("docs/formats.md")).unwrap();
    let rules =
        ["pipeline/mlab/src", "pipeline/load/src/datatype"].map(|dir| workspace().join(dir));
    let names: Vec<String> = rules.iter().flat_map(|dir| rule_names(dir)).collect();
    assert!(names.len() >= 8, "only {names:?} were found in {rules:?}");
    for name in names {
        assert!(
            formats.contains(&format!("`{name}`")),
            "rule {name} is not in docs/formats.md"
        );
    }
}

/// The `name:` of every `Rule { … }` below a directory.
fn rule_names(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(rule_names(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for rule in text.split("Rule {").skip(1) {
            let name = rule
                .split_once("name: \"")
                .and_then(|(_, rest)| rest.split_once('"'));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}
