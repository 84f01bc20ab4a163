//! Connections that were not admitted to a test: `unadmitted`, many rows in a file.

use super::{Measurement, Rule, base_name};
use crate::row::Batch;

/// A row for each line.
pub const ROW_PER_LINE: Rule = Rule {
    name: "row-per-line",
    what: "Each line of a file is a row without an id.",
    why: "The recorder writes many connections into one file, and none of them has a published UUID.",
};

/// A bad line is one bad line.
pub const BAD_LINE: Rule = Rule {
    name: "bad-line",
    what: "A line that cannot be read is an error of its own; the other lines become rows.",
    why: "The other connections are still counted.",
};

/// Every way in which a row differs from its file.
pub const RULES: &[Rule] = &[ROW_PER_LINE, BAD_LINE];

pub(super) fn is_wanted(member: &str) -> bool {
    let stem = base_name(member).strip_suffix(".jsonl");
    stem.is_some_and(|stem| !stem.is_empty())
}

pub(super) fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    super::bound_values(source.bytes, batch)?;
    let before = batch.rows();
    let lines = source.bytes.split(|byte| *byte == b'\n');
    for (number, line) in (1..).zip(lines) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let rows = batch.rows();
        match batch.put_json("raw", line) {
            Ok(()) => batch.end_row(None, source.archiver),
            Err(reason) => {
                batch.cut(rows);
                batch.problem(format!("line {number}: {reason}"));
            }
        }
    }
    if batch.rows() == before {
        return Err("no row".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    #[test]
    fn wants_files_of_lines_only() {
        for (name, wanted) in [
            ("2026/11/30/20261130T21_0123456789abcdef.jsonl", true),
            ("a.json", false),
            (".jsonl", false),
            ("a.jsonl.zst", false),
        ] {
            assert_eq!(is_wanted(name), wanted, "{name}");
        }
    }
}
