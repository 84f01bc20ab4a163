//! Rules for every source file.

use std::fs;
use std::path::{Path, PathBuf};

use groma_tests::workspace;

const LONGEST_LINES: usize = 800;
/// Schemas and other data are as long as they are.
const SOURCES: [&str; 6] = ["rs", "toml", "mjs", "js", "py", "sh"];
/// Not ours, or not source.
const PASSED_OVER: [&str; 3] = ["target", "node_modules", ".git"];

/// Every source file below `dir`, by extension.
fn sources(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the workspace can be read") {
            let entry = entry.expect("the workspace can be read");
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
            {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", dir.display());
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = sources(workspace(), &SOURCES)
        .into_iter()
        .filter(|path| read(path).lines().count() > LONGEST_LINES)
        .collect();
    assert!(long.is_empty(), "over {LONGEST_LINES} lines: {long:?}");
}

/// The workspace denies `unsafe`, so a crate that uses it must name the lint.
#[test]
fn only_kernel_may_leave_safe_rust() {
    let lint = concat!("unsafe", "_code");
    assert!(read(&workspace().join("Cargo.toml")).contains(&format!("{lint} = \"deny\"")));
    let kernel = workspace().join("kernel");
    let outside: Vec<_> = sources(workspace(), &["rs"])
        .into_iter()
        .filter(|path| !path.starts_with(&kernel) && read(path).contains(lint))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// Also in the workspaces beside ours, which have lints of their own.
#[test]
fn no_code_outside_kernel_leaves_safe_rust() {
    let word = concat!("un", "safe");
    let openings = ["{", "fn", "impl", "trait", "extern"].map(|next| format!("{word} {next}"));
    let kernel = workspace().join("kernel");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let outside: Vec<_> = sources(workspace(), &["rs"])
        .into_iter()
        .filter(|path| !path.starts_with(&kernel))
        .filter(|path| {
            let text = read(path);
            let mut code = text.lines().filter(is_code);
            code.any(|line| openings.iter().any(|opening| line.contains(opening)))
        })
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

#[test]
fn each_unsafe_block_says_why_it_is_sound() {
    let opening = concat!("unsafe", " {");
    for path in sources(&workspace().join("kernel"), &["rs"]) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(opening))
        {
            let before = &lines[at.saturating_sub(6)..at];
            assert!(
                before.iter().any(|line| line.contains("// SAFETY:")),
                "{}:{}: no SAFETY reason",
                path.display(),
                at + 1
            );
        }
    }
}

/// Directories whose code works for any experiment. `cli`, `sql`, `pipeline/find` and `contracts/schema` still name some.
const GENERIC: [&str; 11] = [
    "lab/src",
    "node",
    "pipeline/archive/src",
    "pipeline/bigquery/src",
    "pipeline/gate/src",
    "pipeline/lake-store/src",
    "pipeline/lake/src",
    "pipeline/load/src",
    "pipeline/publish/src",
    "sdk",
    "service/src",
];
const EXPERIMENTS: [&str; 3] = ["ndt", "ndt7", "tcpinfo"];

/// Returns the lines of code that name an experiment or its datatype. Comments and unit tests may give examples, and the flags
/// of M-Lab's programs keep their names.
fn named_experiments(path: &Path, text: &str) -> Vec<String> {
    let is_test = |part: &str| ["tests", "tests.rs", "compat", "fuzz.rs"].contains(&part);
    let mut parts = path.components();
    if parts.any(|part| is_test(&part.as_os_str().to_string_lossy())) {
        return Vec::new();
    }
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let is_word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .filter(|code| code.split(is_word).any(|word| EXPERIMENTS.contains(&word)))
        .map(|code| format!("{}: {}", path.display(), code.trim()))
        .collect()
}

#[test]
fn generic_code_names_no_experiment() {
    let found: Vec<String> = GENERIC
        .iter()
        .flat_map(|dir| sources(&workspace().join(dir), &["rs"]))
        .flat_map(|path| {
            let below = path.strip_prefix(workspace()).unwrap().to_owned();
            named_experiments(&below, &read(&path))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_named_experiment_is_found() {
    let found = |path: &str, text: &str| named_experiments(Path::new(path), text).len();
    let code = "let name = \"ndt7\"; // ndt\nlet ndt = 1;\nlet ndt5 = 2;\n";
    assert_eq!(found("pipeline/load/src/a.rs", code), 2);
    assert_eq!(found("pipeline/load/tests/a.rs", code), 0);
    assert_eq!(found("a.rs", "// ndt7\n/// tcpinfo\n"), 0);
}
