//! The reference of the format, `docs/manifest.md`, generated from the types.

use std::fmt::Write as _;
use std::fs;

use crate::document::Document;
use crate::read::{Presence, TableDoc, Value as _};

const INTRODUCTION: &str = "\
# The manifest, `experiment.toml`

A manifest describes one experiment. Check yours with `groma manifest check experiment.toml`, which prints every problem with
its line, and start from the one that `groma new NAME` writes. Paths in the file are relative to it. Unknown keys are errors.

This reference is generated from `contracts/manifest/src/document.rs`. Keys that are marked *format 2* do not exist in
format 1, which programs still read.

";

fn words(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn reference() -> String {
    let mut tables: Vec<TableDoc> = Vec::new();
    Document::describe("", &mut tables);
    let mut text = INTRODUCTION.to_owned();
    for table in &tables {
        let title = match table.key.as_str() {
            "" => "Keys at the top".to_owned(),
            key => format!("`[{key}]`"),
        };
        let _ = writeln!(text, "## {title}\n\n{}\n", words(&table.doc));
        let _ = writeln!(
            text,
            "| key | value | needed | description |\n|---|---|---|---|"
        );
        for field in &table.fields {
            let needed = match field.presence {
                Presence::Required => "yes",
                Presence::Optional => "no",
                Presence::Since2 => "yes, format 2",
                Presence::OptionalSince2 => "no, format 2",
            };
            let _ = writeln!(
                text,
                "| `{}` | {} | {needed} | {} |",
                field.name,
                field.kind,
                words(&field.doc)
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// `GROMA_WRITE_DOCS=1 cargo test -p groma-manifest` writes the file.
#[test]
fn the_reference_of_the_manifest_is_the_one_of_the_types() {
    let path = groma_tests::workspace().join("docs/manifest.md");
    let generated = reference();
    if std::env::var_os("GROMA_WRITE_DOCS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == generated,
        "docs/manifest.md differs from the types; run: GROMA_WRITE_DOCS=1 cargo test -p groma-manifest"
    );
}
