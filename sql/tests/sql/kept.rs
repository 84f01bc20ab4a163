//! The rows that views keep and leave out, and their cost.

use std::fs;

use serde_json::json;

use crate::support::{Lake, Row, program};

const DAY: &str = "2024-05-06";

/// Rows without an id are not copies of each other and join with nothing.
#[test]
fn rows_without_an_id_are_never_copies_of_each_other() {
    let lake = Lake::new();
    let row = |id: &str, date: &str, file: &str| {
        lake.put(
            &format!("lab/probe1/live/date={date}/{file}.parquet"),
            &format!("SELECT {id}::VARCHAR AS id, {{ArchiveURL: 'a'}} AS archiver"),
        );
        lake.put(
            &format!("lab/annotation2/live/date={date}/{file}.parquet"),
            &format!("SELECT {id}::VARCHAR AS id, {{ArchiveURL: 'a'}} AS archiver, {{Machine: 'm'}} AS server, {{Geo: 1}} AS client"),
        );
    };
    let ids = [
        "''",
        "'BADPREFIX_00000000000000AB'",
        "'ERROR_DISCOVERING_UUID'",
        "'INVALID_UUID'",
        "'h_BADBOOTTIME_00000000000000AB'",
        "NULL",
        "'one'",
    ];
    for (number, id) in ids.into_iter().enumerate() {
        row(id, DAY, &format!("a{number}"));
        row(id, DAY, &format!("b{number}"));
        row(id, "2024-05-07", &format!("c{number}"));
    }
    for view in ["probe1_joined", "probe1_linked"] {
        let found = lake.query(&format!(
            "SELECT id, count(*) AS n, count(server) AS joined FROM lab.{view} GROUP BY id ORDER BY id"
        ));
        let expected = json!([
            {"id": "", "n": 3, "joined": 0},
            {"id": "BADPREFIX_00000000000000AB", "n": 3, "joined": 0},
            {"id": "ERROR_DISCOVERING_UUID", "n": 3, "joined": 0},
            {"id": "INVALID_UUID", "n": 3, "joined": 0},
            {"id": "h_BADBOOTTIME_00000000000000AB", "n": 3, "joined": 0},
            {"id": "one", "n": 1, "joined": 1},
            {"id": null, "n": 3, "joined": 0},
        ]);
        assert_eq!(found, expected, "{view}");
    }
}

#[test]
fn a_piece_without_a_number_is_no_copy() {
    let lake = Lake::new();
    lake.put(
        &format!("ndt/tcpinfo/live/date={DAY}/a.parquet"),
        "SELECT 'one' AS id, {ArchiveURL: 'a'} AS archiver, {Metadata: {Sequence: i}} AS raw FROM (VALUES (NULL::BIGINT), (NULL), (0), (0), (1)) AS t(i)",
    );
    let found = lake.query("SELECT raw.Metadata.Sequence AS piece, count(*) AS n FROM ndt.tcpinfo_joined GROUP BY piece ORDER BY piece NULLS FIRST");
    let expected = json!([{"piece": null, "n": 2}, {"piece": 0, "n": 1}, {"piece": 1, "n": 1}]);
    assert_eq!(found, expected);
}

/// A copy of a trace is one; another trace of the same connection stays.
#[test]
fn a_connection_may_have_two_traceroutes() {
    let lake = Lake::new();
    lake.put_rows(
        &format!("ndt/ndt7/live/date={DAY}/a.parquet"),
        &[Row::default()],
    );
    for (date, file, start) in [
        (DAY, "a", "1.0"),
        ("2024-05-07", "b", "1.0"),
        ("2024-05-07", "c", "2.0"),
    ] {
        lake.put(
            &format!("ndt/scamper1/live/date={date}/{file}.parquet"),
            &format!("SELECT 'good' AS id, {{ArchiveURL: 'a'}} AS archiver, {{CycleStart: {{start_time: {start}::DOUBLE}}}} AS raw"),
        );
    }
    let found = lake.query(
        "SELECT [t.CycleStart.start_time FOR t IN scamper1] AS started FROM ndt.ndt7_linked",
    );
    assert_eq!(found, json!([{"started": [1.0, 2.0]}]));
}

