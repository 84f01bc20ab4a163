//! The forms, read again by this language's readers and by Python's.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::read::MultiGzDecoder;

use super::*;

fn records() -> Vec<(String, String)> {
    vec![
        ("MLAB.server.name".into(), "mlab1-lga01".into()),
        ("MLAB.datatype".into(), "ndt7".into()),
    ]
}

fn tgz(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = TgzWriter::new(Vec::new(), &records());
    for (name, bytes) in members {
        let entry = Entry {
            name,
            size_bytes: bytes.len() as u64,
            mtime_s: 1_584_489_533,
            is_packed: name.strip_suffix(".gz").is_some(),
        };
        writer.add(entry, *bytes).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns the output of a Python program for `input`; `None` without Python.
fn python(program: &str, input: &[u8]) -> Option<String> {
    let child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: no python3");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn tar_members_have_the_names_modes_and_records_of_the_field() {
    let long = format!("2026/01/02/{}.json", "x".repeat(200));
    let members: [(&str, &[u8]); 4] = [
        ("2026/01/02/a.json", b"{}"),
        ("2026/01/02/empty", b""),
        ("2026/01/02/stored.gz", &[9; 10_000]),
        (&long, &[7; 5000]),
    ];
    let bytes = tgz(&members);
    let mut archive = tar::Archive::new(MultiGzDecoder::new(&bytes[..]));
    let mut names = Vec::new();
    for (entry, (_, expected)) in archive.entries().unwrap().zip(members) {
        let mut entry = entry.unwrap();
        names.push(entry.path().unwrap().to_str().unwrap().to_owned());
        let header = entry.header();
        assert_eq!(
            (
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap()
            ),
            (0o666, 0, 0)
        );
        assert_eq!(header.mtime().unwrap(), 1_584_489_533);
        let records: Vec<_> = entry
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|r| r.unwrap().key().unwrap().to_owned())
            .collect();
        assert_eq!(records[..2], ["MLAB.datatype", "MLAB.server.name"]);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(content, expected);
    }
    assert_eq!(names, members.map(|(name, _)| name));
}

#[test]
fn python_reads_the_tar() {
    let long = format!("2026/01/02/{}.json", "x".repeat(200));
    let bytes = tgz(&[("2026/01/02/a.json", b"{}"), (&long, b"[1]")]);
    let program = "import sys,tarfile,io
for m in (t:=tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()),mode='r:gz')):
    print(m.name,oct(m.mode),m.uid,m.mtime,m.pax_headers['MLAB.datatype'],m.pax_headers['MLAB.server.name'],t.extractfile(m).read().decode())";
    let Some(printed) = python(program, &bytes) else {
        return;
    };
    let line =
        |name: &str, body: &str| format!("{name} 0o666 0 1584489533 ndt7 mlab1-lga01 {body}\n");
    assert_eq!(
        printed,
        line("2026/01/02/a.json", "{}") + &line(&long, "[1]")
    );
}

#[test]
fn a_member_shorter_than_its_header_is_noticed() {
    let mut writer = TgzWriter::new(Vec::new(), &[]);
    let entry = Entry {
        name: "2026/01/02/a",
        size_bytes: 10,
        mtime_s: 0,
        is_packed: false,
    };
    assert!(matches!(
        writer.add(entry, &b"short"[..]),
        Err(TgzError::Short)
    ));
    let mut writer = TgzWriter::new(Vec::new(), &[]);
    let longer = writer.add(
        Entry {
            size_bytes: 2,
            ..entry
        },
        &b"longer"[..],
    );
    assert!(
        longer.is_ok(),
        "what grew meanwhile is cut at the size of the header"
    );
}

fn columns() -> Columns {
    Columns {
        date: "2026-01-02".into(),
        version: "v1".into(),
        git_commit: "abc".into(),
        archive_url: "file:///a/b".into(),
    }
}

fn jsonl(files: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let mut writer = JsonlWriter::new(Vec::new(), Vec::new(), columns());
    for (name, json) in files {
        writer
            .add(
                name,
                "2026-01-02T03:04:05.678901Z".parse().unwrap(),
                |line| line.write_all(json.as_bytes()),
            )
            .unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn lines_are_spelled_as_the_field_does() {
    let (data, index) = jsonl(&[
        ("/s/ndt/ndt7/2026/01/02/a.json", "{\"a\": 1.50}"),
        ("/s/b", "[]"),
    ]);
    let text = |bytes: &[u8]| {
        let mut text = String::new();
        MultiGzDecoder::new(bytes)
            .read_to_string(&mut text)
            .unwrap();
        text
    };
    let line = |name: &str, raw: &str| {
        format!(
            "{{\"Date\":\"2026-01-02\",\"Archiver\":{{\"Version\":\"v1\",\"GitCommit\":\"abc\",\"ArchiveURL\":\"file:///a/b\",\"Filename\":\"{name}\"}},\"Raw\":{raw}}}"
        )
    };
    let lines = [
        line("/s/ndt/ndt7/2026/01/02/a.json", "{\"a\": 1.50}"),
        line("/s/b", "[]"),
    ];
    assert_eq!(text(&data), lines.join("\n"));
    let index_line = |name: &str, size: usize| {
        format!(
            "{{\"Filename\":\"{name}\",\"Size\":{size},\"TimeAdded\":\"2026/01/02T030405.678901Z\"}}"
        )
    };
    let expected = [
        index_line("/s/ndt/ndt7/2026/01/02/a.json", lines[0].len()),
        index_line("/s/b", lines[1].len()),
    ];
    assert_eq!(text(&index), expected.join("\n"));
}

#[test]
fn python_reads_the_lines() {
    let (data, _) = jsonl(&[("/s/a", "{\"a\":[1,2]}"), ("/s/b", "null")]);
    let program = "import sys,gzip,json
for l in gzip.decompress(sys.stdin.buffer.read()).split(b'\\n'):
    r=json.loads(l); print(r['Date'],r['Archiver']['Filename'],json.dumps(r['Raw']))";
    let Some(printed) = python(program, &data) else {
        return;
    };
    assert_eq!(
        printed,
        "2026-01-02 /s/a {\"a\": [1, 2]}\n2026-01-02 /s/b null\n"
    );
}
