//! `docs/requirements.md` has one row for each requirement, and claims nothing
//! that is not in the repository.

use std::fs;
use std::path::Path;

/// The requirements of the agreement and of the guidelines.
const SECTIONS: [(char, usize); 2] = [('M', 67), ('R', 100)];
const NOTHING: &str = "—";
/// How the third column begins where the requirement is held only in part.
const PART: &str = "part:";

/// A row of one of the tables.
#[derive(Debug)]
struct Row<'a> {
    id: &'a str,
    held_by: &'a str,
    lacks: &'a str,
}

/// The rows of all tables, without heads; an error is a row of another shape.
fn rows(text: &str) -> Result<Vec<Row<'_>>, String> {
    let begins_with_id = |line: &&str| {
        let cell = line.trim_start_matches(['|', ' ']);
        cell.starts_with(['M', 'R']) && cell[1..].starts_with(|c: char| c.is_ascii_digit())
    };
    text.lines()
        .filter(|line| line.starts_with('|'))
        .filter(begins_with_id)
        .map(|line| {
            let inner = line.trim_start_matches('|').trim_end_matches('|');
            let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
            match cells[..] {
                [id, requirement, held_by, lacks] if !requirement.is_empty() => {
                    Ok(Row { id, held_by, lacks })
                }
                _ => Err(format!("not four filled columns: {line}")),
            }
        })
        .collect()
}

/// The faults of a row, one sentence each.
fn faults(row: &Row<'_>, root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    if row.held_by.is_empty() || row.lacks.is_empty() {
        faults.push(format!("an empty column wants {NOTHING}"));
    }
    let (held, lacking) = (row.held_by != NOTHING, row.lacks != NOTHING);
    let references = references(row.held_by);
    if !held && !lacking {
        faults.push("neither held nor lacking".to_owned());
    }
    if held && references.is_empty() {
        faults.push("held by nothing that has a path".to_owned());
    }
    if held && row.held_by.starts_with(PART) != lacking {
        faults.push(format!(
            "{PART} and what lacks stand together or not at all"
        ));
    }
    faults.extend(
        references
            .into_iter()
            .filter_map(|reference| missing(reference, root)),
    );
    faults
}

/// The texts between backticks.
fn references(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Why a reference leads nowhere: `path`, `path::name` or `path#test`.
fn missing(reference: &str, root: &Path) -> Option<String> {
    let (path, wanted) = if let Some((path, test)) = reference.split_once('#') {
        (path, Some(format!("fn {test}(")))
    } else if let Some((path, name)) = reference.split_once("::") {
        (path, Some(name.to_owned()))
    } else {
        (reference, None)
    };
    let file = root.join(path);
    match wanted {
        None => (!is_there(&file)).then(|| format!("no {path}")),
        Some(wanted) => match fs::read_to_string(&file) {
            Ok(text) => (!text.contains(&wanted)).then(|| format!("no `{wanted}` in {path}")),
            Err(source) => Some(format!("read {path}: {source}")),
        },
    }
}

/// A directory without entries holds nothing, and is not in the repository either.
fn is_there(path: &Path) -> bool {
    fs::read_dir(path).map_or_else(|_| path.is_file(), |mut dir| dir.next().is_some())
}

fn document() -> String {
    fs::read_to_string(groma_tests::workspace().join("docs/requirements.md")).unwrap()
}

#[test]
fn every_requirement_has_one_row_in_order() {
    let text = document();
    let found: Vec<&str> = rows(&text).unwrap().iter().map(|row| row.id).collect();
    let expected: Vec<String> = SECTIONS
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn what_holds_a_requirement_exists() {
    let text = document();
    let faults: Vec<String> = rows(&text)
        .unwrap()
        .iter()
        .flat_map(|row| {
            let faults = faults(row, groma_tests::workspace());
            faults.into_iter().map(move |f| format!("{}: {f}", row.id))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn bad_rows_are_found() {
    let root = groma_tests::workspace();
    let good = [
        "| M1 | x | `LICENSE` | — |",
        "| M1 | x | part: `tests/src/lib.rs::workspace`, `tests` | y |",
        "| M1 | x | `tests/src/lib.rs#workspace` | — |",
        "| M1 | x | — | y |",
    ];
    let bad = [
        "| M1 | x | — | — |",
        "| M1 | x |  | y |",
        "| M1 | x | — |  |",
        "| M1 | x | code | — |",
        "| M1 | x | part: `LICENSE` | — |",
        "| M1 | x | `LICENSE` | y |",
        "| M1 | x | `no/such/file` | — |",
        "| M1 | x | `LICENSE#no_such_test` | — |",
        "| M1 | x | `tests/src/lib.rs::no_such_name` | — |",
        "| M1 | x | `tests::directory` | — |",
    ];
    for (lines, clean) in [(&good[..], true), (&bad[..], false)] {
        for line in lines {
            let row = &rows(line).unwrap()[0];
            assert_eq!(faults(row, root).is_empty(), clean, "{line}");
        }
    }
    for line in [
        "| M1 | x | — |",
        "| M1 |  | — | y |",
        "| M1 | a | b | c | d |",
    ] {
        assert!(rows(line).is_err(), "{line}");
    }
}
