//! The views that every session has.

use std::fs;
use std::path::Path;

const IN_FORCE: &str = include_str!("views/in_force.sql");
const ALL_LIVE: &str = include_str!("views/all_live.sql");
const EXTENDED: &str = include_str!("views/extended.sql");
const UNIFIED: &str = include_str!("views/unified.sql");

/// What the unified views of a direction are filled with: see `views/extended.sql` and `views/unified.sql`.
const DIRECTIONS: [&[(&str, &str)]; 2] = [
    &[
        ("name", "downloads"),
        ("direction", "Download"),
        ("bytes", "BytesAcked"),
        (
            "early_exit",
            "coalesce(list_contains([m.Name FOR m IN measured.ClientMetadata], 'early_exit'), false)",
        ),
        ("congestion_control", "a.CongestionControl"),
        ("loss_rate", "a.LossRate"),
    ],
    &[
        ("name", "uploads"),
        ("direction", "Upload"),
        ("bytes", "BytesReceived"),
        ("early_exit", "false"),
        ("congestion_control", "'Unknown'"),
        ("loss_rate", "NULL::DOUBLE"),
    ],
];

/// The statements that make the views of a lake: `<experiment>.<datatype>` for every table, and where there is
/// `ndt.ndt7`, `ndt.unified_downloads` and `ndt.unified_uploads`.
pub fn statements(lake: &Path) -> Vec<String> {
    let mut statements = Vec::new();
    let mut has_ndt7 = false;
    for experiment in names(lake) {
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {experiment}"));
        for datatype in names(&lake.join(&experiment)) {
            let table = lake.join(&experiment).join(&datatype);
            if !has_file(&table.join("live"), "parquet")
                && !has_file(&table.join("sealed"), "parquet")
            {
                continue;
            }
            has_ndt7 |= experiment == "ndt" && datatype == "ndt7";
            let text = if has_file(&table.join("log"), "json") {
                IN_FORCE
            } else {
                ALL_LIVE
            };
            let root = table.to_string_lossy().replace('\'', "''");
            let values: [(&str, &str); 3] = [
                ("schema", &experiment),
                ("table", &datatype),
                ("root", &root),
            ];
            statements.push(fill(text, &values));
        }
    }
    if has_ndt7 {
        statements.push("CREATE SCHEMA ndt_intermediate".to_owned());
        for values in DIRECTIONS {
            statements.push(fill(EXTENDED, values));
            statements.push(fill(UNIFIED, values));
        }
    }
    statements
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

/// Folders that can be experiments or datatypes, by name: a letter, then letters and digits.
fn names(dir: &Path) -> Vec<String> {
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_name)
        .collect();
    names.sort();
    names
}

/// Whether a `date=…` folder below has a file with this suffix.
fn has_file(dir: &Path, suffix: &str) -> bool {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    below(dir)
        .flat_map(|date| fs::read_dir(date.path()).into_iter().flatten().flatten())
        .any(|file| file.path().extension().is_some_and(|found| found == suffix))
}
