//! Results of M-Lab's msak, whose schemas do not declare the privacy of their fields, published by its publisher's flags.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::groma::{groma, run, told, wait_for};
use crate::lab::PATIENCE;
use crate::parts::Part;
use crate::stored;

const HOST: &str = "msak-lga12345-c0a80001.lab.autojoin.measurement-lab.org";

/// The schema that msak's generator makes from its result: `BigQuery`'s JSON form, without `privacy`.
fn schema() -> Value {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let integers = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| field(name, "INTEGER")).collect()
    };
    let record = |name: &str, mode: &str, fields: Vec<Value>| json!({"name": name, "type": "RECORD", "mode": mode, "fields": fields});
    let counters = ["BytesSent", "BytesReceived"];
    let bbr = ["BW", "MinRTT", "PacingGain", "CwndGain"];
    let tcp = ["State", "RTT", "BytesAcked", "BytesReceived", "ElapsedTime"];
    let measurements = |name: &str| {
        let fields = vec![
            record("Application", "NULLABLE", integers(&counters)),
            record("Network", "NULLABLE", integers(&counters)),
            field("ElapsedTime", "INTEGER"),
            record("BBRInfo", "NULLABLE", integers(&bbr)),
            record("TCPInfo", "NULLABLE", integers(&tcp)),
        ];
        record(name, "REPEATED", fields)
    };
    let pairs = |name: &str| {
        let fields = ["Name", "Value"].map(|name| field(name, "STRING"));
        record(name, "REPEATED", fields.to_vec())
    };
    let texts = [
        "GitShortCommit",
        "Version",
        "Direction",
        "MeasurementID",
        "UUID",
        "Server",
        "Client",
        "CCAlgorithm",
    ];
    let mut fields = texts.map(|name| field(name, "STRING")).to_vec();
    fields.extend(["StartTime", "EndTime"].map(|name| field(name, "TIMESTAMP")));
    fields.extend(["ServerMeasurements", "ClientMeasurements"].map(measurements));
    fields.extend(["ClientOptions", "ClientMetadata"].map(pairs));
    Value::Array(fields)
}

fn result(number: usize) -> Value {
    let client = if number.is_multiple_of(2) {
        "203.0.113.5:51234"
    } else {
        "[2001:db8:1:2::5]:51234"
    };
    let measurement = json!({
        "Application": {"BytesSent": 88_080_384}, "Network": {"BytesSent": 87_033_102}, "ElapsedTime": 147_890,
        "BBRInfo": {"BW": 0, "MinRTT": 0, "PacingGain": 0, "CwndGain": 0},
        "TCPInfo": {"State": 1, "RTT": 40, "BytesAcked": 88_080_384, "BytesReceived": 300, "ElapsedTime": 147_900},
    });
    json!({
        "GitShortCommit": "772318a", "Version": "v0.5.0", "Direction": "download",
        "MeasurementID": "0b8d4a2e-7f6f-4b7a-9a55-3c1f1c2d3e4f", "UUID": format!("vm_1764500000_{number:016X}"),
        "Server": "192.0.2.7:443", "Client": client, "CCAlgorithm": "bbr",
        "StartTime": "2026-01-02T03:04:05.678901234Z", "EndTime": "2026-01-02T03:04:10.678901234Z",
        "ServerMeasurements": [measurement], "ClientMeasurements": null,
        "ClientOptions": [{"Name": "streams", "Value": "2"}, {"Name": "duration", "Value": "5000"}],
        "ClientMetadata": [{"Name": "client_name", "Value": "msak-js"}],
    })
}

/// The arguments of jostler for the results below `root`.
fn jostler(root: &Path) -> Vec<String> {
    let at = root.display();
    let schema = format!("-datatype-schema-file=throughput1:{at}/throughput1.json");
    let before = ["publish", "--archive", &format!("{at}/archive")].map(str::to_owned);
    let mut arguments = before.to_vec();
    arguments.extend(["--state", &format!("{at}/state"), "--compat", "jostler"].map(str::to_owned));
    arguments.extend([
        "-gcs-bucket=b".to_owned(),
        "-experiment=msak".to_owned(),
        "-datatype=throughput1".to_owned(),
        format!("-local-data-dir={at}"),
        format!("-mlab-node-name={HOST}"),
        "-bundle-age-max=1s".to_owned(),
        schema,
    ]);
    arguments
}

#[test]
fn forty_results_of_msak_are_published_with_an_operators_declarations() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::write(root.join("throughput1.json"), schema().to_string()).unwrap();
    let day = root.join("msak/throughput1/2026/01/02");
    fs::create_dir_all(&day).unwrap();
    for number in 0..40 {
        let name = format!(
            "throughput1-download-20260102T030405.678901234Z.vm_1764500000_{number:016X}.json"
        );
        fs::write(day.join(name), result(number).to_string()).unwrap();
    }
    let mut arguments = jostler(root);
    let refused = run(&mut groma(arguments.iter().map(String::as_str)));
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(
        told(&refused).contains("datatype-privacy-file"),
        "{}",
        told(&refused)
    );

    let declarations = root.join("privacy.json");
    let text = r#"{"Client": "client_ip", "Server": "server_ip"}"#;
    fs::write(&declarations, text).unwrap();
    arguments.push(format!(
        "-datatype-privacy-file=throughput1:{}",
        declarations.display()
    ));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let publisher = Part::start(&arguments, &root.join("log"));
    wait_for("the claims", PATIENCE, || {
        stored::files(&root.join("msak"), "")
            .is_empty()
            .then_some(())
    });
    publisher.end();
    let quarantined = stored::files(&root.join("state/quarantine"), ".json");
    assert!(quarantined.is_empty(), "{quarantined:?}");
    let data = stored::files(&root.join("archive"), "-data.jsonl.gz");
    let data = data
        .iter()
        .filter(|path| path.to_string_lossy().contains("/throughput1/"));
    let lines: Vec<Value> = data
        .flat_map(|path| {
            let text = io::read_to_string(GzDecoder::new(File::open(path).unwrap())).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.collect::<Vec<Value>>()
        })
        .collect();
    let mut published: Vec<&Value> = lines.iter().map(|line| &line["Raw"]).collect();
    published.sort_by_key(|raw| raw["UUID"].as_str().map(str::to_owned));
    let expected: Vec<Value> = (0..40).map(result).collect();
    assert_eq!(published, expected.iter().collect::<Vec<_>>());
}
