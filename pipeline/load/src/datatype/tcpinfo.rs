//! Snapshots of a connection: `tcpinfo`, netlink records as tcp-info keeps them.

use std::cell::RefCell;

use arrow_schema::{DataType, Field, Fields};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use groma_diag::{
    BbrAttribute, DctcpInfo, MESSAGE_BYTES, MemInfo, Snapshot, SocketId, SocketMem, VegasInfo,
};
use groma_sock::TcpInfo;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};

use super::ndt7::without_mark;
use super::{Measurement, Rule, base_name};
use crate::column::Micros;
use crate::row::Batch;

/// Every snapshot.
pub const EVERY_SNAPSHOT: Rule = Rule {
    name: "every-snapshot",
    what: "raw.Snapshots has every snapshot of the file.",
    why: "M-Lab keeps the first, every tenth and the last, and its rows do not say so.",
};

/// Every piece.
pub const EVERY_PIECE: Rule = Rule {
    name: "every-piece",
    what: "A connection of several files has a row for each; the key is (id, raw.Metadata.Sequence).",
    why: "M-Lab's deduplication by id deletes all pieces but one of connections longer than ten minutes.",
};

/// A bad record is one bad record.
pub const BAD_RECORD: Rule = Rule {
    name: "bad-record",
    what: "A line that cannot be decoded is an error with its number; the other lines become snapshots.",
    why: "M-Lab's parser drops the whole connection and reports success.",
};

/// Records without attributes.
pub const NOT_OBSERVED: Rule = Rule {
    name: "not-observed",
    what: "A record without a single attribute is no snapshot. A file without snapshots is an error.",
    why: "As M-Lab: such a record says nothing about the connection.",
};

/// Every way in which a row differs from its file.
pub const RULES: &[Rule] = &[EVERY_SNAPSHOT, EVERY_PIECE, BAD_RECORD, NOT_OBSERVED];

/// Most attributes of a record; kernels know some twenty.
const MOST_ATTRIBUTES: usize = 64;

/// A connection of ten minutes has 60,000 snapshots of 120 columns.
pub(super) const SLOTS: u64 = 4;

pub(super) fn is_wanted(member: &str) -> bool {
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

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "Timestamp", borrow)]
    timestamp: &'a str,
    #[serde(rename = "RawIDM", borrow, default)]
    message: Option<&'a str>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<Attributes<'a>>,
    #[serde(rename = "Metadata", default)]
    metadata: Option<Metadata>,
}

/// The list of attributes; it costs no memory of its own, of which a file has tens of thousands.
struct Attributes<'a> {
    all: [Option<&'a str>; MOST_ATTRIBUTES],
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Attributes<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of base64")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let (mut all, mut count) = ([None; MOST_ATTRIBUTES], 0);
                while let Some(text) = seq.next_element()? {
                    *all.get_mut(count).ok_or_else(|| {
                        A::Error::custom(format!("more than {MOST_ATTRIBUTES} attributes"))
                    })? = text;
                    count += 1;
                }
                Ok(Attributes { all, count })
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "UUID")]
    uuid: String,
    #[serde(default)]
    sequence: i64,
    #[serde(default)]
    start_time: Option<String>,
}

pub(super) fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    let records = Records {
        bytes: source.bytes,
        found: RefCell::default(),
    };
    batch.put("raw", &Raw { records: &records })?;
    let found = records.found.into_inner();
    for problem in found.problems {
        batch.problem(problem);
    }
    let metadata = found.metadata.ok_or("no line with Metadata")?;
    let last = found.last.ok_or("no snapshot")?;
    let id = last
        .snapshot
        .inet_diag_msg
        .as_ref()
        .and_then(|message| message.id.as_ref());
    let summary = Summary {
        sock_id: id,
        final_snapshot: Row::of(&last),
    };
    batch.put("a", &summary)?;
    batch.end_row(Some(&without_mark(&metadata.uuid)), source.archiver);
    Ok(())
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(rename = "SockID")]
    sock_id: Option<&'a SocketId>,
    #[serde(rename = "FinalSnapshot")]
    final_snapshot: Row<'a>,
}

/// The file as the column `raw`, decoded line by line while it is put, so that no more than one snapshot is held.
struct Raw<'a> {
    records: &'a Records<'a>,
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut raw = serializer.serialize_struct("raw", 2)?;
        raw.serialize_field("Snapshots", self.records)?;
        raw.serialize_field("Metadata", &self.records.found.borrow().metadata)?;
        raw.end()
    }
}

struct Records<'a> {
    bytes: &'a [u8],
    found: RefCell<Found>,
}

/// What was come across on the way through the lines.
#[derive(Default)]
struct Found {
    metadata: Option<Metadata>,
    last: Option<Timed>,
    problems: Vec<String>,
}

struct Timed {
    at: Micros,
    snapshot: Snapshot,
}

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut found = self.found.borrow_mut();
        let mut decoder = Decoder::default();
        for (number, line) in self.bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match decoder.decode(line) {
                Ok((metadata, timed)) => {
                    if found.metadata.is_none() {
                        found.metadata = metadata;
                    }
                    let Some(timed) = timed.filter(|timed| timed.snapshot.observed != 0) else {
                        continue;
                    };
                    list.serialize_element(&Row::of(&timed))?;
                    found.last = Some(timed);
                }
                Err(reason) if found.problems.len() < Batch::MOST_PROBLEMS => {
                    found
                        .problems
                        .push(format!("line {}: {reason}", number + 1));
                }
                Err(_) => {}
            }
        }
        list.end()
    }
}

