//! The help of every command, in snapshots, so that a review sees each change.

use std::process::Command;

fn groma(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn help_teaches() {
    let commands = [
        "",
        "demo",
        "up",
        "measure",
        "show",
        "ndt7",
        "publish",
        "quarantine",
        "load",
        "seal",
        "find",
        "mirror",
        "manifest",
        "new",
        "tcp-info",
        "uuid-prefix",
        "completions",
    ];
    for command in commands {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let (code, text) = groma(&arguments);
        assert_eq!(code, 0, "{command}");
        insta::assert_snapshot!(format!("help_{command}"), text);
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["nonsense"][..],
        &["measure"],
        &["load", "x"],
        &["up", "--flush-age", "soon"],
    ] {
        assert_eq!(groma(arguments).0, 2, "{arguments:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = groma(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("measure"), "{shell}");
    }
}
