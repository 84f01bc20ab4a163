//! Every datatype of M-Lab: its real files, and M-Lab's own rows of them where there are some.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use groma_load::{Loaded, Loader};
use groma_mlab::load_datatype;
use groma_schema::{Schema, datatype};
use jiff::civil::Date;
use serde_json::{Value, json};

use crate::golden::canonical;
use crate::support::{Lab, errors, gzip, lines, rows, tar};

pub(crate) fn object(datatype: &str) -> String {
    format!("ndt/{datatype}/2020/03/18/20200318T003853.425987Z-{datatype}-mlab3-syd03-ndt.tgz")
}

fn loader(lab: &Lab, name: &str) -> Loader {
    let schema = Schema::parse(datatype(name).unwrap()).unwrap();
    let datatype = load_datatype("ndt".parse().unwrap(), name.parse().unwrap(), schema);
    Loader::new(Arc::new(lab.store.clone()), lab.lake(), vec![datatype])
}

/// Loads an archive of these members, with the date that M-Lab's rows have.
pub(crate) fn load(lab: &Lab, name: &str, members: &[(&str, &[u8])]) -> Loaded {
    lab.put(&object(name), &gzip(&tar(members)));
    let date = Date::constant(2020, 3, 18);
    loader(lab, name)
        .load_object(&object(name), Some(date))
        .unwrap()
}

pub(crate) fn real(path: &str) -> Option<Vec<u8>> {
    Some(fs::read(groma_tests::real_data()?.join(path)).unwrap())
}

/// Every value of M-Lab's rows is in ours; `but` names the paths where a rule says otherwise.
fn same(golden: &[u8], ours: Vec<Value>, but: &[&str]) {
    let mut golden = lines(golden);
    assert_eq!(golden.len(), ours.len());
    let mut met = BTreeSet::new();
    for (golden, ours) in golden.iter_mut().zip(ours) {
        let golden = canonical(golden.take()).unwrap();
        compare(
            "",
            &golden,
            &canonical(ours).unwrap_or_default(),
            but,
            &mut met,
        );
    }
    assert_eq!(
        met.len(),
        but.len(),
        "differences that are none any more: {met:?} of {but:?}"
    );
}

fn compare<'a>(
    path: &str,
    golden: &Value,
    ours: &Value,
    but: &[&'a str],
    met: &mut BTreeSet<&'a str>,
) {
    if ["parser", "date"].contains(&path) {
        return;
    }
    match golden {
        Value::Object(fields) => {
            for (key, value) in fields {
                let here = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(
                    &here,
                    value,
                    ours.get(key).unwrap_or(&Value::Null),
                    but,
                    met,
                );
            }
        }
        Value::Array(items) => {
            let count = ours.as_array().map_or(0, Vec::len);
            assert_eq!(items.len(), count, "{path}");
            for (at, item) in items.iter().enumerate() {
                compare(path, item, &ours[at], but, met);
            }
        }
        value if value == ours => {}
        value => match but.iter().find(|known| **known == path) {
            Some(known) => {
                met.insert(known);
            }
            None => panic!("{path}: M-Lab has {value}, we {ours}"),
        },
    }
}

#[test]
fn multipath_traceroutes_are_those_of_mlabs_parser() {
    let (Some(file), Some(golden)) = (
        real("scamper1/etl-valid.jsonl"),
        real("golden/scamper1-valid.jsonl"),
    ) else {
        return;
    };
    let lab = Lab::new();
    let loaded = load(
        &lab,
        "scamper1",
        &[("20190825T000108Z_0000000000.jsonl", &file)],
    );
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (1, 0, 0));
    assert!(
        loaded.unknown_fields.is_empty(),
        "{:?}",
        loaded.unknown_fields
    );
    let ours = rows(&loaded.path);
    assert_eq!(ours[0]["raw"]["Tracelb"]["gaplimit"], 3.0);
    same(&golden, ours, &["raw.tracelb.gaplimit"]);
}

#[test]
fn annotations_are_those_of_mlabs_parser() {
    let names = [
        "ndt-empty-geo",
        "ndt-njp6l_1585004303_00000000000170FA",
        "ndt-corrupt",
    ];
    let files: Vec<_> = names
        .iter()
        .filter_map(|name| real(&format!("annotation2/{name}.json")))
        .collect();
    let Some(golden) = real("golden/annotation2.jsonl") else {
        return;
    };
    let lab = Lab::new();
    let members: Vec<(String, &[u8])> = names
        .iter()
        .zip(&files)
        .map(|(name, file)| (format!("{name}.json"), &file[..]))
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, file)| (name.as_str(), *file))
        .collect();
    let loaded = load(&lab, "annotation2", &members);
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (2, 1, 0));
    let ours = rows(&loaded.path);
    assert!(ours[0]["raw"]["Timestamp"].is_string());
    same(&golden, ours, &[]);
    let (member, _, reason) = errors(&lab.lake(), &object("annotation2")).remove(0);
    assert_eq!(member, "ndt-corrupt.json");
    assert!(reason.starts_with("not JSON"), "{reason}");
}

