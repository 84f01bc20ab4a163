//! Values of rows where files are unusual.

use groma_load::{LoadError, Loader};
use groma_mlab::load_datatype;
use groma_schema::{Schema, datatype};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::datatypes::{load, object, real};
use crate::support::{Lab, PROBE_LINES, PROBE_OBJECT, errors, gzip, rows, tar};

#[test]
fn an_ndt5_direction_without_a_connection_measured_nothing() {
    let failed = json!({"UUID": "", "StartTime": "0001-01-01T00:00:00Z", "EndTime": "0001-01-01T00:00:00Z",
        "MinRTT": 0, "MeanThroughputMbps": 0, "Error": "No connection created"});
    let file = json!({"Control": {"UUID": "ndt-abc_1_0000000000000001"}, "S2C": failed});
    let lab = Lab::new();
    let file = file.to_string();
    let loaded = load(&lab, "ndt5", &[("a.json", file.as_bytes())]);
    assert_eq!((loaded.rows, loaded.errors), (1, 0));
    let row = &rows(&loaded.path)[0];
    assert_eq!(row["id"], "ndt-abc_1_0000000000000001");
    assert_eq!(row["a"], Value::Null);
    // A direction with a connection, of which only some was measured.
    let partly = json!({"UUID": "ndt-abc_1_0000000000000002", "StartTime": "0001-01-01T00:00:00Z",
        "MinRTT": 0, "MeanThroughputMbps": 1.5});
    let file = json!({"Control": {"UUID": "c"}, "S2C": partly}).to_string();
    let lab = Lab::new();
    let row = &rows(&load(&lab, "ndt5", &[("a.json", file.as_bytes())]).path)[0];
    assert_eq!(row["id"], "ndt-abc_1_0000000000000002");
    assert_eq!(row["a"].get("MinRTT"), None);
    assert_eq!(row["a"].get("TestTime"), None);
    assert_eq!(row["a"]["MeanThroughputMbps"], 1.5);
}

#[test]
fn local_octets_are_zero_between_the_two_days() {
    let line = |metric: &str| {
        json!({"metric": metric, "hostname": "mlab2-dfw07.mlab-oti.measurement-lab.org", "experiment": "s1.dfw07",
            "sample": [{"timestamp": 1, "value": 7, "counter": 9}]})
        .to_string()
    };
    let file = [
        line("switch.octets.local.rx"),
        line("switch.octets.uplink.rx"),
    ]
    .join("\n");
    let schema = Schema::parse(datatype("switch").unwrap()).unwrap();
    for (date, zero) in [
        ("2020-09-09", false),
        ("2020-09-10", true),
        ("2022-01-18", true),
        ("2022-01-19", false),
    ] {
        let lab = Lab::new();
        lab.put(
            &object("switch"),
            &gzip(&tar(&[("a.jsonl", file.as_bytes())])),
        );
        let of = load_datatype(
            "ndt".parse().unwrap(),
            "switch".parse().unwrap(),
            schema.clone(),
        );
        let loader = Loader::new(Arc::new(lab.store.clone()), lab.lake(), vec![of]);
        let date = Some(date.parse().unwrap());
        let row = &rows(&loader.load_object(&object("switch"), date).unwrap().path)[0];
        let (value, counter) = if zero { (0, 0) } else { (7, 9) };
        assert_eq!(row["a"]["SwitchOctetsLocalRx"], value, "{date:?}");
        assert_eq!(row["a"]["SwitchOctetsLocalRxCounter"], counter, "{date:?}");
        assert_eq!(row["a"]["SwitchOctetsUplinkRxCounter"], 9);
        assert_eq!(row["raw"]["Metrics"][0]["sample"][0]["counter"], 9);
    }
}

#[test]
fn the_region_of_an_annotation_is_null() {
    let file = json!({"UUID": "u", "Server": {"Geo": {"Region": "NY", "City": "New York"}},
        "Client": {"Geo": {"Region": "CA", "CountryCode": "US"}}});
    let lab = Lab::new();
    let file = file.to_string();
    let row = &rows(&load(&lab, "annotation2", &[("u.json", file.as_bytes())]).path)[0];
    assert_eq!(row["server"]["Geo"]["City"], "New York");
    assert_eq!(row["client"]["Geo"]["CountryCode"], "US");
    for end in ["server", "client"] {
        assert_eq!(row[end]["Geo"].get("Region"), None, "{row}");
    }
}

