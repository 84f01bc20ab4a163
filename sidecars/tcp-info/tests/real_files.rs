//! Real files of M-Lab's recorder, and the netlink messages that it kept.

use std::path::{Path, PathBuf};

use groma_diag::Record;
use groma_tcp_info::decode::{
    Reader, Recording, write_csv, write_json, write_plot, write_svg, write_table,
};
use groma_tcp_info::record::{Line, encode_line};
use serde_json::Value;

fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn files() -> Vec<PathBuf> {
    let Some(data) = groma_tests::real_data() else {
        return Vec::new();
    };
    let mut files: Vec<_> = std::fs::read_dir(data.join("tcpinfo"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Times as instants: one file has them with the offset of a zone, which we write as UTC.
fn normal(text: &str) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if let ("Timestamp" | "StartTime", Value::String(time)) =
                        (key.as_str(), &mut *value)
                    {
                        let instant: jiff::Timestamp = time.parse().unwrap();
                        *time = instant.to_string();
                    }
                    walk(value);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap();
    walk(&mut value);
    value
}

#[test]
fn every_line_of_every_file_decodes_and_is_written_the_same() {
    let mut snapshots = 0;
    for path in files() {
        for text in lines(&path) {
            let line = Line::parse(text.as_bytes()).unwrap();
            snapshots += usize::from(matches!(line, Line::Record(_)));
            let again = encode_line(&line);
            assert_eq!(normal(&again), normal(&text), "{}", path.display());
            let zone = text.contains("-04:00");
            assert_eq!(
                again.trim_end() == text,
                !zone,
                "to the byte, but for zones: {text}"
            );
        }
    }
    assert!(
        snapshots == 0 || snapshots == 420 + 62 + 891 + 150,
        "{snapshots}"
    );
}

#[test]
fn netlink_messages_become_the_lines_that_were_made_of_them() {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let packed = std::fs::read(data.join("netlink/testdata.zst")).unwrap();
    let raw = zstd::decode_all(&packed[..]).unwrap();
    let expected = lines(&data.join("tcpinfo/archiveRecords.jsonl.zst"));
    let mut rest = &raw[..];
    let mut written = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let record = Record::parse(&rest[16..length]).unwrap();
        let time = "0001-01-01T00:00:00Z".parse().unwrap();
        written.push(
            groma_tcp_info::record::encode_record(time, record)
                .trim_end()
                .to_owned(),
        );
        rest = &rest[length..];
    }
    assert_eq!(written.len(), 420);
    assert_eq!(written, expected);
}

#[test]
fn known_numbers_come_out() {
    let Some(data) = groma_tests::real_data() else {
        return;
    };
    let path = data.join("tcpinfo/ndt-7hhhv_1559749627_0000000000062D84.00000.jsonl.zst");
    let recording = Recording::read(&path).unwrap();
    let metadata = recording.metadata.as_ref().unwrap();
    assert_eq!(metadata.uuid, "ndt-7hhhv_1559749627_0000000000062D84");
    assert_eq!((recording.records.len(), recording.end), (891, None));
    let last = recording.records.last().unwrap().decode();
    let info = last.tcp_info.unwrap();
    assert_eq!((info.bytes_sent, info.bytes_received), (3_939_771, 1_245));
    let message = last.inet_diag_msg.unwrap();
    assert_eq!((message.family, message.id.unwrap().cookie), (10, 0x62D84));
    assert_eq!(
        (last.congestion_algorithm.as_str(), last.not_fully_parsed),
        ("cubic", 0)
    );

    let stumps = Recording::read(
        &data.join("tcpinfo/finwait2-sample_1554836592_unsafe_000000000135A272.00000.jsonl.zst"),
    )
    .unwrap();
    let without = stumps
        .records
        .iter()
        .filter(|record| record.decode().tcp_info.is_none());
    assert_eq!(without.count(), 1);
}

#[test]
fn every_way_of_showing_takes_every_file() {
    for path in files() {
        let recording = Recording::read(&path).unwrap();
        let mut shown: [Vec<u8>; 5] = Default::default();
        let [table, csv, json, plot, svg] = &mut shown;
        write_table(&recording, table).unwrap();
        write_csv(&recording, csv).unwrap();
        write_json(&recording, json).unwrap();
        write_plot(&recording.moments(), 80, plot).unwrap();
        write_svg(&recording, svg).unwrap();
        let rows = |text: &[u8]| std::str::from_utf8(text).unwrap().lines().count();
        assert_eq!(rows(csv), recording.records.len() + 1);
        assert_eq!(rows(json), recording.records.len());
        assert!(rows(table) > recording.records.len());
        let svg = std::str::from_utf8(svg).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let plot = std::str::from_utf8(plot).unwrap();
        assert!(plot.contains("round-trip time") && !plot.contains("NaN"));
    }
}

#[test]
fn damage_is_an_error_with_its_place_and_no_end_of_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    let long = format!("{{\"Timestamp\":\"{}\"}}\n", "0".repeat(70_000));
    for (text, place) in [
        ("{}\n", "line 1"),
        (
            "{\"Timestamp\":\"2026-01-01T00:00:00Z\",\"RawIDM\":\"AAAA\"}\n",
            "line 1: tcpinfo line: RawIDM has 3 bytes",
        ),
        ("nonsense", "line 1"),
        (&long, "line 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let results: Vec<_> = Reader::open(&path).unwrap().collect();
        let [Err(error)] = &results[..] else {
            panic!("{results:?}")
        };
        assert!(error.to_string().contains(place), "{error}");
    }
    let packed = dir.path().join("x.jsonl.zst");
    let bytes = zstd::encode_all(&[b' '; 10_000][..], 3).unwrap();
    std::fs::write(&packed, &bytes[..bytes.len() - 3]).unwrap();
    assert!(Recording::read(&packed).is_err());
}
