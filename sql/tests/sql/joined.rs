//! Rows of one connection find each other, whatever their dates, and make no row of their own.

use serde_json::json;

use crate::support::{Lake, Row};

const EVE: &str = "2024-05-06";
const DAY: &str = "2024-05-07";

fn archiver(object: &str) -> String {
    format!("{{ArchiveURL: 'gs://archive/{object}', Filename: '/x'}} AS archiver")
}

fn annotation(lake: &Lake, date: &str, object: &str, id: &str, city: &str) {
    let geo = "{City: CITY, CountryCode: 'NZ'}".replace("CITY", &format!("'{city}'"));
    let network = "{ASNumber: 64500::BIGINT}";
    lake.put(
        &format!("ndt/annotation2/live/date={date}/{object}.parquet"),
        &format!(
            "SELECT '{id}' AS id, {}, {{Site: 'lga02', Machine: 'mlab1', Geo: {geo}, Network: {network}}} AS server, {{Geo: {geo}, Network: {network}}} AS client",
            archiver(object)
        ),
    );
}

fn tcpinfo(lake: &Lake, date: &str, object: &str, id: &str, sequence: u32) {
    lake.put(
        &format!("ndt/tcpinfo/live/date={date}/{object}.parquet"),
        &format!(
            "SELECT '{id}' AS id, {}, {{SockID: {{SPort: 443}}, FinalSnapshot: {{Mark: {sequence}}}}} AS a, {{Metadata: {{UUID: '{id}', Sequence: {sequence}::BIGINT}}, Snapshots: [{{Mark: {sequence}}}]}} AS raw",
            archiver(object)
        ),
    );
}

fn traceroute(lake: &Lake, date: &str, object: &str, id: &str, hop: &str) {
    lake.put(
        &format!("ndt/scamper1/live/date={date}/{object}.parquet"),
        &format!(
            "SELECT '{id}' AS id, {}, {{CycleStart: {{start_time: 1.0}}, Tracelb: {{nodes: [{{addr: '{hop}'}}]}}}} AS raw",
            archiver(object)
        ),
    );
}

fn row(id: &'static str) -> Row {
    Row {
        id,
        ..Row::default()
    }
}

/// The test is of the new day; its annotation and the first piece of its trace are of the day before, and were archived
/// once more under the new one.
#[test]
fn midnight_and_second_copies_make_one_row() {
    let lake = Lake::new();
    lake.put_rows(
        &format!("ndt/ndt7/live/date={DAY}/a.parquet"),
        &[row("one"), row("alone")],
    );
    lake.put_rows(
        &format!("ndt/ndt7/live/date={DAY}/b.parquet"),
        &[row("one")],
    );
    annotation(&lake, EVE, "a", "one", "Wellington");
    annotation(&lake, DAY, "b", "one", "Auckland");
    annotation(&lake, DAY, "c", "other", "Nelson");
    tcpinfo(&lake, EVE, "a", "one", 0);
    tcpinfo(&lake, DAY, "b", "one", 1);
    tcpinfo(&lake, DAY, "c", "one", 0);
    traceroute(&lake, DAY, "a", "one", "192.0.2.1");
    traceroute(&lake, "2024-05-08", "b", "one", "192.0.2.2");

    let joined = lake.query("SELECT id, date::VARCHAR AS date, client.Geo.City AS city, server.Site AS site FROM ndt.ndt7_joined ORDER BY id");
    let expected = json!([
        {"id": "alone", "date": DAY, "city": null, "site": null},
        {"id": "one", "date": DAY, "city": "Wellington", "site": "lga02"},
    ]);
    assert_eq!(joined, expected);

    let linked = lake.query("SELECT id, [p.Sequence FOR p IN tcpinfo] AS pieces, [t.Tracelb.nodes[1].addr FOR t IN scamper1] AS hops, client.Geo.City AS city FROM ndt.ndt7_linked ORDER BY id");
    let expected = json!([
        {"id": "alone", "pieces": null, "hops": null, "city": null},
        {"id": "one", "pieces": [0, 1], "hops": ["192.0.2.1"], "city": "Wellington"},
    ]);
    assert_eq!(linked, expected);

    let pieces = lake.query("SELECT raw.Metadata.Sequence AS piece, date::VARCHAR AS date, client.Geo.City AS city FROM ndt.tcpinfo_joined ORDER BY piece");
    let expected = json!([
        {"piece": 0, "date": EVE, "city": "Wellington"},
        {"piece": 1, "date": DAY, "city": "Wellington"},
    ]);
    assert_eq!(pieces, expected);

    let traces = lake.query(
        "SELECT id, date::VARCHAR AS date, client.Geo.City AS city FROM ndt.scamper1_joined",
    );
    assert_eq!(
        traces,
        json!([{"id": "one", "date": DAY, "city": "Wellington"}])
    );

    let unified = lake.query("SELECT id, client.Geo.City AS city, server.Machine AS machine, server.Network.ASNumber AS asn FROM ndt.unified_downloads ORDER BY id");
    let expected = json!([
        {"id": "alone", "city": null, "machine": "mlab1", "asn": null},
        {"id": "one", "city": "Wellington", "machine": "mlab1", "asn": 64500},
    ]);
    assert_eq!(unified, expected);
}

