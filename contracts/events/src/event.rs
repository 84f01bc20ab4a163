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

/// The longest version of a policy, in bytes.
const POLICY_VERSION_BYTES: usize = 32;

/// The admission of one connection to a test, announced by the experiment that runs the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// When the experiment admitted the connection, UTC.
    pub timestamp: Timestamp,
    /// The name of the connection.
    pub uuid: Uuid,
    /// The name of the test: the UUID of its first connection.
    pub test_id: Uuid,
    /// The version of the policy under which the test runs, or `not-sent`: 1 to 32 of `A-Z a-z 0-9 . _ -`.
    pub policy_version: String,
}

/// Something that happened to a connection.
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
    /// It belongs to an admitted test (`"Event":2`). M-Lab's readers log and skip this number.
    Admission(Admission),
}

/// An error about a line that is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not the JSON that is expected.
    #[error("event line: {0}")]
    Json(#[from] serde_json::Error),
    /// An event of a later version.
    #[error("unknown event number {0}")]
    Unknown(i64),
    /// A name that is not a UUID; listeners make file names of it.
    #[error("event line: {0}")]
    Uuid(#[from] groma_uuid::UuidError),
    /// An open event says nothing about the ends.
    #[error("open event of {0} without ID")]
    NoId(String),
    /// An admission without test or policy version, or with a malformed policy version.
    #[error(
        "admission of {0} without a TestID and a PolicyVersion of 1 to 32 characters from A-Z a-z 0-9 . _ -"
    )]
    Admission(String),
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
    #[serde(rename = "TestID", default, skip_serializing_if = "Option::is_none")]
    test_id: Option<String>,
    #[serde(
        rename = "PolicyVersion",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    policy_version: Option<String>,
}

impl Event {
    /// The name of the connection.
    pub fn uuid(&self) -> &Uuid {
        match self {
            Self::Open { uuid, .. } | Self::Close { uuid, .. } => uuid,
            Self::Admission(admission) => &admission.uuid,
        }
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> String {
        let line = |event, timestamp: &Timestamp, uuid: &Uuid| Line {
            event,
            timestamp: *timestamp,
            uuid: uuid.to_string(),
            id: None,
            test_id: None,
            policy_version: None,
        };
        let line = match self {
            Self::Open {
                timestamp,
                uuid,
                id,
            } => Line {
                id: Some(id.clone()),
                ..line(0, timestamp, uuid)
            },
            Self::Close { timestamp, uuid } => line(1, timestamp, uuid),
            Self::Admission(admission) => Line {
                test_id: Some(admission.test_id.to_string()),
                policy_version: Some(admission.policy_version.clone()),
                ..line(2, &admission.timestamp, &admission.uuid)
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
            2 => {
                let (Some(test_id), Some(policy_version)) = (line.test_id, line.policy_version)
                else {
                    return Err(EventError::Admission(uuid));
                };
                if !is_policy_version(&policy_version) {
                    return Err(EventError::Admission(uuid));
                }
                Ok(Self::Admission(Admission {
                    timestamp,
                    uuid: uuid.parse()?,
                    test_id: test_id.parse()?,
                    policy_version,
                }))
            }
            unknown => Err(EventError::Unknown(unknown)),
        }
    }
}

fn is_policy_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=POLICY_VERSION_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: &str = r#"{"Event":0,"Timestamp":"2024-01-02T03:04:05.678901234Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":{"SPort":443,"DPort":51234,"SrcIP":"192.0.2.1","DstIP":"198.51.100.7","Interface":0,"Cookie":1000}}"#;
    const CLOSE: &str = r#"{"Event":1,"Timestamp":"2024-01-02T03:04:15.1Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":null}"#;
    const ADMISSION: &str = r#"{"Event":2,"Timestamp":"2024-01-02T03:04:06Z","UUID":"ndt-abcde_1700000000_00000000000003E8","ID":null,"TestID":"ndt-abcde_1700000000_00000000000003E7","PolicyVersion":"2-tcpinfo1"}"#;

    #[test]
    fn lines_are_written_as_the_reference_has_them() {
        for text in [OPEN, CLOSE, ADMISSION] {
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

    #[test]
    fn an_admission_needs_a_test_and_a_policy_version() {
        for (part, instead) in [
            (r#""TestID":"ndt-abcde_1700000000_00000000000003E7","#, ""),
            (r#","PolicyVersion":"2-tcpinfo1""#, ""),
            ("2-tcpinfo1", ""),
            ("2-tcpinfo1", "a b"),
            ("2-tcpinfo1", &"x".repeat(33)),
            ("00000000000003E7", "../../x"),
        ] {
            let line = ADMISSION.replace(part, instead);
            assert!(Event::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line: Vec<u8>) {
            let _ = Event::parse(&line);
        }
    }
}
