//! The facts about a connection that was not admitted.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::file::Lines;
use crate::record::{End, Line, Metadata};

const SECONDS_OF_AN_HOUR: i64 = 3600;

/// One connection, from its last file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) uuid: String,
    start: Timestamp,
    pub(super) local_port: u16,
    remote: (IpAddr, u16),
    outcome: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
}

/// The row that everybody may read. Schema: `unadmitted.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    hour: Timestamp,
    local_port: u16,
    outcome: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
}

/// The line that operators alone may read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    time: Timestamp,
    #[serde(rename = "RemoteIP")]
    remote_ip: IpAddr,
    remote_port: u16,
    local_port: u16,
    outcome: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Refused {
    /// Reads a file, growing or complete; `None` when it has no snapshot.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut lines = Lines::open(path)?;
        let (mut metadata, mut last, mut end) = (None::<Metadata>, Vec::new(), None);
        while let Some((is_snapshot, line)) = lines.next_line()? {
            if is_snapshot {
                last.clear();
                last.extend_from_slice(line);
                continue;
            }
            match Line::parse(line) {
                Ok(Line::Header(header)) => metadata = Some(header),
                Ok(Line::Record(_)) => {
                    last.clear();
                    last.extend_from_slice(line);
                }
                Ok(Line::End { end: why, .. }) => end = Some(why),
                Err(_) => break,
            }
        }
        let Some(metadata) = metadata else {
            return Ok(None);
        };
        let Ok(Line::Record(record)) = Line::parse(&last) else {
            return Ok(None);
        };
        let snapshot = record.decode();
        let Some(id) = snapshot.inet_diag_msg.and_then(|message| message.id) else {
            return Ok(None);
        };
        let info = snapshot.tcp_info.unwrap_or_default();
        // Kernels before 4.19 have no count of bytes sent.
        let sent = match info.bytes_sent {
            0 if info.data_segs_out > 0 => info.bytes_acked,
            sent => sent - info.bytes_retrans,
        };
        // `bytes_received` also counts a FIN: without data there is nothing else in it.
        let received = if info.data_segs_in == 0 {
            0
        } else {
            info.bytes_received
        };
        Ok(Some(Self {
            uuid: metadata.uuid,
            start: metadata.start_time,
            local_port: id.local_port,
            remote: (id.remote_ip, id.remote_port),
            outcome: outcome(end),
            bytes_sent: u64::try_from(sent).unwrap_or(0),
            bytes_received: u64::try_from(received).unwrap_or(0),
        }))
    }

    fn hour(&self) -> Timestamp {
        let second = self.start.as_second();
        let hour = second - second.rem_euclid(SECONDS_OF_AN_HOUR);
        Timestamp::from_second(hour).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The date under which its row is published.
    pub(super) fn date(&self) -> Date {
        self.hour().to_zoned(TimeZone::UTC).date()
    }

    /// The row, without line feed.
    pub(super) fn row(&self) -> String {
        json(&Row {
            hour: self.hour(),
            local_port: self.local_port,
            outcome: self.outcome,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        })
    }

    /// The line for operators, with line feed.
    pub(super) fn address(&self) -> String {
        let mut line = json(&Address {
            time: self.start,
            remote_ip: self.remote.0,
            remote_port: self.remote.1,
            local_port: self.local_port,
            outcome: self.outcome,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        });
        line.push('\n');
        line
    }

    /// Payload in both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_sent.saturating_add(self.bytes_received)
    }
}

fn outcome(end: Option<End>) -> &'static str {
    match end {
        Some(End::Closed) => "closed",
        Some(End::Aborted) => "aborted",
        Some(End::Vanished) => "vanished",
        // The recorder was not there when the connection ended.
        Some(End::Rotated | End::Stopped | End::Interrupted) | None => "unknown",
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("a line has no map and no float")
}