#[test]
fn hop_annotations_are_those_of_mlabs_parser() {
    let name = "20210818T174432Z_1e0b318cf3c2_91.189.88.152.json";
    let (Some(file), Some(golden)) = (
        real(&format!("hopannotation2/{name}")),
        real("golden/hopannotation2.jsonl"),
    ) else {
        return;
    };
    let lab = Lab::new();
    let loaded = load(&lab, "hopannotation2", &[(name, &file)]);
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (1, 0, 0));
    same(&golden, rows(&loaded.path), &[]);
}

#[test]
fn switches_are_those_of_mlabs_parser() {
    let (Some(file), Some(golden)) = (
        real("switch/discov2-switch.jsonl"),
        real("golden/switch-dfw07.jsonl.gz"),
    ) else {
        return;
    };
    let mut text = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::MultiGzDecoder::new(&golden[..]),
        &mut text,
    )
    .unwrap();
    let lab = Lab::new();
    let loaded = load(&lab, "switch", &[("discov2-switch.jsonl", &file)]);
    assert_eq!((loaded.rows, loaded.errors), (30, 0));
    let ours = rows(&loaded.path);
    let sum = |name: &str| {
        ours.iter()
            .filter_map(|row| row["a"][name].as_i64())
            .sum::<i64>()
    };
    assert_eq!(sum("SwitchOctetsUplinkTx"), 15_133_921_186);
    assert_eq!(sum("SwitchOctetsUplinkRx"), 3_942_840_875);
    assert_eq!(ours[0]["id"], "mlab2-dfw07-1639449420");
    assert_eq!(ours[29]["id"], "mlab2-dfw07-1639449710");
    same(&text, ours, &[]);
}

#[test]
fn the_first_switch_collector_is_put_right_and_a_bad_line_is_one_bad_line() {
    let metric = |name: &str| {
        let sample = |at: i64| json!({"timestamp": at, "value": at, "counter": 2 * at});
        json!({"metric": name, "hostname": "mlab1.lga01.measurement-lab.org", "experiment": "s1.lga01",
            "sample": [sample(100), sample(110), sample(120)]})
    };
    let text = format!(
        "{}\n{{\"metric\": \n{}\n",
        metric("switch.octets.local.rx"),
        metric("switch.errors.uplink.tx")
    );
    let lab = Lab::new();
    lab.put(
        &object("switch"),
        &gzip(&tar(&[
            ("x.json", text.as_bytes()),
            ("x.jsonl", text.as_bytes()),
        ])),
    );
    let date = Date::constant(2021, 1, 1);
    let loaded = loader(&lab, "switch")
        .load_object(&object("switch"), Some(date))
        .unwrap();
    assert_eq!((loaded.rows, loaded.errors), (2 + 3, 2));
    let ours = rows(&loaded.path);
    assert_eq!(ours[0]["id"], "mlab1-lga01-110");
    assert_eq!(ours[0]["a"]["SwitchErrorsUplinkTx"], 100);
    assert_eq!(ours[0]["a"]["SwitchOctetsLocalRx"], 0, "wrong in that year");
    assert_eq!(ours[0]["a"]["SwitchOctetsLocalRxCounter"], 0, "as M-Lab");
    assert_eq!(ours[2]["id"], "mlab1-lga01-100");
}

#[test]
fn each_invalid_traceroute_says_what_is_wrong_with_it() {
    let expected = [
        ("cycle-start", "line 2, CycleStart: not JSON"),
        (
            "cycle-start-type",
            "line 2, CycleStart: type is \"cycle-start-invalid\"",
        ),
        ("cycle-stop", "line 4, CycleStop: not JSON"),
        (
            "cycle-stop-type",
            "line 4, CycleStop: type is \"cycle-stop-invalid\"",
        ),
        ("last-line", "line 5: the last line has no line feed"),
        ("metadata", "line 1, Metadata: not JSON"),
        ("metadata-uuid", "line 1, metadata: no UUID"),
        ("num-lines", "5 lines instead of 4"),
        ("tracelb", "line 3, Tracelb: not JSON"),
        (
            "tracelb-type",
            "line 3, Tracelb: type is \"tracelb-invalid\"",
        ),
    ];
    for (name, reason) in expected {
        let Some(file) = real(&format!("scamper1/invalid-{name}")) else {
            return;
        };
        let lab = Lab::new();
        let loaded = load(&lab, "scamper1", &[("x.jsonl", &file)]);
        assert_eq!((loaded.rows, loaded.errors), (0, 1), "{name}");
        let found = errors(&lab.lake(), &object("scamper1")).remove(0).2;
        assert!(found.starts_with(reason), "{name}: {found}");
    }
    for (kind, name) in [
        ("scamper1", "simple"),
        ("scamper1", "star"),
        ("scamper1", "complex"),
        ("scamper2", "simple"),
        ("scamper2", "star"),
    ] {
        let file = real(&format!("{kind}/valid-{name}")).unwrap();
        let lab = Lab::new();
        let loaded = load(&lab, kind, &[("x.jsonl", &file)]);
        assert_eq!((loaded.rows, loaded.errors), (1, 0), "{kind} {name}");
        assert!(
            loaded.unknown_fields.is_empty(),
            "{kind} {name}: {:?}",
            loaded.unknown_fields
        );
    }
}