#[test]
fn a_node_without_links_costs_no_trace() {
    let Some(file) = real("scamper1/invalid-tracelb-links") else {
        return;
    };
    let lab = Lab::new();
    let loaded = load(&lab, "scamper1", &[("x.jsonl", &file)]);
    assert_eq!((loaded.rows, loaded.errors), (1, 0));
    let row = &rows(&loaded.path)[0];
    let nodes = row["raw"]["Tracelb"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["linkc"] == 1), "{row}");
}

#[test]
fn a_capture_is_read_to_its_cut_and_has_a_known_version() {
    let Some(whole) = real("pcap/v4.pcap") else {
        return;
    };
    let packets = |loaded: &groma_load::Loaded| rows(&loaded.path)[0]["a"].clone();
    let packed = gzip(&whole);
    let lab = Lab::new();
    let all = packets(&load(&lab, "pcap", &[("a.pcap.gz", &packed)]));
    let lab = Lab::new();
    let cut = load(&lab, "pcap", &[("a.pcap.gz", &packed[..packed.len() - 12])]);
    assert_eq!((cut.rows, cut.errors, cut.damaged), (1, 1, false));
    let some = packets(&cut);
    assert_eq!(
        (&all["Truncated"], &some["Truncated"]),
        (&json!(false), &json!(true))
    );
    assert!(some["Packets"].as_u64() > Some(0));
    assert!(
        errors(&lab.lake(), &object("pcap"))[0]
            .2
            .contains("truncated")
    );
    // Magic, and then noise.
    let mut wrong = whole.clone();
    wrong[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    let lab = Lab::new();
    let loaded = load(&lab, "pcap", &[("a.pcap", &wrong)]);
    assert_eq!((loaded.rows, loaded.errors), (0, 1));
}

#[test]
fn a_schema_that_changes_the_type_of_a_column_is_refused() {
    let loader = |lab: &Lab, schema: &str| {
        let datatype = groma_load::LoadDatatype {
            experiment: "lab".parse().unwrap(),
            datatype: "probe1".parse().unwrap(),
            schema: Schema::parse(schema).unwrap(),
            rules: groma_load::JSON,
        };
        Loader::new(Arc::new(lab.store.clone()), lab.lake(), vec![datatype])
    };
    let record = |kind: &str| {
        format!(
            r#"[{{"name": "Count", "type": "INTEGER"}},
                {{"name": "Deep", "type": "RECORD", "fields": [{{"name": "Value", "type": "{kind}"}}]}}]"#
        )
    };
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, &gzip(&tar(&[("a.json", b"{\"Count\":1}")])));
    loader(&lab, &record("INTEGER"))
        .load_object(PROBE_OBJECT, None)
        .unwrap();
    lab.put(
        PROBE_LINES,
        &gzip(b"{\"archiver\":{\"Filename\":\"a.json\"},\"raw\":{\"Count\":1}}\n"),
    );
    for (schema, column) in [
        (record("STRING"), "raw.Deep.Value"),
        (record("FLOAT"), "raw.Deep.Value"),
        (
            r#"[{"name": "Count", "type": "STRING"}]"#.to_owned(),
            "raw.Count",
        ),
        (
            r#"[{"name": "Count", "type": "INTEGER", "mode": "REPEATED"}]"#.to_owned(),
            "raw.Count",
        ),
    ] {
        let refused = loader(&lab, &schema)
            .load_object(PROBE_LINES, None)
            .unwrap_err();
        assert!(matches!(refused, LoadError::Evolution { .. }), "{refused}");
        assert!(refused.to_string().contains(column), "{refused}");
        assert!(refused.is_permanent());
    }
    // A new column is welcome, also where an old one is left out.
    let added = r#"[{"name": "Count", "type": "INTEGER"}, {"name": "New", "type": "STRING"}]"#;
    loader(&lab, added).load_object(PROBE_LINES, None).unwrap();
}
