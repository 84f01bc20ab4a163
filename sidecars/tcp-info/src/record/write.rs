//! Lines, written into reused buffers.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use groma_diag::{MESSAGE_BYTES, Record};
use jiff::Timestamp;
use serde::Serialize;

use super::{End, Line, Metadata, Polls};

/// Attribute types above this are not written, as in M-Lab's files.
const LARGEST_TYPE: usize = 38;
/// Longer attributes hold no socket state. Without them a line stays far below the 64 KiB that readers accept.
const LARGEST_PAYLOAD: usize = 1024;
/// The time of every header: Go's zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A time in the form of a line. All lines of one poll have the same time, so it is formatted once.
#[derive(Debug, Default)]
pub(crate) struct LineTime(String);

impl LineTime {
    pub(crate) fn set(&mut self, time: Timestamp) {
        use std::fmt::Write as _;
        self.0.clear();
        write!(self.0, "{time}").expect("a String takes everything");
    }
}

/// The first line of every file.
pub(crate) fn write_header(buffer: &mut Vec<u8>, metadata: &Metadata) {
    #[derive(Serialize)]
    struct Header<'a> {
        #[serde(rename = "Timestamp")]
        timestamp: &'static str,
        #[serde(rename = "Metadata")]
        metadata: &'a Metadata,
    }
    push_json(
        buffer,
        &Header {
            timestamp: NO_TIME,
            metadata,
        },
    );
}

/// The last line: the header again, why the file ended, and how often the kernel was asked meanwhile.
pub(crate) fn write_end(
    buffer: &mut Vec<u8>,
    metadata: &Metadata,
    end: End,
    polls: Option<&Polls>,
    lost_records: u64,
) {
    #[derive(Serialize)]
    struct Last<'a> {
        #[serde(rename = "Timestamp")]
        timestamp: &'static str,
        #[serde(rename = "Metadata")]
        metadata: &'a Metadata,
        #[serde(rename = "End")]
        end: End,
        #[serde(rename = "Polls", skip_serializing_if = "Option::is_none")]
        polls: Option<&'a Polls>,
        #[serde(rename = "LostRecords", skip_serializing_if = "is_zero")]
        lost_records: u64,
    }
    let timestamp = NO_TIME;
    push_json(
        buffer,
        &Last {
            timestamp,
            metadata,
            end,
            polls,
            lost_records,
        },
    );
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn push_json(buffer: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *buffer, line)
        .expect("a Vec takes everything, and keys are strings");
    buffer.push(b'\n');
}

/// The line of a message of the kernel, with its line feed.
pub fn encode_record(time: Timestamp, record: Record<'_>) -> String {
    let mut buffer = Vec::new();
    let mut line_time = LineTime::default();
    line_time.set(time);
    write_record(&mut buffer, &line_time, record);
    text(buffer)
}

/// The line that [`Line::parse`] reads as this, with its line feed.
pub fn encode_line(line: &Line) -> String {
    let mut buffer = Vec::new();
    match line {
        Line::Header(metadata) => write_header(&mut buffer, metadata),
        Line::End {
            metadata,
            end,
            polls,
            lost_records,
        } => {
            write_end(&mut buffer, metadata, *end, polls.as_ref(), *lost_records);
        }
        Line::Record(record) => {
            let mut time = LineTime::default();
            time.set(record.timestamp);
            let payloads = record.attributes.iter().map(Option::as_deref);
            write_payloads(&mut buffer, &time, &record.message, payloads);
        }
    }
    text(buffer)
}

fn text(buffer: Vec<u8>) -> String {
    String::from_utf8(buffer).expect("JSON of strings and base64")
}

/// One snapshot.
pub(crate) fn write_record(buffer: &mut Vec<u8>, time: &LineTime, record: Record<'_>) {
    let mut payloads: [Option<&[u8]>; LARGEST_TYPE + 1] = [None; LARGEST_TYPE + 1];
    let mut count = 0;
    for (kind, payload) in record.attributes() {
        let kind = usize::from(kind);
        if (1..=LARGEST_TYPE).contains(&kind) && payload.len() <= LARGEST_PAYLOAD {
            payloads[kind] = Some(payload);
            count = count.max(kind + 1);
        }
    }
    write_payloads(
        buffer,
        time,
        record.message(),
        payloads[..count].iter().copied(),
    );
}

fn write_payloads<'a>(
    buffer: &mut Vec<u8>,
    time: &LineTime,
    message: &[u8; MESSAGE_BYTES],
    payloads: impl Iterator<Item = Option<&'a [u8]>>,
) {
    write!(buffer, r#"{{"Timestamp":"{}","RawIDM":"#, time.0).expect("a Vec takes everything");
    push_base64(buffer, message);
    let mut any = false;
    for payload in payloads {
        buffer.extend_from_slice(if any { b"," } else { br#","Attributes":["# });
        any = true;
        match payload {
            Some(payload) => push_base64(buffer, payload),
            None => buffer.extend_from_slice(b"null"),
        }
    }
    buffer.extend_from_slice(if any { b"]}\n" } else { b"}\n" });
}

fn push_base64(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.push(b'"');
    let start = buffer.len();
    buffer.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD
        .encode_slice(bytes, &mut buffer[start..])
        .expect("four characters for every three bytes");
    buffer.push(b'"');
}
