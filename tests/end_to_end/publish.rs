//! The publisher alone, started with M-Lab's flags and observed over its admin port.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::groma::{groma, run, told, wait_for};
use crate::lab::PATIENCE;
use crate::parts::Part;
use crate::stored;

const HOST: &str = "mlab2-lga03.mlab-oti.measurement-lab.org";

/// Where a part serves its metrics, from its log.
pub(crate) fn admin_of(log: &Path) -> String {
    wait_for("the admin port", PATIENCE, || {
        let text = fs::read_to_string(log).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("metrics and health"))?;
        let (_, rest) = line.split_once("127.0.0.1:")?;
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(format!("127.0.0.1:{port}"))
    })
}

/// Status and body of what the admin port answers.
fn ask(admin: &str, path: &str) -> (u16, Value) {
    let answer = groma_tests::http_get(admin, path);
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn result(spool: &str, datatype: &str, name: &str) {
    let dir = Path::new(spool).join(datatype).join("2026/01/02");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), b"{\"a\": 1}").unwrap();
}

#[test]
fn pushers_flags_a_signal_and_the_receipt_of_a_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (spool, log) = (path("spool/ndt"), temporary.path().join("log"));
    let flags = [
        format!("-bucket={}", path("bucket")),
        "-experiment=ndt".to_owned(),
        "-archive_size_threshold=50MB".to_owned(),
        "-sigterm_wait_time=40s".to_owned(),
        "-upload_timeout=1h".to_owned(),
        format!("-directory={spool}"),
        "-datatype=ndt7".to_owned(),
        "-datatype=pcap=1.0".to_owned(),
        format!("-mlab_node_name={HOST}"),
        "-metadata=MLAB.server.name=a,MLAB.experiment.name=ndt".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let publisher = Part::start(
        &[&["publish", "--compat", "pusher"], &flags[..]].concat(),
        &log,
    );
    let admin = admin_of(&log);
    assert!(fs::read_to_string(&log).unwrap().contains("upload_timeout"));
    result(&spool, "ndt7", "one_1700000000_0000000000000001.json");
    result(&spool, "pcap", "two.pcap.gz");
    wait_for("the claims", PATIENCE, || {
        (stored::files(Path::new(&spool), "").is_empty()).then_some(())
    });
    let asked = "/receipts?uuid=one_1700000000_0000000000000001";
    assert_eq!(ask(&admin, asked), (404, Value::Array(Vec::new())));
    assert_eq!(ask(&admin, "/receipts").0, 400);

    // Long before the bundles' hour is over.
    kill_process(Pid::from_child(&publisher.0), Signal::USR1).unwrap();
    let receipt = wait_for("the receipt", PATIENCE, || {
        let (status, receipts) = ask(&admin, asked);
        (status == 200).then(|| receipts[0].clone())
    });
    let (_, other) = wait_for("the other receipt", PATIENCE, || {
        Some(ask(&admin, "/receipts?file=two.pcap.gz")).filter(|(status, _)| *status == 200)
    });
    assert_eq!(other.as_array().unwrap().len(), 1, "{other}");
    let bundles = stored::files(&temporary.path().join("bucket/ndt/ndt7/2026/01/02"), ".tgz");
    assert_eq!(bundles.len(), 1, "{bundles:?}");
    let name = bundles[0].file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("-ndt7-mlab2-lga03-ndt.tgz"), "{name}");
    assert!(receipt.to_string().contains(name), "{receipt}");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(&bundles[0]).unwrap()));
    let mut member = archive.entries().unwrap().next().unwrap().unwrap();
    let records = member.pax_extensions().unwrap().unwrap();
    let records: Vec<String> = records
        .map(|record| record.unwrap())
        .map(|record| format!("{}={}", record.key().unwrap(), record.value().unwrap()))
        .collect();
    for expected in [
        "MLAB.datatype=ndt7",
        "MLAB.server.name=a",
        "MLAB.experiment.name=ndt",
    ] {
        assert!(
            records.iter().any(|record| record == expected),
            "no {expected} in {records:?}"
        );
    }
    publisher.end();
}

#[test]
fn jostlers_flags_come_from_its_environment_too() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(temporary.path().join("datatypes")).unwrap();
    let schema = r#"[{"name":"a","type":"INTEGER"}]"#;
    fs::write(temporary.path().join("datatypes/foo1.json"), schema).unwrap();
    let log = temporary.path().join("log");
    let (bucket, state) = (path("bucket"), path("state"));
    let before = [
        "publish",
        "--archive",
        &bucket,
        "--state",
        &state,
        "--compat",
        "jostler",
    ];
    let flags = ["-gcs-bucket", "b", "-datatype=foo1", "-missed-interval=5m"];
    let admin = ["-prometheusx.listen-address=127.0.0.1:0"];
    let child = groma(before.into_iter().chain(flags).chain(admin))
        .env("EXPERIMENT", "speed")
        // Our own as well: neither notation minds the other's.
        .env("DIRECTORY", "/nowhere")
        .env("LOCAL_DATA_DIR", temporary.path())
        .env("MLAB_NODE_NAME", HOST)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let publisher = Part(child);
    admin_of(&log);
    result(&path("speed"), "foo1", "one.json");
    wait_for("the claim", PATIENCE, || {
        (stored::files(&temporary.path().join("speed"), "").is_empty()).then_some(())
    });
    publisher.end();
    let root = temporary.path().join("bucket/autoload/v1");
    let data = stored::files(&root.join("speed/foo1"), "-data.jsonl.gz");
    assert_eq!(data.len(), 1, "{data:?}");
    let line = io::read_to_string(GzDecoder::new(File::open(&data[0]).unwrap())).unwrap();
    assert!(line.ends_with(r#""Raw":{"a": 1}}"#), "{line}");
    assert!(root.join("tables/speed/foo1.table.json").exists());
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (arguments, code, reason) in [
        (
            "--compat pusher -bucket=b -experiment=ndt -datatype=ndt7=0.5",
            1,
            "ratio below 1",
        ),
        ("--compat pusher -bukket=b", 1, "-bukket"),
        ("--compat courier", 1, "pusher and jostler"),
        ("--form tgz --compat pusher -bucket=b", 2, "form"),
        ("--archive /nowhere", 2, "--state"),
    ] {
        let arguments = ["publish"].into_iter().chain(arguments.split(' '));
        let output = run(&mut groma(arguments));
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert!(told(&output).contains(reason), "{}", told(&output));
    }
}