#[test]
fn the_object_form_of_a_traceroute_is_the_same_row() {
    let Some(file) = real("scamper2/valid-star") else {
        return;
    };
    let parts = lines(&file);
    let object = json!({"Metadata": parts[0], "CycleStart": parts[1], "Trace": parts[2], "CycleStop": parts[3]});
    let lab = Lab::new();
    let loaded = load(
        &lab,
        "scamper2",
        &[
            ("a.jsonl", &file),
            ("b.json", object.to_string().as_bytes()),
        ],
    );
    assert_eq!((loaded.rows, loaded.errors), (2, 0));
    let ours = rows(&loaded.path);
    assert_eq!(ours[0]["raw"], ours[1]["raw"]);
    assert!(
        ours[0]["raw"]["Trace"]["hops"][0]["hop_id"]
            .as_str()
            .unwrap()
            .starts_with("20211208_0280ea26207e_")
    );
}

#[test]
fn every_snapshot_of_a_connection_is_kept() {
    let names = [
        ("ndt-7hhhv_1559749627_0000000000062D84.00000", 891, 0),
        ("ndt-jdczh_1553815964_00000000000003E8.00183", 150, 183),
        (
            "finwait2-sample_1554836592_unsafe_000000000135A272.00000",
            61,
            0,
        ),
    ];
    for (name, snapshots, sequence) in names {
        let Some(file) = real(&format!("tcpinfo/{name}.jsonl.zst")) else {
            return;
        };
        let lab = Lab::new();
        let member = format!("{name}.jsonl.zst");
        let loaded = load(&lab, "tcpinfo", &[(&member, &file)]);
        assert_eq!(
            (loaded.rows, loaded.errors, loaded.skipped),
            (1, 0, 0),
            "{name}"
        );
        let row = rows(&loaded.path).remove(0);
        let list = row["raw"]["Snapshots"].as_array().unwrap();
        assert_eq!(list.len(), snapshots, "{name}");
        assert_eq!(list.last(), Some(&row["a"]["FinalSnapshot"]));
        assert_eq!(row["raw"]["Metadata"]["Sequence"], sequence);
        let id = row["raw"]["Metadata"]["UUID"].as_str().unwrap();
        assert_eq!(row["id"], id.replacen("_unsafe", "", 1));
        for end in ["SrcIP", "DstIP"] {
            let ip = row["a"]["SockID"][end].as_str().unwrap();
            assert!(ip.parse::<std::net::IpAddr>().is_ok(), "{ip}");
        }
        assert!(row["a"]["FinalSnapshot"]["TCPInfo"]["State"].is_i64());
    }
}

#[test]
fn a_bad_record_costs_itself_and_nothing_else() {
    let Some(file) = real("tcpinfo/ndt-jdczh_1553815964_00000000000003E8.00183.jsonl.zst") else {
        return;
    };
    let text = String::from_utf8(zstd::decode_all(&file[..]).unwrap()).unwrap();
    let mut broken: Vec<&str> = text.lines().collect();
    broken[3] = "{\"Timestamp\": 1}";
    broken[5] = r#"{"Timestamp":"2019-04-02T14:12:37.511Z","RawIDM":"AAAA"}"#;
    let lab = Lab::new();
    let loaded = load(
        &lab,
        "tcpinfo",
        &[
            ("x.00183.jsonl", broken.join("\n").as_bytes()),
            ("headless.00000.jsonl", b"{}\n"),
            ("cut.00000.jsonl.zst", &file[..1000]),
        ],
    );
    assert_eq!((loaded.rows, loaded.errors), (1, 4));
    assert_eq!(
        rows(&loaded.path)[0]["raw"]["Snapshots"]
            .as_array()
            .unwrap()
            .len(),
        148
    );
    let reasons: Vec<String> = errors(&lab.lake(), &object("tcpinfo"))
        .into_iter()
        .map(|(_, _, reason)| reason)
        .collect();
    assert!(reasons[0].starts_with("line 4: "), "{reasons:?}");
    assert_eq!(reasons[1], "line 6: RawIDM has 3 bytes, not 72");
    assert_eq!(reasons[3], "inflated member is truncated");
}

