//! Lines, read back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use groma_diag::{MESSAGE_BYTES, Snapshot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Polls;

/// The header's data about the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name of the connection.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// Number of this file among those of the connection, from 0.
    #[serde(rename = "Sequence")]
    pub sequence: u32,
    /// When the connection was seen first; the same in all its files.
    #[serde(rename = "StartTime")]
    pub start_time: Timestamp,
}

/// Why a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The connection closed; the last snapshot is the kernel's last word.
    Closed,
    /// The connection was aborted: the kernel's last word has lost its counters, so the last snapshot is from before.
    Aborted,
    /// The connection is gone and its last word was not heard.
    Vanished,
    /// The connection goes on in the next file.
    Rotated,
    /// The recorder was stopped; the connection may have gone on.
    Stopped,
    /// The recorder died; up to a second of snapshots may be missing at the end.
    Interrupted,
}

/// One snapshot as the kernel's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivalRecord {
    /// When the kernel had answered.
    pub timestamp: Timestamp,
    /// `struct inet_diag_msg`.
    pub message: Box<[u8; MESSAGE_BYTES]>,
    /// Payloads of the attributes by type.
    pub attributes: Vec<Option<Vec<u8>>>,
}

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The first line.
    Header(Metadata),
    /// A snapshot.
    Record(ArchivalRecord),
    /// The last line of files of ours.
    End {
        /// The header again.
        metadata: Metadata,
        /// Why the file ended.
        end: End,
        /// How often the kernel was asked; absent where the recorder died.
        polls: Option<Polls>,
        /// Snapshots that could not be written.
        lost_records: u64,
    },
}

/// A line that is none of a tcpinfo file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not the JSON that is expected.
    #[error("tcpinfo line: {0}")]
    Json(#[from] serde_json::Error),
    /// A blob is not base64.
    #[error("tcpinfo line: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The message has another length than the kernel's structure.
    #[error("tcpinfo line: RawIDM has {0} bytes, not {MESSAGE_BYTES}")]
    MessageLength(usize),
    /// Neither header nor snapshot.
    #[error("tcpinfo line without Metadata and RawIDM")]
    Empty,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "Timestamp", borrow)]
    timestamp: std::borrow::Cow<'a, str>,
    #[serde(rename = "RawIDM", borrow, default)]
    message: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<Vec<Option<std::borrow::Cow<'a, str>>>>,
    #[serde(rename = "Metadata", default)]
    metadata: Option<Metadata>,
    #[serde(rename = "End", default)]
    end: Option<End>,
    #[serde(rename = "Polls", default)]
    polls: Option<Polls>,
    #[serde(rename = "LostRecords", default)]
    lost_records: u64,
}

impl Line {
    /// Reads one line, with or without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, ReadError> {
        let raw: Raw<'_> = serde_json::from_slice(line)?;
        match (raw.metadata, raw.message) {
            (Some(metadata), None) => Ok(match raw.end {
                None => Self::Header(metadata),
                Some(end) => Self::End {
                    metadata,
                    end,
                    polls: raw.polls,
                    lost_records: raw.lost_records,
                },
            }),
            (_, Some(message)) => {
                let message = STANDARD.decode(message.as_bytes())?;
                let length = message.len();
                let message = message
                    .into_boxed_slice()
                    .try_into()
                    .map_err(|_| ReadError::MessageLength(length))?;
                let decode = |text: Option<std::borrow::Cow<'_, str>>| {
                    text.map(|text| STANDARD.decode(text.as_bytes()))
                        .transpose()
                };
                Ok(Self::Record(ArchivalRecord {
                    timestamp: raw
                        .timestamp
                        .parse()
                        .map_err(serde::de::Error::custom)
                        .map_err(ReadError::Json)?,
                    message,
                    attributes: raw
                        .attributes
                        .unwrap_or_default()
                        .into_iter()
                        .map(decode)
                        .collect::<Result<_, _>>()?,
                }))
            }
            (None, None) => Err(ReadError::Empty),
        }
    }
}

impl ArchivalRecord {
    /// The snapshot in numbers.
    pub fn decode(&self) -> Snapshot {
        let present = self
            .attributes
            .iter()
            .enumerate()
            .filter_map(|(kind, payload)| Some((u16::try_from(kind).ok()?, payload.as_deref()?)));
        Snapshot::from_parts(&self.message, present)
    }
}
