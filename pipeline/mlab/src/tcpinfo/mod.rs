//! Snapshots of a connection: `tcpinfo`, netlink records as tcp-info keeps them.

mod columns;
mod line;
mod plain;

use std::io::BufRead as _;

use arrow_schema::{DataType, Field, Fields};
use serde::ser::{SerializeSeq as _, SerializeStruct as _, Serializer as _};

use self::columns::Columns;
use self::line::{Decoder, Line, Metadata};
use super::ndt7::without_mark;
use groma_load::Batch;
use groma_load::{Datatype, Measurement, Rule, base_name, record};
use groma_load::{Place, Unfit};

/// Every snapshot.
pub(crate) const EVERY_SNAPSHOT: Rule = Rule {
    name: "every-snapshot",
    what: "raw.Snapshots has every snapshot of the file.",
    why: "M-Lab keeps the first, every tenth and the last, and its rows do not say so.",
};

/// Every piece.
pub(crate) const EVERY_PIECE: Rule = Rule {
    name: "every-piece",
    what: "A connection of several files has a row for each; the key is (id, raw.Metadata.Sequence).",
    why: "M-Lab's deduplication by id deletes all pieces but one of connections longer than ten minutes.",
};

/// A bad record is one bad record.
pub(crate) const BAD_RECORD: Rule = Rule {
    name: "bad-record",
    what: "A line that cannot be decoded is an error with its number; the other lines become snapshots.",
    why: "M-Lab's parser drops the whole connection and reports success.",
};

/// Records without attributes.
pub(crate) const NOT_OBSERVED: Rule = Rule {
    name: "not-observed",
    what: "A record without any attribute is not a snapshot. A file without snapshots is an error.",
    why: "As M-Lab: such a record has no data about the connection.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[EVERY_SNAPSHOT, EVERY_PIECE, BAD_RECORD, NOT_OBSERVED];

/// A connection of ten minutes has 60,000 snapshots of 120 columns.
const SLOTS: u64 = 4;

/// Snapshots of connections: `tcpinfo`.
#[derive(Debug)]
pub(crate) struct Tcpinfo;

impl Datatype for Tcpinfo {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![record("a", summary_fields(&fields)), record("raw", fields)]
    }

    fn slots(&self) -> u64 {
        SLOTS
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    name.ends_with(".jsonl.zst") || name.ends_with(".jsonl.gz") || name.ends_with(".jsonl")
}

/// The columns of `a`: both ends, and the last snapshot, which has the fields of every snapshot.
pub(super) fn summary_fields(raw: &Fields) -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let ends = vec![
        number("SPort"),
        number("DPort"),
        text("SrcIP"),
        text("DstIP"),
        number("Interface"),
        number("Cookie"),
    ];
    let mut fields = vec![Field::new("SockID", DataType::Struct(ends.into()), true)];
    if let Some((_, snapshots)) = raw.find("Snapshots")
        && let DataType::List(item) = snapshots.data_type()
    {
        fields.push(Field::new("FinalSnapshot", item.data_type().clone(), true));
    }
    fields.into()
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    let mut file = File::default();
    batch.place("raw", |place| {
        let put = file.put_raw(place, source.bytes);
        put.map_err(|error| error.to_string())
    })?;
    for problem in std::mem::take(&mut file.problems) {
        batch.problem(problem);
    }
    if file.metadata.is_none() {
        return Err("no line with Metadata".to_owned());
    }
    if file.decoder.last().is_none() {
        return Err("no snapshot".to_owned());
    }
    batch.place("a", |place| {
        file.put_summary(place).map_err(|error| error.to_string())
    })?;
    let uuid = file.metadata.as_ref().map(|data| without_mark(&data.uuid));
    batch.end_row(uuid.as_deref(), source.archiver);
    Ok(())
}

/// A file on its way into the columns, line by line, so that no more is held of it than what is about to be put.
#[derive(Default)]
struct File {
    columns: Columns,
    decoder: Decoder,
    metadata: Option<Metadata>,
    problems: Vec<String>,
}

impl File {
    fn put_raw(&mut self, place: Place<'_, '_>, bytes: &[u8]) -> Result<(), Unfit> {
        let mut raw = place.serialize_struct("raw", 2)?;
        raw.with("Snapshots", |place| self.put_snapshots(place, bytes))?;
        raw.serialize_field("Metadata", &self.metadata)?;
        raw.end()
    }

    fn put_snapshots(&mut self, place: Place<'_, '_>, bytes: &[u8]) -> Result<(), Unfit> {
        let mut list = place.serialize_seq(None)?;
        let mut rest = bytes;
        for number in 1_u64.. {
            let all = rest;
            // Unlike a search byte by byte, this takes no part of the time.
            let length = rest.skip_until(b'\n').unwrap_or_default();
            if length == 0 {
                break;
            }
            let line = &all[..length];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.decoder.decode(line) {
                Ok(Line::Snapshot(timed)) => self.columns.take(list.next()?, timed)?,
                Ok(Line::Metadata(data)) => {
                    self.metadata.get_or_insert(data);
                }
                Err(reason) if self.problems.len() < Batch::MOST_PROBLEMS => {
                    self.problems.push(format!("line {number}: {reason}"));
                }
                Ok(Line::NotObserved) | Err(_) => {}
            }
        }
        self.columns.put(list.last())?;
        list.end()
    }

    fn put_summary(&mut self, place: Place<'_, '_>) -> Result<(), Unfit> {
        let mut summary = place.serialize_struct("a", 2)?;
        let Some(last) = self.decoder.last() else {
            return summary.end();
        };
        let message = last.snapshot.inet_diag_msg.as_ref();
        summary.serialize_field("SockID", &message.and_then(|message| message.id.as_ref()))?;
        summary.with("FinalSnapshot", |mut place| {
            self.columns.take(place.again(), last)?;
            self.columns.put(place)
        })?;
        summary.end()
    }
}
