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
