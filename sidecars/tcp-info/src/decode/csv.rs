//! One row per snapshot, one column per number.

use std::io::{self, Write};

use serde_json::Value;

use super::Recording;

/// Writes all snapshots as CSV (RFC 4180, with a header row). Columns are named by the path of the number, for instance
/// `TCPInfo.RTT`; what a snapshot does not have is empty.
pub fn write_csv(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Vec<(String, String)>> = recording
        .records
        .iter()
        .map(|record| flatten(&super::json::row(record)))
        .collect();
    // A structure that first appears later in the connection adds its columns, in the order of first appearance.
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    write_row(out, columns.iter().copied())?;
    for row in &rows {
        let value = |column: &&str| {
            let cell = row.iter().find(|(name, _)| name == column);
            cell.map_or("", |(_, value)| value.as_str())
        };
        write_row(out, columns.iter().map(value))?;
    }
    Ok(())
}

fn write_row<'a>(out: &mut impl Write, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

fn flatten(value: &Value) -> Vec<(String, String)> {
    fn walk(name: &str, value: &Value, cells: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let name = if name.is_empty() {
                        key.clone()
                    } else {
                        format!("{name}.{key}")
                    };
                    walk(&name, value, cells);
                }
            }
            Value::Null => {}
            Value::String(text) => cells.push((name.to_owned(), text.clone())),
            other => cells.push((name.to_owned(), other.to_string())),
        }
    }
    let mut cells = Vec::new();
    walk("", value, &mut cells);
    cells
}