#[test]
fn captures_are_summed_up() {
    for (name, packets) in [("v4", None), ("v6", None), ("large-ndt", Some(500..5000))] {
        let Some(file) = real(&format!("pcap/{name}.pcap")) else {
            return;
        };
        let lab = Lab::new();
        let member = "ndt-4dhwx_1578686460_00000000000A5E3F.pcap.gz";
        let loaded = load(&lab, "pcap", &[(member, &gzip(&file))]);
        assert_eq!(
            (loaded.rows, loaded.errors, loaded.skipped),
            (1, 0, 0),
            "{name}"
        );
        let row = rows(&loaded.path).remove(0);
        assert_eq!(row["id"], "ndt-4dhwx_1578686460_00000000000A5E3F");
        let a = &row["a"];
        let number = |name: &str| a[name].as_i64().unwrap();
        assert_eq!(
            number("Packets"),
            number("TCPPackets") + number("OtherPackets"),
            "{a}"
        );
        assert!(number("TCPPackets") > 0, "{a}");
        let of = |way: &str| a[way]["Packets"].as_i64().unwrap();
        assert_eq!(of("FromOpener") + of("FromListener"), number("TCPPackets"));
        if let Some(packets) = packets {
            assert!(packets.contains(&number("Packets")), "{a}");
        }
    }
}

#[test]
fn a_file_of_both_directions_gives_two_rows() {
    let s2c = json!({"UUID": "h_1_unsafe_00000000000000AB", "StartTime": "2020-03-18T00:00:01Z", "MeanThroughputMbps": 3.5,
        "MinRTT": 5_000_000, "TCPInfo": {"MinRTT": 1500, "BytesSent": 8, "BytesRetrans": 2}});
    let c2s = json!({"UUID": "h_1_00000000000000AC", "StartTime": "2020-03-18T00:00:02Z", "MeanThroughputMbps": 1.5});
    let control = json!({"UUID": "control", "ClientMetadata": {"client.os": "x"}});
    let both = json!({"Control": control, "C2S": c2s, "S2C": s2c}).to_string();
    let neither = json!({"Control": control, "C2S": null}).to_string();
    let lab = Lab::new();
    let loaded = load(
        &lab,
        "ndt5",
        &[
            ("a.json", both.as_bytes()),
            ("b.json", neither.as_bytes()),
            ("c.json", b"[]"),
        ],
    );
    assert_eq!((loaded.rows, loaded.errors), (3, 1));
    let ours = rows(&loaded.path);
    assert_eq!(ours[0]["id"], "h_1_00000000000000AC");
    assert!(ours[0]["raw"].get("S2C").is_none() && ours[0]["a"].get("MinRTT").is_none());
    assert_eq!(ours[1]["id"], "h_1_00000000000000AB");
    assert_eq!(ours[1]["a"]["MinRTT"], 1.5);
    assert_eq!(ours[1]["a"]["LossRate"], 0.25);
    assert_eq!(ours[1]["a"]["CongestionControl"], "cubic");
    assert_eq!(
        (&ours[2]["id"], ours[2].get("a")),
        (&json!("control"), None)
    );
    assert_eq!(
        ours[2]["raw"]["Control"]["ClientMetadata"],
        json!([{"Name": "client.os", "Value": "x"}])
    );
}

#[test]
fn an_inventory_needs_only_its_schema() {
    let file = json!({"commands": [{"Name": "uname", "CommandLine": ["x"], "Output": "Linux"}]})
        .to_string();
    let good =
        json!({"commands": [{"Name": "uname", "CommandLine": "uname -a", "Output": "Linux"}]})
            .to_string();
    let lab = Lab::new();
    let loaded = load(
        &lab,
        "nodeinfo1",
        &[("a.json", good.as_bytes()), ("b.json", file.as_bytes())],
    );
    assert_eq!((loaded.rows, loaded.errors), (1, 1));
    assert_eq!(
        rows(&loaded.path)[0]["raw"]["commands"][0]["Output"],
        "Linux"
    );
}

#[test]
fn every_rule_has_its_name_once() {
    for name in [
        "ndt7",
        "ndt5",
        "tcpinfo",
        "scamper1",
        "annotation2",
        "pcap",
        "switch",
        "unadmitted",
    ] {
        let rules = groma_mlab::datatype(name).rules();
        let names: BTreeSet<_> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len(), "{name}");
        assert!(!rules.is_empty(), "{name}");
    }
}
