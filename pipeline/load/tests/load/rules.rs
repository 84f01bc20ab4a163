//! The documentation of rows: every rule and every derived column is in it. And the rules of tcpinfo.

use serde_json::{Value, json};

use crate::datatypes::{load, object, real};
use crate::support::{Lab, errors, rows};

fn formats() -> String {
    std::fs::read_to_string(groma_tests::workspace().join("docs/formats.md")).unwrap()
}

#[test]
fn every_rule_stands_in_the_formats() {
    let formats = formats();
    for datatype in groma_schema::DATATYPES
        .iter()
        .map(|(name, _)| *name)
        .chain(["ndt7"])
    {
        for rule in groma_mlab::datatype(datatype).rules() {
            let names = |line: &&str| line.contains(&format!("| `{}` |", rule.name));
            let said = formats.lines().filter(names).any(|line| {
                // The table of ndt7 does not say so in every line.
                datatype == "ndt7" || line.contains(datatype)
            });
            assert!(said, "{datatype} {}", rule.name);
        }
    }
}

/// Name and description of every column below `prefix`, in the order of the schema.
fn columns(fields: &Value, prefix: &str, found: &mut Vec<(String, String)>) {
    for field in fields.as_array().unwrap() {
        let name = format!("{prefix}{}", field["name"].as_str().unwrap());
        match field.get("fields") {
            Some(below) => columns(below, &format!("{name}."), found),
            None => found.push((name, field["description"].as_str().unwrap().to_owned())),
        }
    }
}

#[test]
fn every_column_of_packets_is_defined_with_its_source() {
    let formats = formats();
    let schema = groma_schema::datatype("pcap").unwrap();
    let mut found = Vec::new();
    columns(&serde_json::from_str(schema).unwrap(), "a.", &mut found);
    assert!(found.len() > 40);
    for (name, what) in found {
        let has_source = ["RFC ", "draft-"]
            .iter()
            .any(|source| what.contains(source));
        assert!(has_source, "{name}: {what}");
        // Both ends and both directions have the same columns.
        let name = name
            .replace("a.Listener.", "a.Opener.")
            .replace("a.FromListener.", "a.FromOpener.");
        let line = format!("| `{name}` | {} |", what.trim_end_matches('.'));
        assert!(formats.contains(&line), "{line}");
    }
}

/// A file of tcp-info with one snapshot, of these attributes.
fn tcpinfo(sequence: u64, attributes: &str) -> String {
    let message = "AgECAITiAbtkZew0AAAAAAAAAAAAAAAA2O8gKQAAAAAAAAAAAAAAAAAAAAByojUBAAAAAKR0AAAAAAAAAAAAAAAAAAAsQ+sT";
    format!(
        "{{\"Timestamp\":\"0001-01-01T00:00:00Z\",\"Metadata\":{{\"UUID\":\"h_1_00000000000000AB\",\"Sequence\":{sequence}}}}}\n\
         {{\"Timestamp\":\"2026-01-02T03:04:05.000006Z\",\"RawIDM\":\"{message}\",\"Attributes\":[{attributes}]}}\n"
    )
}

#[test]
fn every_piece_of_a_connection_is_a_row() {
    let lab = Lab::new();
    let (first, second) = (tcpinfo(0, "null,\"AAAA\""), tcpinfo(1, "null,\"AAAA\""));
    let members: [(&str, &[u8]); 2] = [
        ("h_1_00000000000000AB.00000.jsonl", first.as_bytes()),
        ("h_1_00000000000000AB.00001.jsonl", second.as_bytes()),
    ];
    let loaded = load(&lab, "tcpinfo", &members);
    assert_eq!((loaded.rows, loaded.errors), (2, 0));
    let ours = rows(&loaded.path);
    for (sequence, row) in ours.iter().enumerate() {
        assert_eq!(row["id"], "h_1_00000000000000AB");
        assert_eq!(row["raw"]["Metadata"]["Sequence"], sequence);
        let at = &row["raw"]["Snapshots"][0]["Timestamp"];
        assert!(
            at.as_str()
                .unwrap()
                .starts_with("2026-01-02T03:04:05.000006"),
            "{at}"
        );
    }
}

#[test]
fn a_file_of_tcp_info_without_a_snapshot_or_a_head_says_so() {
    let lab = Lab::new();
    let empty = tcpinfo(0, "");
    let mut members: Vec<(&str, &[u8])> = vec![("empty.00000.jsonl", empty.as_bytes())];
    let headless = real("tcpinfo/archiveRecords.jsonl.zst");
    if let Some(headless) = &headless {
        members.push(("headless.00000.jsonl.zst", headless));
    }
    let loaded = load(&lab, "tcpinfo", &members);
    assert_eq!((loaded.rows, loaded.errors), (0, members.len() as u64));
    let reasons = errors(&lab.lake(), &object("tcpinfo"));
    assert_eq!(reasons[0].2, "no snapshot");
    if headless.is_some() {
        assert_eq!(reasons[1].2, "no line with Metadata");
    }
}

#[test]
fn a_traceroute_is_kept_whole() {
    let trace = json!({"type": "tracelb", "version": "0.1", "method": "udp-dport", "src": "192.0.2.1", "dst": "192.0.2.2",
        "sport": 33435, "dport": 33436, "gaplimit": 3, "start": {"sec": 1, "usec": 2, "ftime": "1970-01-01 00:00:01"},
        "nodes": [{"addr": "192.0.2.3", "q_ttl": 1, "linkc": 1, "links": [[{"addr": "192.0.2.4", "probes": [
            {"tx": {"sec": 1, "usec": 3}, "replyc": 1, "ttl": 2, "attempt": 0, "flowid": 1,
             "replies": [{"rx": {"sec": 1, "usec": 4}, "ttl": 63, "rtt": 1.5, "ipid": 4711, "icmp_type": 11, "icmp_code": 0,
                "icmp_q_tos": 0, "icmp_q_ttl": 1}]}]}]]}]});
    let file = [
        json!({"UUID": "h_1_00000000000000AB"}),
        json!({"type": "cycle-start", "list_name": "l", "hostname": "h", "start_time": 1_566_691_298}),
        trace,
        json!({"type": "cycle-stop", "list_name": "l", "hostname": "h", "stop_time": 1_566_691_299}),
    ]
    .map(|line| line.to_string() + "\n")
    .concat();
    let lab = Lab::new();
    let loaded = load(&lab, "scamper1", &[("x.jsonl", file.as_bytes())]);
    assert_eq!((loaded.rows, loaded.errors), (1, 0));
    assert!(
        loaded.unknown_fields.is_empty(),
        "{:?}",
        loaded.unknown_fields
    );
    let trace = &rows(&loaded.path)[0]["raw"]["Tracelb"];
    let number = |path: &str| trace.pointer(path).and_then(Value::as_f64);
    for (path, expected) in [
        ("/gaplimit", 3.0),
        ("/sport", 33435.0),
        ("/dport", 33436.0),
        ("/nodes/0/links/0/Links/0/probes/0/replies/0/ipid", 4711.0),
    ] {
        assert_eq!(number(path), Some(expected), "{path}");
    }
    assert_eq!(trace["start"]["ftime"], "1970-01-01 00:00:01");
    assert_eq!(trace["nodes"][0]["hop_id"], "20190825_h_192.0.2.3");
}
