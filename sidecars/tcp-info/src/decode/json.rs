//! One JSON object per snapshot, with the names of M-Lab's `tcpinfo` table.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Recording;
use crate::record::ArchivalRecord;

/// Writes a line per snapshot: `Timestamp`, `SockID`, then the fields of the table's `Snapshots`.
pub fn write_json(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    for record in &recording.records {
        serde_json::to_writer(&mut *out, &row(record))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

pub(super) fn row(record: &ArchivalRecord) -> Value {
    let snapshot = record.decode();
    let id = snapshot
        .inet_diag_msg
        .as_ref()
        .and_then(|message| message.id.clone());
    let mut row = json!({ "Timestamp": record.timestamp, "SockID": id });
    let fields = serde_json::to_value(&snapshot).expect("numbers and strings under string keys");
    if let (Value::Object(row), Value::Object(fields)) = (&mut row, fields) {
        row.extend(fields);
    }
    row
}
