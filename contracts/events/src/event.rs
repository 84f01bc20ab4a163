//! One event and its line.

use std::net::IpAddr;

use groma_uuid::Uuid;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest line that is read; every line that is written is far shorter.
pub const LINE_BYTES: usize = 64 * 1024;

/// Both ends of a connection as its server's machine sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowId {
    /// Local port.
    #[serde(rename = "SPort")]
    pub local_port: u16,
    /// Remote port.
    #[serde(rename = "DPort")]
    pub remote_port: u16,
    /// Local address.
    #[serde(rename = "SrcIP")]
    pub local_ip: IpAddr,
    /// Remote address.
    #[serde(rename = "DstIP")]
    pub remote_ip: IpAddr,
    /// Index of the interface that the socket is bound to, or 0.
    #[serde(rename = "Interface", default)]
    pub interface: u32,
    /// The socket cookie; its unsigned value is written as a signed number.
    #[serde(rename = "Cookie", default)]
    pub cookie: i64,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was seen for the first time (`"Event":0`).
    Open {
        /// When, UTC.
        timestamp: Timestamp,
        /// Its name.
        uuid: Uuid,
        /// Its ends.
        id: FlowId,
    },
    /// It is gone (`"Event":1`).
    Close {
        /// When that was noticed, UTC.
        timestamp: Timestamp,
        /// Its name.
        uuid: Uuid,
    },
}

/// A line that is no event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not the JSON that is expected.
    #[error("event line: {0}")]
    Json(#[from] serde_json::Error),
    /// An event of a later version.
    #[error("unknown event number {0}")]
    Unknown(i64),
    /// A name that is no UUID; listeners make file names of it.
    #[error("event line: {0}")]
    Uuid(#[from] groma_uuid::UuidError),
    /// An open event says nothing about the ends.
    #[error("open event of {0} without ID")]
    NoId(String),
}

/// The line; its order of fields is the order of the keys.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "Event")]
    event: i64,
    #[serde(rename = "Timestamp")]
    timestamp: Timestamp,
    #[serde(rename = "UUID")]
    uuid: String,
    #[serde(rename = "ID", default)]
    id: Option<FlowId>,
}

impl Event {
    /// The name of the connection.
    pub fn uuid(&self) -> &Uuid {
        match self {
            Self::Open { uuid, .. } | Self::Close { uuid, .. } => uuid,
        }
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> String {
        let line = match self {
            Self::Open {
                timestamp,
                uuid,
                id,
            } => Line {
                event: 0,
                timestamp: *timestamp,
                uuid: uuid.to_string(),
                id: Some(id.clone()),
            },
            Self::Close { timestamp, uuid } => Line {
                event: 1,
                timestamp: *timestamp,
                uuid: uuid.to_string(),
                id: None,
            },
        };
        let mut text = serde_json::to_string(&line).expect("a line has no map and no float");
        text.push('\n');
        text
    }

    /// Reads a line, with or without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, EventError> {
        let line: Line = serde_json::from_slice(line)?;
        // The number comes first: an event of a later version may have any shape behind it.
        let (timestamp, uuid) = (line.timestamp, line.uuid);
        match line.event {
            0 => Ok(Self::Open {
                timestamp,
                id: line.id.ok_or_else(|| EventError::NoId(uuid.clone()))?,
                uuid: uuid.parse()?,
            }),
            1 => Ok(Self::Close {
                timestamp,
                uuid: uuid.parse()?,
            }),
            unknown => Err(EventError::Unknown(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: &str = r#"{"Event":0,"Timestamp":"2024-01-02T03:04:05.678901234Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":{"SPort":443,"DPort":51234,"SrcIP":"192.0.2.1","DstIP":"198.51.100.7","Interface":0,"Cookie":1000}}"#;
    const CLOSE: &str = r#"{"Event":1,"Timestamp":"2024-01-02T03:04:15.1Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":null}"#;

    #[test]
    fn lines_are_written_as_the_reference_has_them() {
        for text in [OPEN, CLOSE] {
            let event = Event::parse(text.as_bytes()).unwrap();
            assert_eq!(event.to_line(), format!("{text}\n"));
        }
    }

    #[test]
    fn a_large_cookie_is_a_negative_number() {
        let text = OPEN
            .replace("1000}", "-1}")
            .replace("192.0.2.1", "2001:db8::1");
        let Event::Open { id, .. } = Event::parse(text.as_bytes()).unwrap() else {
            panic!("not open")
        };
        assert_eq!(
            (id.cookie.cast_unsigned(), id.local_ip.is_ipv6()),
            (u64::MAX, true)
        );
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let later = OPEN.replace("\"Event\":0", "\"Event\":7");
        assert!(matches!(
            Event::parse(later.as_bytes()),
            Err(EventError::Unknown(7))
        ));
        let nameless = CLOSE.replace("\"Event\":1", "\"Event\":0");
        assert!(matches!(
            Event::parse(nameless.as_bytes()),
            Err(EventError::NoId(_))
        ));
        let path = CLOSE.replace("ndt-", "../../");
        assert!(matches!(
            Event::parse(path.as_bytes()),
            Err(EventError::Uuid(_))
        ));
        assert!(matches!(
            Event::parse(b"{\"Event\""),
            Err(EventError::Json(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = Event::parse(&line);
        }
    }
}
