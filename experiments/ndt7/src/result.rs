//! The result file of one test, byte for byte in the form of M-Lab's datatype `ndt7`.

use std::net::SocketAddr;

use groma_experiment::NameValue;
use jiff::Timestamp;
use serde::Serialize;

use crate::protocol::{Direction, Measurement};

/// The datatype of every result.
pub const DATATYPE: &str = "ndt7";

/// One result file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ResultBody {
    git_short_commit: String,
    version: String,
    #[serde(rename = "ServerIP")]
    server_ip: String,
    server_port: u16,
    #[serde(rename = "ClientIP")]
    client_ip: String,
    client_port: u16,
    start_time: Timestamp,
    end_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<ArchivalData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download: Option<ArchivalData>,
}

/// The measurements of one connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ArchivalData {
    #[serde(rename = "UUID")]
    pub(crate) uuid: String,
    pub(crate) start_time: Timestamp,
    pub(crate) end_time: Timestamp,
    #[serde(serialize_with = "null_if_empty")]
    pub(crate) server_measurements: Vec<Measurement>,
    #[serde(serialize_with = "null_if_empty")]
    pub(crate) client_measurements: Vec<Measurement>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_metadata: Vec<NameValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) server_metadata: Vec<NameValue>,
}

/// The program that measured.
#[derive(Clone, Debug)]
pub struct Build {
    /// `Version` of the result.
    pub version: String,
    /// `GitShortCommit` of the result.
    pub git_short_commit: String,
}

impl ResultBody {
    pub(crate) fn new(
        build: &Build,
        server: SocketAddr,
        client: SocketAddr,
        (start_time, end_time): (Timestamp, Timestamp),
        direction: Direction,
        data: ArchivalData,
    ) -> Self {
        let (upload, download) = match direction {
            Direction::Upload => (Some(data), None),
            Direction::Download => (None, Some(data)),
        };
        Self {
            git_short_commit: build.git_short_commit.clone(),
            version: build.version.clone(),
            server_ip: server.ip().to_string(),
            server_port: server.port(),
            client_ip: client.ip().to_string(),
            client_port: client.port(),
            start_time,
            end_time,
            upload,
            download,
        }
    }

    /// The content of the file: one line without its end.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a result has no map keys that are not strings")
    }
}

/// The name of the file of a result written at `time`.
pub(crate) fn file_name(direction: Direction, time: Timestamp, uuid: &str) -> String {
    format!(
        "ndt7-{direction}-{}.{uuid}.json",
        time.strftime("%Y%m%dT%H%M%S.%9fZ")
    )
}

fn null_if_empty<S: serde::Serializer>(
    list: &[Measurement],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (!list.is_empty()).then_some(list).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_nulls_are_those_of_the_format() {
        let time: Timestamp = "2026-11-22T05:06:07.000000120Z".parse().unwrap();
        let build = Build {
            version: "v1".into(),
            git_short_commit: "abc".into(),
        };
        let data = ArchivalData {
            uuid: "u_1".into(),
            start_time: time,
            end_time: time,
            server_measurements: vec![],
            client_measurements: vec![],
            client_metadata: vec![],
            server_metadata: vec![NameValue {
                name: "n".into(),
                value: "v".into(),
            }],
        };
        let server = "[2001:db8::1]:443".parse().unwrap();
        let client = "192.0.2.1:5000".parse().unwrap();
        let body = ResultBody::new(
            &build,
            server,
            client,
            (time, time),
            Direction::Upload,
            data,
        );
        assert_eq!(
            String::from_utf8(body.to_json()).unwrap(),
            concat!(
                r#"{"GitShortCommit":"abc","Version":"v1","ServerIP":"2001:db8::1","ServerPort":443,"#,
                r#""ClientIP":"192.0.2.1","ClientPort":5000,"StartTime":"2026-11-22T05:06:07.00000012Z","#,
                r#""EndTime":"2026-11-22T05:06:07.00000012Z","Upload":{"UUID":"u_1","#,
                r#""StartTime":"2026-11-22T05:06:07.00000012Z","EndTime":"2026-11-22T05:06:07.00000012Z","#,
                r#""ServerMeasurements":null,"ClientMeasurements":null,"#,
                r#""ServerMetadata":[{"Name":"n","Value":"v"}]}}"#
            )
        );
    }

    #[test]
    fn the_name_has_nine_digits_and_the_uuid() {
        let time: Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        assert_eq!(
            file_name(Direction::Download, time, "h_1_00000000000000AB"),
            "ndt7-download-20260102T030405.600000000Z.h_1_00000000000000AB.json"
        );
    }
}
