//! The record of a connection: the rows of `tcpinfo` with its UUID, one for each file of the recorder.

use std::collections::BTreeSet;
use std::path::PathBuf;

use groma_uuid::Uuid;
use jiff::civil::Date;
use serde_json::Value;

use crate::lake::{COPY_DAYS, days, for_each_file, with_date};
use crate::row::{Columns, read_rows};
use crate::{Dirs, FindError, Stage, receipt, spool};

/// The datatype of recorded connections.
const TRACE: &str = "tcpinfo";

/// How much of the rows is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Both ends, the last snapshot, and of every snapshot its time, bytes, round-trip time and congestion window.
    Summary,
    /// Everything.
    Whole,
}

/// The rows that were found of a connection.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The furthest stage that a file of it has reached.
    pub stage: Stage,
    /// A file in the spool or among the claimed.
    pub spool_file: Option<PathBuf>,
    /// Its rows by sequence number, as JSON, nested, with their `date`.
    pub rows: Vec<Value>,
    /// Table files that could not be read, so that rows may be in one of them.
    pub unreadable: Vec<PathBuf>,
}

pub(crate) fn is_trace(datatype: &str) -> bool {
    datatype == TRACE
}

/// Looks for what was recorded of the connection with this UUID.
pub fn trace(dirs: &Dirs, uuid: &str, detail: Detail) -> Result<Trace, FindError> {
    let uuid: Uuid = uuid.parse().map_err(|source| FindError::Uuid { source })?;
    let in_spool = spool::find(&dirs.spool, uuid.as_str(), is_trace)?;
    let receipt = receipt(&dirs.publish_state, uuid.as_str(), is_trace)?;
    let columns = match detail {
        Detail::Summary => Columns::Some(is_in_summary),
        Detail::Whole => Columns::All,
    };
    let mut trace = Trace {
        stage: Stage::Unknown,
        spool_file: None,
        rows: Vec::new(),
        unreadable: Vec::new(),
    };
    find_rows(dirs, &uuid, columns, &mut trace)?;
    let stages = [
        in_spool.as_ref().map(|found| found.stage),
        receipt.map(|_| Stage::Published),
        trace.rows.first().map(|_| Stage::Loaded),
    ];
    trace.stage = stages.into_iter().flatten().max().unwrap_or(Stage::Unknown);
    trace.spool_file = in_spool.map(|found| found.path);
    Ok(trace)
}

fn find_rows(
    dirs: &Dirs,
    uuid: &Uuid,
    columns: Columns,
    trace: &mut Trace,
) -> Result<(), FindError> {
    let mut last_found: Option<Date> = None;
    for (date, table) in days(&dirs.lake)? {
        if !is_trace(table.datatype().as_str()) {
            continue;
        }
        let is_far = last_found.is_some_and(|found| (found - date).get_days() > COPY_DAYS);
        if is_far && is_whole(&trace.rows) {
            break;
        }
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for_each_file(&table, date, &mut unreadable, &mut |file, sha256| {
            rows.extend(read_rows(
                &dirs.lake,
                file,
                sha256,
                uuid.as_str(),
                columns,
                usize::MAX,
            )?);
            Ok(true)
        })?;
        trace.unreadable.append(&mut unreadable);
        if !rows.is_empty() {
            last_found = Some(date);
        }
        trace
            .rows
            .extend(rows.into_iter().map(|row| with_date(row, date)));
    }
    // Dates came newest first. Of two copies, that of the first date stays; rows without a sequence number come last.
    trace.rows.reverse();
    trace
        .rows
        .sort_by_key(|row| sequence(row).unwrap_or(i64::MAX));
    // A date that was compacted while it was read may show a row twice.
    trace.rows.dedup_by(|later, first| match sequence(first) {
        None => later == first,
        known => sequence(later) == known,
    });
    Ok(())
}

/// None when the row does not say.
fn sequence(row: &Value) -> Option<i64> {
    row["raw"]["Metadata"]["Sequence"].as_i64()
}

/// Whether every piece from the first to the last that was seen is there.
fn is_whole(rows: &[Value]) -> bool {
    let seen: BTreeSet<i64> = rows.iter().filter_map(sequence).collect();
    !seen.is_empty()
        && seen
            .iter()
            .copied()
            .zip(0..)
            .all(|(seen, wanted)| seen == wanted)
}

/// The columns of [`Detail::Summary`]. Writers choose the names between a list and its elements.
fn is_in_summary(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["id"] | ["a", "SockID" | "FinalSnapshot", ..] | ["raw", "Metadata", ..] => true,
        ["raw", "Snapshots", .., "TCPInfo", field] => matches!(
            field,
            "State" | "BytesAcked" | "BytesReceived" | "RTT" | "SndCwnd"
        ),
        ["raw", "Snapshots", .., field] => field == "Timestamp",
        _ => false,
    }
}