/// The columns are there before the first annotation is.
#[test]
fn nothing_to_join_with_gives_nulls() {
    let lake = Lake::new();
    lake.put_rows(
        &format!("ndt/ndt7/live/date={DAY}/a.parquet"),
        &[row("one")],
    );
    let joined = lake.query("SELECT id, client.Geo.City AS city, server.Network.Systems AS systems, server.Machine AS machine FROM ndt.ndt7_joined");
    assert_eq!(
        joined,
        json!([{"id": "one", "city": null, "systems": null, "machine": null}])
    );
    let linked = lake.query("SELECT count(*) AS n FROM ndt.ndt7_linked");
    assert_eq!(linked, json!([{"n": 1}]));
}

/// ndt5 reports its own errors; the unified views have both generations.
#[test]
fn ndt5_stands_beside_ndt7() {
    let lake = Lake::new();
    lake.put_rows(
        &format!("ndt/ndt7/live/date={DAY}/a.parquet"),
        &[row("seven")],
    );
    let five = |id: &str, error: &str| {
        let time = "TIMESTAMPTZ '2024-05-07T00:00:00Z'";
        let ran = format!(
            "{{UUID: '{id}', StartTime: {time}, EndTime: {time} + to_seconds(10), Error: '{error}'"
        );
        format!(
            "SELECT '{id}' AS id, {{ArchiveURL: 'gs://archive/20240507T000000.000000Z-ndt5-mlab1-lga02-ndt.tgz', Filename: '/x'}} AS archiver, {{UUID: '{id}', TestTime: {time}, CongestionControl: 'cubic', MeanThroughputMbps: 5.0, MinRTT: 9.0, LossRate: 0.0}} AS a, {{ClientIP: '198.51.100.7', ClientPort: 5, ServerIP: '203.0.113.1', ServerPort: 3001, Control: {{UUID: 'c', Protocol: 'WSS', ClientMetadata: []::STRUCT(Name VARCHAR, Value VARCHAR)[], ServerMetadata: []::STRUCT(Name VARCHAR, Value VARCHAR)[]}}, S2C: {ran}, TCPInfo: {{TotalRetrans: 1, RTT: 20000, MinRTT: 9000}}}}, C2S: CASE WHEN false THEN {ran}}} END}} AS raw"
        )
    };
    let rows = [five("five", ""), five("failed", "timeout")].join(" UNION ALL ");
    lake.put(&format!("ndt/ndt5/live/date={DAY}/a.parquet"), &rows);
    let found = lake.query("SELECT id, metadata.View AS view, metadata.Protocol AS protocol, IsValidBest AS best, IsValid2021 AS v2021 FROM ndt.unified_downloads ORDER BY id");
    let expected = json!([
        {"id": "failed", "view": "ndt5_downloads", "protocol": "ndt5-IPv4-WSS", "best": false, "v2021": false},
        {"id": "five", "view": "ndt5_downloads", "protocol": "ndt5-IPv4-WSS", "best": true, "v2021": true},
        {"id": "seven", "view": "ndt7_downloads", "protocol": "ndt7-IPv4-WSS", "best": true, "v2021": true},
    ]);
    assert_eq!(found, expected);
    assert_eq!(lake.query("SELECT id FROM ndt.unified_uploads"), json!([]));
}
