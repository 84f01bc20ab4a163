//! `groma manifest check` reports every problem at once.

use std::path::Path;
use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(["manifest", "check"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn problems_have_lines_and_the_exit_code_is_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("experiment.toml");
    std::fs::write(&file, "manifest = 2\nname = \"Bad\"\ntitle = 5\n").unwrap();
    let at = dir.path().to_str().unwrap();
    let output = check(&[at]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for line in [
        "experiment.toml:2: name: ",
        "experiment.toml:3: title: ",
        "owner: this key is missing",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let output = check(&[file.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(json["ok"], false);
    assert!(
        problems
            .iter()
            .any(|it| it["key"] == "name" && it["line"] == 2),
        "{json}"
    );
    let sum = format!("{} problems", problems.len());
    assert!(text.contains(&sum), "{sum} is not in {text}");
}

#[test]
fn a_good_manifest_ends_with_0_and_a_missing_one_with_1() {
    let ndt7 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/ndt7");
    let output = check(&[ndt7.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = check(&["/nonexistent/experiment.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("cannot read /nonexistent/experiment.toml"),
        "{text}"
    );
    assert_eq!(check(&[]).status.code(), Some(2));
}