/// A copy of two days later counts once, and makes no second row of a test between the two.
#[test]
fn copies_on_both_sides_of_a_test_join_once() {
    let lake = Lake::new();
    lake.put_rows("ndt/ndt7/live/date=2024-05-07/a.parquet", &[Row::default()]);
    for date in [DAY, "2024-05-08"] {
        lake.put(
            &format!("ndt/annotation2/live/date={date}/a.parquet"),
            &format!("SELECT 'good' AS id, {{ArchiveURL: 'a'}} AS archiver, {{Machine: '{date}', Site: 's', Geo: 1, Network: 1}} AS server, {{Geo: 1, Network: 1}} AS client"),
        );
    }
    let found = lake.query("SELECT id, server.Machine AS machine FROM ndt.ndt7_joined");
    assert_eq!(found, json!([{"id": "good", "machine": DAY}]));
}

/// Snapshots without a counter say nothing about the order of the others.
#[test]
fn an_unknown_counter_is_no_error() {
    let lake = Lake::new();
    // A row has two snapshots; between them goes one that says nothing.
    let row = Row::default().sql();
    let unknown = "}}, {TCPInfo: {BytesAcked: NULL::BIGINT, BytesReceived: NULL::BIGINT, RTT: 1::BIGINT, MinRTT: 1::BIGINT, TotalRetrans: 0::BIGINT, ElapsedTime: 1::BIGINT}}, {TCPInfo";
    let three = row.replace("}}, {TCPInfo", unknown);
    assert_ne!(row, three);
    lake.put(&format!("ndt/ndt7/live/date={DAY}/a.parquet"), &three);
    let found = lake.query("SELECT id, IsValidBest AS best FROM ndt.unified_downloads");
    assert_eq!(found, json!([{"id": "good", "best": true}]));
}

/// A table of other columns, and one that cannot be read, cost the others nothing.
#[test]
fn a_strange_table_stops_nothing() {
    let lake = Lake::new();
    let folder = format!("live/date={DAY}/a.parquet");
    lake.put_rows(&format!("ndt/ndt7/{folder}"), &[Row::default()]);
    lake.put(
        &format!("ndt/plain1/{folder}"),
        "SELECT 'x' AS id, 1 AS value",
    );
    lake.put(&format!("ndt/strange1/{folder}"), "SELECT 1 AS value");
    lake.put(
        &format!("ndt/scamper1/{folder}"),
        "SELECT 'good' AS id, 1 AS raw",
    );
    let broken = lake.root().join(format!("ndt/pcap/{folder}"));
    std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
    std::fs::write(broken, "no Parquet").unwrap();
    let ask = |sql: &str| program(&lake.root(), &["--format", "json", sql]);

    for sql in ["SELECT 1", "SELECT id FROM ndt.ndt7_joined"] {
        let output = ask(sql);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let plain =
        lake.query("SELECT id, value, server, date::VARCHAR AS date FROM ndt.plain1_joined");
    let expected = json!([{"id": "x", "value": 1, "server": null, "date": DAY}]);
    assert_eq!(plain, expected);
    let strange = lake.query("SELECT value FROM ndt.strange1");
    assert_eq!(strange, json!([{"value": 1}]));

    let output = ask("SELECT id FROM ndt.ndt7_linked");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    for view in [
        "ndt_intermediate.pcap_beside",
        "ndt_intermediate.scamper1_beside",
    ] {
        assert!(told.contains(&format!("{view} left out")), "{told}");
    }
    let named = lake.query("SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = 'ndt' AND table_name IN ('ndt7', 'ndt7_linked', 'unified_uploads', 'strange1')");
    assert_eq!(named, json!([{"n": 4}]));
}

/// Columns that only some files have, at the top and within records, are there for all.
#[test]
fn files_of_several_schemas_are_one_table() {
    let lake = Lake::new();
    let put = |file: &str, sql: &str| {
        lake.put(&format!("lab/probe1/live/date={DAY}/{file}.parquet"), sql);
    };
    put("a", "SELECT 'a' AS id, {Old: 1} AS raw");
    put("b", "SELECT 'b' AS id, {New: 2} AS raw, 3 AS \"it's\"");
    let found = lake.query("SELECT id, raw.Old AS old, raw.New AS new, \"it's\" AS its FROM lab.probe1_joined ORDER BY id");
    let expected = json!([
        {"id": "a", "old": 1, "new": null, "its": null},
        {"id": "b", "old": null, "new": 2, "its": 3},
    ]);
    assert_eq!(found, expected);
}

/// A question about one date takes the memory of that date, however many there are.
#[test]
fn one_date_costs_one_date() {
    const DATES: usize = 20;
    let lake = Lake::new();
    let id =
        "'ndt-abcde_1700000000_' || lpad(i::VARCHAR, 16, '0') AS id, {ArchiveURL: 'a'} AS archiver";
    for number in 0..DATES {
        let date = format!("2024-{:02}-{:02}", 5 + number / 28, 1 + number % 28);
        let from = number * 50_000;
        let rows = format!("FROM range({from}, {from} + 50000) AS t(i)");
        for (table, columns) in [
            ("ndt7", "{X: i} AS raw"),
            (
                "annotation2",
                "{Machine: 'm' || i, Geo: {City: 'Wellington' || i}} AS server, {Geo: {City: 'Wellington' || i}} AS client",
            ),
            (
                "tcpinfo",
                "{SockID: 1, FinalSnapshot: 1} AS a, {Metadata: {Sequence: 0}, Snapshots: [i]} AS raw",
            ),
        ] {
            lake.put(
                &format!("lab/{table}/live/date={date}/a.parquet"),
                &format!("SELECT {id}, {columns} {rows}"),
            );
        }
    }
    for (view, memory_mib) in [("ndt7_joined", "300"), ("ndt7_linked", "600")] {
        let sql = format!(
            "SELECT count(*) AS n, count(client.Geo.City) AS cities FROM lab.{view} WHERE date = '2024-05-10'"
        );
        let output = program(
            &lake.root(),
            &["--memory", memory_mib, "--format", "json", &sql],
        );
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{view}: {told}");
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found, json!([{"n": 50_000, "cities": 50_000}]), "{view}");
    }
}

