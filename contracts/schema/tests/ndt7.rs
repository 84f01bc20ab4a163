//! The schema of ndt7 results takes what a server writes, and nothing else.

use groma_schema::{Field, Mode, Privacy, Schema, Type};
use serde_json::{Value, json};
use std::path::PathBuf;

fn schema() -> Schema {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../experiments/ndt7/schema/ndt7.json"
    );
    Schema::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `TCP_INFO` as the kernel lays it out, with the time of reading at the end.
const TCP_INFO: &str = "State CAState Retransmits Probes Backoff Options WScale AppLimited RTO ATO SndMSS RcvMSS Unacked \
    Sacked Lost Retrans Fackets LastDataSent LastAckSent LastDataRecv LastAckRecv PMTU RcvSsThresh RTT RTTVar SndSsThresh \
    SndCwnd AdvMSS Reordering RcvRTT RcvSpace TotalRetrans PacingRate MaxPacingRate BytesAcked BytesReceived SegsOut SegsIn \
    NotsentBytes MinRTT DataSegsIn DataSegsOut DeliveryRate BusyTime RWndLimited SndBufLimited Delivered DeliveredCE \
    BytesSent BytesRetrans DSackDups ReordSeen RcvOooPack SndWnd ElapsedTime";

fn measurement() -> Value {
    let tcp_info: serde_json::Map<_, _> = TCP_INFO
        .split_whitespace()
        .map(|name| (name.to_owned(), json!(-1)))
        .collect();
    json!({
        "AppInfo": {"NumBytes": 123_456, "ElapsedTime": 250_000},
        "ConnectionInfo": {
            "Client": "[2001:db8::1]:50000", "Server": "192.0.2.1:443",
            "UUID": "ndt-knwp4_1583603744_000000000000590E", "StartTime": "2024-05-06T07:08:09.123456789+02:00",
        },
        "BBRInfo": {"BW": 125_000_000, "MinRTT": 12_345, "PacingGain": 739, "CwndGain": 739, "ElapsedTime": 250_000},
        "TCPInfo": tcp_info,
    })
}

fn sample() -> Value {
    json!({
        "GitShortCommit": "3ff6fc6", "Version": "v0.20.17",
        "ServerIP": "192.0.2.1", "ServerPort": 443, "ClientIP": "2001:db8::1", "ClientPort": 50000,
        "StartTime": "2024-05-06T07:08:09.123456789Z", "EndTime": "2024-05-06T07:08:19.5Z",
        "Download": {
            "UUID": "ndt-knwp4_1583603744_000000000000590E",
            "StartTime": "2024-05-06T07:08:09.123456789Z", "EndTime": "2024-05-06T07:08:19.5Z",
            "ServerMeasurements": [measurement(), measurement()],
            "ClientMeasurements": null,
            "ClientMetadata": [{"Name": "client_name", "Value": "größe/1.0 (test)"}],
            "ServerMetadata": [{"Name": "consent", "Value": "not-sent"}],
        },
    })
}

#[test]
fn a_complete_result_is_valid_in_both_directions() {
    let mut result = sample();
    assert_eq!(schema().validate(&result), Ok(()));
    let mut direction = result.as_object_mut().unwrap().remove("Download").unwrap();
    direction["ClientMeasurements"] = json!([measurement()]);
    result["Upload"] = direction;
    assert_eq!(schema().validate(&result), Ok(()));
}

#[test]
fn what_does_not_belong_is_found() {
    let mut result = sample();
    let download = &mut result["Download"];
    download["ServerMeasurements"][1]["BBRInfo"]["MaxBandwidth"] = json!(1);
    download["ClientMetadata"][0]["Value"] = json!("two\nlines");
    download["ServerMetadata"][0]["Value"] = json!("x".repeat(513));
    download["UUID"] = json!("a/b");
    let found: Vec<String> = schema()
        .validate(&result)
        .unwrap_err()
        .into_iter()
        .map(|v| v.path)
        .collect();
    assert_eq!(
        found,
        [
            "$.Download.UUID",
            "$.Download.ServerMeasurements[1].BBRInfo.MaxBandwidth",
            "$.Download.ClientMetadata[0].Value",
            "$.Download.ServerMetadata[0].Value",
        ]
    );
}

#[test]
fn an_access_token_is_never_in_a_result() {
    let mut result = sample();
    let mut upload = result["Download"].clone();
    upload["ClientMetadata"][0] = json!({"Name": "access_token", "Value": "secret"});
    result["Upload"] = upload;
    result["Download"]["ClientMetadata"][0]["Name"] = json!("ACCESS_TOKEN");
    let found = schema().validate(&result).unwrap_err();
    let paths: Vec<_> = found.iter().map(|found| found.path.as_str()).collect();
    let expected = [
        "$.Download.ClientMetadata[0].Name",
        "$.Upload.ClientMetadata[0].Name",
    ];
    assert_eq!(paths, expected);
}

fn walk<'a>(fields: &'a [Field], visit: &mut impl FnMut(&'a Field)) {
    for field in fields {
        visit(field);
        walk(&field.fields, visit);
    }
}

#[test]
fn every_column_is_described_and_every_text_declared() {
    walk(&schema().fields, &mut |field| {
        assert!(
            field
                .description
                .as_ref()
                .is_some_and(|text| text.len() > 3),
            "{}",
            field.name
        );
        assert_eq!(
            field.kind == Type::String,
            field.privacy.is_some(),
            "{}",
            field.name
        );
        assert_ne!(field.mode, Mode::Required, "{}", field.name);
        let expected = match field.name.as_str() {
            "ClientIP" | "Client" => Some(Privacy::ClientIp),
            "ServerIP" | "Server" => Some(Privacy::ServerIp),
            _ => return,
        };
        assert_eq!(field.privacy, expected, "{}", field.name);
    });
}

#[test]
fn results_of_2020_differ_only_by_the_old_name_of_the_bandwidth() {
    let root = std::env::var_os("GROMA_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let Ok(directory) = std::fs::read_dir(root.join("ndt7")) else {
        println!(
            "skipped: no ndt7 results in {}; set GROMA_TEST_DATA",
            root.display()
        );
        return;
    };
    for entry in directory {
        let path = entry.unwrap().path();
        let result: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let found = schema().validate(&result).unwrap_err();
        let other: Vec<_> = found
            .iter()
            .filter(|violation| !violation.path.ends_with(".BBRInfo.MaxBandwidth"))
            .collect();
        assert!(other.is_empty(), "{}: {other:?}", path.display());
    }
}
