//! JSON results: what may be published as a line, and what goes to quarantine.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use common::{Lab, Running, files_below, gunzip};
use flate2::{Compression, write::GzEncoder};
use groma_archive::Store;
use groma_publish::Form;
use groma_schema::Schema;

const DAY: &str = "ndt7/2026/01/01";
const SCHEMA: &str =
    r#"[{"name":"a","type":"INTEGER","mode":"REQUIRED"},{"name":"b","type":"FLOAT"}]"#;
const TABLE: &str = "autoload/v2/tables/ndt/ndt7.table.json";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lab_with_schema(dir: &tempfile::TempDir) -> (Lab, groma_publish::Config) {
    let lab = Lab::new(dir.path(), Form::Jsonl);
    let mut config = lab.config();
    config.datatypes[0].schema = Some(Schema::parse(SCHEMA).unwrap());
    config.max_json_bytes = 1000;
    (lab, config)
}

#[test]
fn lines_and_quarantine() {
    let large = format!("{{\"a\":1{}}}", " ".repeat(2000));
    // File name, content, and its line; none where quarantine is its place.
    let cases: [(&str, Vec<u8>, Option<&str>); 12] = [
        ("plain.json", b"{\"a\":1}".to_vec(), Some("{\"a\":1}")),
        ("newline.json", b"{\"a\": 2}\n".to_vec(), Some("{\"a\": 2}")),
        (
            "pretty.json",
            b"{\n  \"a\": 3,\n  \"b\": 1.50\n}\n".to_vec(),
            Some("{\"a\":3,\"b\":1.50}"),
        ),
        ("packed.json.gz", gzip(b"{\"a\":4}"), Some("{\"a\":4}")),
        ("empty.json", Vec::new(), None),
        ("broken.json", b"{\"a\":1".to_vec(), None),
        ("two.json", b"{\"a\":1}\n{\"a\":2}".to_vec(), None),
        ("type.json", b"{\"a\":\"x\"}".to_vec(), None),
        (
            "extra.json",
            b"{\"a\":1,\"address\":\"192.0.2.1\"}".to_vec(),
            None,
        ),
        ("large.json", large.clone().into_bytes(), None),
        ("bomb.json.gz", gzip(large.as_bytes()), None),
        ("notgzip.json.gz", b"{\"a\":1}".to_vec(), None),
    ];
    let dir = common::tempdir();
    let (lab, config) = lab_with_schema(&dir);
    for (name, bytes, _) in &cases {
        lab.spool
            .write(&format!("{DAY}/{name}").parse().unwrap(), bytes)
            .unwrap();
    }
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    let arrived = lab.arrived();
    assert_eq!(lab.left(), Vec::<std::path::PathBuf>::new());
    let quarantine = dir.path().join("state/quarantine").join("ndt7/2026-01-01");
    for (name, bytes, line) in &cases {
        let found = arrived
            .iter()
            .find(|file| file.path == format!("{DAY}/{name}"));
        assert_eq!(
            found.map(|file| std::str::from_utf8(&file.bytes).unwrap()),
            *line,
            "{name}"
        );
        if line.is_none() {
            let kept = quarantine.join(name);
            assert_eq!(fs::read(&kept).unwrap(), *bytes, "{name}");
            assert_eq!(
                kept.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{name}"
            );
            let reason =
                fs::read_to_string(quarantine.join(format!("{name}.reason.json"))).unwrap();
            let reason: serde_json::Value = serde_json::from_str(&reason).unwrap();
            assert_eq!(reason["file"], *name);
            assert_eq!(reason["path"], format!("{DAY}/{name}"));
            let text = reason["reason"].as_str().unwrap();
            assert!(!text.is_empty() && !text.contains("192.0.2.1"), "{text}");
        }
    }
}

#[test]
fn a_second_file_of_a_quarantined_name_has_its_own_place() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Jsonl);
    for body in [b"{", b"["] {
        lab.spool
            .write(&format!("{DAY}/x.json").parse().unwrap(), body)
            .unwrap();
        Running::start(lab.config(), Arc::new(lab.store()))
            .stop()
            .unwrap();
    }
    let dir = dir.path().join("state/quarantine/ndt7/2026-01-01");
    assert_eq!(fs::read(dir.join("x.json")).unwrap(), b"{");
    assert_eq!(fs::read(dir.join("x.json.2")).unwrap(), b"[");
    assert_eq!(files_below(&dir).len(), 4);
}

#[test]
fn the_table_schema_is_put_once_and_never_replaced() {
    let dir = common::tempdir();
    let (lab, mut config) = lab_with_schema(&dir);
    let store = lab.store();
    Running::start(config.clone(), Arc::new(store.clone()))
        .stop()
        .unwrap();
    let first = store.stat(TABLE).unwrap().unwrap();
    let text = fs::read_to_string(store.root().join(TABLE)).unwrap();
    let names: Vec<_> = Schema::parse(&text)
        .unwrap()
        .fields
        .iter()
        .map(|field| field.name.clone())
        .collect();
    assert_eq!(names, ["date", "archiver", "raw"]);
    config.datatypes[0].schema = Some(Schema::parse(r#"[{"name":"c","type":"STRING"}]"#).unwrap());
    Running::start(config, Arc::new(store.clone()))
        .stop()
        .unwrap();
    assert_eq!(store.stat(TABLE).unwrap().unwrap(), first);
}

#[test]
fn a_broken_json_member_does_not_get_into_a_tar_of_a_datatype_with_a_schema() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.datatypes[0].schema = Some(Schema::parse(SCHEMA).unwrap());
    lab.write(&format!("{DAY}/good.json"), b"{\"any\":\"shape\"}");
    lab.write(&format!("{DAY}/good.json.gz"), &gzip(b"{}"));
    lab.write(&format!("{DAY}/other.pcap"), b"{");
    lab.spool
        .write(&format!("{DAY}/bad.json").parse().unwrap(), b"{")
        .unwrap();
    lab.spool
        .write(&format!("{DAY}/bad.json.gz").parse().unwrap(), &gzip(b"{"))
        .unwrap();
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .unwrap();
    lab.assert_exactly_once();
    assert_eq!(files_below(&dir.path().join("state/quarantine")).len(), 4);
}

#[test]
fn python_reads_what_the_archive_has() {
    for form in [Form::Tgz, Form::Jsonl] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        lab.write_some("a", 12);
        Running::start(lab.config(), Arc::new(lab.store()))
            .stop()
            .unwrap();
        let program = "import sys,glob,tarfile,gzip,json
n=0
for p in glob.glob(sys.argv[1]+'/**/*.tgz',recursive=True):
    with tarfile.open(p) as t:
        for m in t: n+=json.load(t.extractfile(m))['batch']=='a'
for p in glob.glob(sys.argv[1]+'/**/*-data.jsonl.gz',recursive=True):
    for l in gzip.open(p): n+=json.loads(l)['Raw']['batch']=='a'
print(n)";
        let output = Command::new("python3")
            .args(["-c", program])
            .arg(dir.path().join("archive"))
            .output();
        let Ok(output) = output else {
            return println!("skipped: no python3");
        };
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "12\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn an_object_of_lines_has_no_newline_at_its_end() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    lab.write_some("a", 6);
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    let store = lab.store();
    for object in store.list("autoload/v2/lab/ndt/").unwrap() {
        let text = gunzip(&store, &object);
        assert!(!text.ends_with('\n') && !text.is_empty(), "{object}");
    }
}