/// A query reads only the needed parts of a record, not the lists beside them.
#[test]
fn lists_that_nobody_asks_for_cost_nothing() {
    let lake = Lake::new();
    let id =
        "'ndt-abcde_1700000000_' || lpad(i::VARCHAR, 16, '0') AS id, {ArchiveURL: 'a'} AS archiver";
    let numbers: Vec<String> = (0..20).map(|field| format!("N{field}: i + j")).collect();
    let snapshots = format!("[{{{}}} FOR j IN range(100)]", numbers.join(", "));
    let tests = "FROM range(20000) AS t(i)";
    for (table, columns) in [
        ("ndt7", "{X: i} AS raw".to_owned()),
        (
            "tcpinfo",
            format!(
                "{{SockID: 1, FinalSnapshot: 1}} AS a, {{Metadata: {{Sequence: 0}}, Snapshots: {snapshots}}} AS raw"
            ),
        ),
    ] {
        lake.put(
            &format!("lab/{table}/live/date={DAY}/a.parquet"),
            &format!("SELECT {id}, {columns} {tests}"),
        );
    }
    let sql = format!("SELECT count(*) AS n FROM lab.ndt7_linked WHERE date = '{DAY}'");
    let output = program(&lake.root(), &["--memory", "120", "--format", "json", &sql]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, json!([{"n": 20_000}]));
}

#[test]
fn a_directory_of_other_files_is_not_a_lake() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |reason: &str| {
        for more in [&["SELECT 1"][..], &["serve"]] {
            let output = program(dir.path(), more);
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && message.contains(reason),
                "{message}"
            );
        }
    };
    fs::write(dir.path().join("index.html"), "").unwrap();
    let empty = program(dir.path(), &["--format", "json", "SELECT 1 AS one"]);
    assert!(empty.status.success(), "a new lake has no tables");
    // An archive has directories of the same form, without those of a table.
    fs::create_dir_all(dir.path().join("ndt/ndt7/2024/05/06")).unwrap();
    refused("is not a lake");
    fs::remove_dir_all(dir.path().join("ndt")).unwrap();
    fs::write(dir.path().join("thesis.txt"), "").unwrap();
    refused("is not a lake");
    fs::create_dir_all(dir.path().join("ndt/ndt7/live")).unwrap();
    let lake = program(dir.path(), &["--format", "json", "SELECT 1 AS one"]);
    assert!(
        lake.status.success(),
        "{}",
        String::from_utf8_lossy(&lake.stderr)
    );
    fs::remove_dir_all(dir.path()).unwrap();
    refused("No such file");
    fs::create_dir(dir.path()).unwrap();
}