/// Decodes lines into buffers that are used again.
#[derive(Default)]
struct Decoder {
    bytes: Vec<u8>,
    ends: Vec<(u16, usize)>,
}

impl Decoder {
    fn decode(&mut self, line: &[u8]) -> Result<(Option<Metadata>, Option<Timed>), String> {
        let line = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some(message) = line.message else {
            return match line.metadata {
                None => Err("neither Metadata nor RawIDM".to_owned()),
                metadata => Ok((metadata, None)),
            };
        };
        let instant: jiff::Timestamp = line
            .timestamp
            .parse()
            .map_err(|_| "Timestamp is no RFC 3339 time".to_owned())?;
        let attributes = line
            .attributes
            .as_ref()
            .map_or(&[][..], |given| &given.all[..given.count]);
        self.bytes.clear();
        self.ends.clear();
        let decode = |text: &str, bytes: &mut Vec<u8>, what: &str| {
            BASE64_STANDARD
                .decode_vec(text, bytes)
                .map_err(|_| format!("{what} is no base64"))
        };
        decode(message, &mut self.bytes, "RawIDM")?;
        let head: [u8; MESSAGE_BYTES] =
            self.bytes.as_slice().try_into().map_err(|_| {
                format!("RawIDM has {} bytes, not {MESSAGE_BYTES}", self.bytes.len())
            })?;
        for (kind, text) in attributes.iter().enumerate() {
            if let Some(text) = text {
                decode(text, &mut self.bytes, "an attribute")?;
                self.ends.push((kind as u16, self.bytes.len()));
            }
        }
        let mut begin = MESSAGE_BYTES;
        let bytes = &self.bytes;
        let parts = self.ends.iter().map(|(kind, end)| {
            let part = &bytes[begin..*end];
            begin = *end;
            (*kind, part)
        });
        let snapshot = Snapshot::from_parts(&head, parts);
        let at = Micros(instant.as_microsecond());
        Ok((line.metadata, Some(Timed { at, snapshot })))
    }
}

/// A snapshot in the order of the table's columns.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    timestamp: Micros,
    observed: u32,
    not_fully_parsed: u32,
    inet_diag_msg: Option<Message>,
    congestion_algorithm: &'a str,
    #[serde(rename = "TOS")]
    tos: u8,
    #[serde(rename = "TClass")]
    tclass: u8,
    #[serde(rename = "ClassID")]
    class_id: u32,
    shutdown: u8,
    protocol: u8,
    mark: u32,
    #[serde(rename = "TCPInfo")]
    tcp_info: Option<&'a TcpInfo>,
    mem_info: Option<&'a MemInfo>,
    socket_mem: Option<&'a SocketMem>,
    vegas_info: Option<&'a VegasInfo>,
    #[serde(rename = "DCTCPInfo")]
    dctcp_info: Option<&'a DctcpInfo>,
    #[serde(rename = "BBRInfo")]
    bbr_info: Option<&'a BbrAttribute>,
}

#[derive(Serialize)]
struct Message {
    #[serde(rename = "IDiagFamily")]
    family: u8,
    #[serde(rename = "IDiagState")]
    state: u8,
    #[serde(rename = "IDiagTimer")]
    timer: u8,
    #[serde(rename = "IDiagRetrans")]
    retrans: u8,
    #[serde(rename = "IDiagExpires")]
    expires: u32,
    #[serde(rename = "IDiagRqueue")]
    rqueue: u32,
    #[serde(rename = "IDiagWqueue")]
    wqueue: u32,
    #[serde(rename = "IDiagUID")]
    uid: u32,
    #[serde(rename = "IDiagInode")]
    inode: u32,
}

impl<'a> Row<'a> {
    fn of(timed: &'a Timed) -> Self {
        let of = &timed.snapshot;
        Row {
            timestamp: timed.at,
            observed: of.observed,
            not_fully_parsed: of.not_fully_parsed,
            inet_diag_msg: of.inet_diag_msg.as_ref().map(|message| Message {
                family: message.family,
                state: message.state,
                timer: message.timer,
                retrans: message.retrans,
                expires: message.words.expires_ms,
                rqueue: message.words.rqueue_bytes,
                wqueue: message.words.wqueue_bytes,
                uid: message.words.uid,
                inode: message.words.inode,
            }),
            congestion_algorithm: &of.congestion_algorithm,
            tos: of.tos,
            tclass: of.tclass,
            class_id: of.class_id,
            shutdown: of.shutdown,
            protocol: of.protocol,
            mark: of.mark,
            tcp_info: of.tcp_info.as_ref(),
            mem_info: of.mem_info.as_ref(),
            socket_mem: of.socket_mem.as_ref(),
            vegas_info: of.vegas_info.as_ref(),
            dctcp_info: of.dctcp_info.as_ref(),
            bbr_info: of.bbr_info.as_ref(),
        }
    }
}
