//! JSON lines: many rows in a file, none with an id. The table of unadmitted connections is one of these.

use super::{Datatype, Measurement, Rule, base_name};
use crate::row::Batch;

/// Each line is a row.
const ROW_PER_LINE: Rule = Rule {
    name: "row-per-line",
    what: "Each line of a file is a row without an id.",
    why: "The recorder writes many connections into one file, and none of them has a published UUID.",
};

/// A bad line is one error.
const BAD_LINE: Rule = Rule {
    name: "bad-line",
    what: "A line that cannot be read is an error of its own; the other lines become rows.",
    why: "The other connections are still counted.",
};

/// See [`JSON_LINES`](super::JSON_LINES).
#[derive(Debug)]
pub(super) struct Lines;

impl Datatype for Lines {
    fn rules(&self) -> &'static [Rule] {
        &[ROW_PER_LINE, BAD_LINE]
    }

    fn wants(&self, member: &str) -> bool {
        let stem = base_name(member).strip_suffix(".jsonl");
        stem.is_some_and(|stem| !stem.is_empty())
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
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
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use crate::Datatype as _;

    #[test]
    fn wants_files_of_lines_only() {
        for (name, wanted) in [
            ("2026/11/30/20261130T21_0123456789abcdef.jsonl", true),
            ("a.json", false),
            (".jsonl", false),
            ("a.jsonl.zst", false),
        ] {
            assert_eq!(Lines.wants(name), wanted, "{name}");
        }
    }
}
