//! The commands of the guides work as printed.

use std::fs;
use std::process::Command;

use crate::groma::{command, program, run, told};

/// The commands in the fenced blocks of a guide whose info string begins with `sh`, each with the rest of that string.
fn blocks(guide: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```sh") else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((info.trim().to_owned(), body.join("\n")));
    }
    found
}

/// One script of all blocks: `up` runs until the end, `retry` is repeated until it succeeds, `fails` must fail.
fn script(blocks: &[(String, String)]) -> String {
    let mut script = "set -eu\nip link set lo up\n".to_owned();
    for (kind, body) in blocks {
        let wrapped = match kind.as_str() {
            "" => format!("(\nset -eu\n{body}\n)\n"),
            "up" => format!(
                "{body} > up.txt 2> up.log &\nup=$!\n\
                 for i in $(seq 600); do if grep -q 'Ctrl-C' up.txt; then break; fi; sleep 0.1; done\n\
                 grep -q 'Ctrl-C' up.txt || {{ cat up.log >&2; exit 1; }}\n"
            ),
            "retry" => format!(
                "for i in $(seq 300); do if ( {body} ) > /dev/null 2>&1; then break; fi; sleep 0.2; done\n( {body} )\n"
            ),
            "fails" => {
                format!("if (\nset -eu\n{body}\n); then echo 'this must fail' >&2; exit 1; fi\n")
            }
            other => panic!("unknown kind of block: {other}"),
        };
        script.push_str(&wrapped);
    }
    script.push_str("kill -TERM $up\nwait $up\n");
    script
}

#[test]
fn the_guide_for_developers_works_as_printed() {
    let is_new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let python = Command::new("python3").args(["-c", is_new_enough]).status();
    if !python.is_ok_and(|status| status.success()) {
        return groma_tests::skip("there is no python3 of version 3.11 or later");
    }
    // The guide uses fixed ports, so it runs in a network namespace of its own.
    if !groma_tests::root() {
        return;
    }
    let guide = groma_tests::workspace().join("docs/guide-developer.md");
    let blocks = blocks(&fs::read_to_string(guide).unwrap());
    assert!(blocks.len() >= 6, "{blocks:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let own = program().parent().unwrap().display().to_string();
    let script = script(&blocks);
    let mut shell = command("unshare".as_ref(), ["--net", "bash", "-c", &script]);
    let output = run(shell
        .current_dir(dir.path())
        .env("PATH", format!("{own}:{path}")));
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "pings/experiment.toml: no problems",
        "shortest round trip",
        "these fields of pings1.json have no purpose: MinRTT",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    // The test that the client printed is the one that was found.
    let uuid = text
        .split("UUID ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert!(text.matches(uuid).count() >= 2, "{text}");
}
