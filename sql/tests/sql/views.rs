//! The answers of the views about known rows.

use std::fs;

use serde_json::json;

use crate::support::{Lake, Row, program};

const DAY: &str = "ndt/ndt7/live/date=2024-05-06";

/// How a row differs from a good one, and whether it is valid then: best, as of 2023, as of 2021.
type Case = (&'static str, fn(&mut Row), [bool; 3]);

const CASES: [Case; 17] = [
    ("good", |_| {}, [true, true, true]),
    ("calm", |row| row.rtt_us = 9500, [true, true, false]),
    (
        "lossy",
        |row| (row.rtt_us, row.retransmitted) = (9500, 3),
        [true, true, true],
    ),
    ("short", |row| row.seconds = 8.9, [false; 3]),
    (
        "early",
        |row| (row.seconds, row.has_early_exit) = (5.0, true),
        [true, false, false],
    ),
    ("long", |row| row.seconds = 60.1, [false; 3]),
    ("small", |row| row.bytes = 8191, [false; 3]),
    ("private", |row| row.client = "172.31.0.1", [false; 3]),
    ("public", |row| row.client = "172.32.0.1", [true; 3]),
    (
        "monitoring",
        |row| row.client = "2600:3c03::f03c:91ff:fe33:819",
        [false; 3],
    ),
    ("unfinished", |row| row.is_complete = false, [false; 3]),
    (
        "staging",
        |row| row.object = "20240506T000000.000000Z-ndt7-mlab4-lga02-ndt.tgz",
        [false; 3],
    ),
    (
        "sandbox",
        |row| row.object = "20240506T000000.000000Z-ndt7-mlab1-lga0t-ndt.tgz",
        [false; 3],
    ),
    ("backwards", |row| row.bytes_before = 1_000_001, [false; 3]),
    (
        "unmeasured",
        |row| row.min_rtt_us = 4_294_967_295,
        [false; 3],
    ),
    ("clock", |row| row.elapsed_us = 11_000_001, [false; 3]),
    ("punctual", |row| row.elapsed_us = 11_000_000, [true; 3]),
];

#[test]
fn a_flag_follows_from_the_row() {
    let lake = Lake::new();
    let mut expected: Vec<_> = CASES
        .iter()
        .map(|(id, _, [best, v2023, v2021])| json!({"id": id, "best": best, "v2023": v2023, "v2021": v2021}))
        .collect();
    expected.sort_by_key(|row| row["id"].as_str().unwrap().to_owned());
    let rows = CASES.map(|(id, change, _)| {
        let mut row = Row {
            id,
            ..Row::default()
        };
        change(&mut row);
        row
    });
    lake.put_rows(&format!("{DAY}/a.parquet"), &rows);
    let found = lake.query("SELECT id, IsValidBest AS best, IsValid2023 AS v2023, IsValid2021 AS v2021 FROM ndt.unified_downloads ORDER BY id");
    assert_eq!(found, json!(expected));
}

#[test]
fn directions_are_apart_and_a_connection_counts_once() {
    let lake = Lake::new();
    let up = Row {
        id: "up",
        direction: "Upload",
        client: "2001:db8::1",
        ..Row::default()
    };
    lake.put_rows(&format!("{DAY}/a.parquet"), &[Row::default(), up]);
    // The same test in the bundle of the next day, as when a file was published across midnight.
    lake.put_rows("ndt/ndt7/live/date=2024-05-07/b.parquet", &[Row::default()]);
    let downloads = lake.query("SELECT id, date::VARCHAR AS date, server.Site AS site, metadata.Protocol AS protocol FROM ndt.unified_downloads");
    assert_eq!(
        downloads,
        json!([{"id": "good", "date": "2024-05-06", "site": "lga02", "protocol": "ndt7-IPv4-WSS"}])
    );
    let uploads = lake.query("SELECT id, a.Direction AS direction, a.CongestionControl AS cc, a.LossRate AS loss, metadata.Protocol AS protocol FROM ndt.unified_uploads");
    assert_eq!(
        uploads,
        json!([{"id": "up", "direction": "Upload", "cc": "Unknown", "loss": null, "protocol": "ndt7-IPv6-WSS"}])
    );
}

/// A live file counts until a part that is in place took over its rows.
#[test]
fn what_was_sealed_counts_once() {
    let lake = Lake::new();
    let row = |id| {
        [Row {
            id,
            ..Row::default()
        }]
    };
    lake.put_rows(&format!("{DAY}/a.parquet"), &row("one"));
    lake.put_rows(&format!("{DAY}/b.parquet"), &row("two"));
    let log = lake.root().join("ndt/ndt7/log/date=2024-05-06");
    fs::create_dir_all(&log).unwrap();
    let part = |number: u32, stem: &str| {
        let part = json!({"path": format!("sealed/date=2024-05-06/part-{number:06}-0.parquet"), "merged": [], "sources": [{"stem": stem}]});
        fs::write(
            log.join(format!("{number:06}.json")),
            json!({"version": 1, "parts": [part]}).to_string(),
        )
        .unwrap();
    };
    part(0, "a");
    part(1, "b");
    lake.put_rows(
        "ndt/ndt7/sealed/date=2024-05-06/part-000000-0.parquet",
        &row("one"),
    );
    let ids = "SELECT id FROM ndt.ndt7 ORDER BY id";
    assert_eq!(
        lake.query(ids),
        json!([{"id": "one"}, {"id": "two"}]),
        "the second part is not in place yet"
    );
    lake.put_rows(
        "ndt/ndt7/sealed/date=2024-05-06/part-000001-0.parquet",
        &row("two"),
    );
    fs::remove_file(lake.root().join(DAY).join("b.parquet")).unwrap();
    assert_eq!(lake.query(ids), json!([{"id": "one"}, {"id": "two"}]));
}

#[test]
fn answers_have_four_forms_and_an_end() {
    let lake = Lake::new();
    lake.put(
        "lab/probe1/live/date=2024-05-06/a.parquet",
        "SELECT i AS id, {ArchiveURL: 'a', Filename: 'b'} AS archiver, 'x,\"y' AS text FROM range(5) AS t(i)",
    );
    let text = |arguments: &[&str]| {
        let output = program(&lake.root(), arguments);
        assert!(output.status.success());
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let sql = "SELECT id, text FROM lab.probe1 ORDER BY id;";
    let (csv, cut) = text(&["--format", "csv", "--max-rows", "2", sql]);
    assert_eq!(csv, "id,text\r\n0,\"x,\"\"y\"\r\n1,\"x,\"\"y\"\r\n");
    assert!(cut.starts_with("cut after 2 rows"), "{cut}");
    let (table, whole) = text(&["SELECT id FROM lab.probe1 WHERE id < 2"]);
    assert_eq!((table.as_str(), whole.as_str()), ("id\n──\n0\n1\n", ""));
    let output = lake.dir.path().join("answer.parquet");
    text(&[
        "--format",
        "parquet",
        "--output",
        output.to_str().unwrap(),
        sql,
    ]);
    assert_eq!(&fs::read(output).unwrap()[..4], b"PAR1");
}

#[test]
fn a_terminal_sees_no_control_characters_and_files_and_json_keep_them() {
    let lake = Lake::new();
    let hostile = "SELECT chr(27) || ']52;c;eA==' || chr(7) || chr(13) || chr(155) || chr(8238) || 'x' AS \"na\u{1b}me\"";
    let ask = |arguments: &[&str]| {
        let arguments = [arguments, &[hostile]].concat();
        let output = program(&lake.dir.path().join("empty"), &arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::create_dir_all(lake.dir.path().join("empty")).unwrap();
    for format in ["table", "csv"] {
        let shown = ask(&["--format", format]);
        let allowed = |letter: char| letter == '\n' || (letter == '\r' && format == "csv");
        let unsafe_letter = shown
            .replace("\r\n", "\n")
            .chars()
            .find(|letter| (letter.is_control() && !allowed(*letter)) || *letter == '\u{202e}');
        assert_eq!(unsafe_letter, None, "{format}: {shown:?}");
        assert!(
            shown.contains(r"\u{1b}]52;c;eA==\u{7}\u{d}\u{9b}\u{202e}x"),
            "{shown}"
        );
    }
    let file = lake.dir.path().join("answer.csv");
    ask(&["--format", "csv", "--output", file.to_str().unwrap()]);
    let exact = std::fs::read_to_string(file).unwrap();
    assert!(
        exact.contains("\u{1b}]52;c;eA==\u{7}\r\u{9b}\u{202e}x"),
        "{exact:?}"
    );
    let json: serde_json::Value = serde_json::from_str(&ask(&["--format", "json"])).unwrap();
    assert_eq!(
        json[0]["na\u{1b}me"],
        "\u{1b}]52;c;eA==\u{7}\r\u{9b}\u{202e}x"
    );
}
