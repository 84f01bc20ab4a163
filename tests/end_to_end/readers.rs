//! Bundles of the publisher, read by third-party libraries and by the loader: both find the same files and contents.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::drain::uuid_of;
use crate::groma::{groma, run, told, wait_for};
use crate::lab::{Lab, PATIENCE, measure};
use crate::parts::Part;
use crate::stored;

const FILES: usize = 40;
const SCHEMA: &str = r#"[{"name":"number","type":"INTEGER"},{"name":"text","type":"STRING"}]"#;
const HOST: &str = "mlab2-lga03.mlab-oti.measurement-lab.org";

/// Prints an array of `[file name, content]` for a directory of bundles, and fails if one breaks its own rules.
const PYTHON: &str = r"
import glob, gzip, json, sys, tarfile
def lines(path):
    return gzip.open(path, 'rt', encoding='utf-8', newline='\n').read().split('\n')
found = []
for path in glob.glob(sys.argv[1] + '/**/*.tgz', recursive=True):
    with tarfile.open(path) as archive:
        for member in archive:
            assert member.pax_headers['MLAB.datatype'] == 'foo1', member.pax_headers
            found.append([member.name, json.load(archive.extractfile(member))])
for path in glob.glob(sys.argv[1] + '/**/foo1/**/*-data.jsonl.gz', recursive=True):
    data = lines(path)
    index = [json.loads(line) for line in lines(path.replace('/foo1/', '/index1/').replace('-data.', '-index1.'))]
    assert [line['Size'] for line in index] == [len(line.encode()) for line in data], index
    for line, listed in zip(map(json.loads, data), index, strict=True):
        archiver = line['Archiver']
        assert archiver['ArchiveURL'] == 'file://' + path, archiver
        assert archiver['Filename'] == listed['Filename'], listed
        found.append([archiver['Filename'], line['Raw']])
print(json.dumps(found))
";

/// File name without folders, and content.
type Read = (String, Value);

fn sorted(found: impl IntoIterator<Item = (String, Value)>) -> Vec<Read> {
    let mut found: Vec<Read> = found
        .into_iter()
        .map(|(name, content)| (name.rsplit('/').next().unwrap().to_owned(), content))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn read_by_python(archive: &Path) -> Vec<Read> {
    let output = Command::new("python3")
        .args(["-c", PYTHON])
        .arg(archive)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    sorted(serde_json::from_slice::<Vec<Read>>(&output.stdout).unwrap())
}

/// Publishes the files of the spool `speed` below `root`, in the form of one of M-Lab's two uploaders.
fn publish(form: &str, root: &Path, archive: &Path) {
    let spool = root.join("speed");
    let (bucket, dir) = match form {
        "pusher" => ("-bucket=b", format!("-directory={}", spool.display())),
        _ => (
            "-gcs-bucket=b",
            format!("-local-data-dir={}", root.display()),
        ),
    };
    let state = root.join("state");
    let mut arguments = vec!["publish", "--archive", archive.to_str().unwrap()];
    arguments.extend(["--state", state.to_str().unwrap(), "--compat", form]);
    arguments.extend([bucket, &dir, "-experiment=speed", "-datatype=foo1"]);
    let node = format!(
        "-mlab{0}node{0}name={HOST}",
        if form == "pusher" { '_' } else { '-' }
    );
    arguments.push(&node);
    // Files are claimed when their bundle is due, which takes a minute or longer by default.
    let ages: &[&str] = match form {
        "pusher" => &[
            "-archive_wait_time_min=1s",
            "-archive_wait_time_expected=1s",
        ],
        _ => &["-bundle-age-max=1s"],
    };
    arguments.extend(ages);
    // The schema has no privacy, and the publisher refuses to start without the operator's declaration.
    let privacy = root.join("privacy.json");
    let declaration = format!("-datatype-privacy-file=foo1:{}", privacy.display());
    if form == "jostler" {
        fs::write(&privacy, r#"{"text": "none"}"#).unwrap();
        arguments.push(&declaration);
    }
    let publisher = Part::start(&arguments, &root.join("log"));
    wait_for("the claims", PATIENCE, || {
        stored::files(&spool, "").is_empty().then_some(())
    });
    publisher.end();
}

fn read_by_the_loader(archive: &Path, schema: &Path, lake: &Path) -> Vec<Read> {
    let (lake, archive) = (lake.to_str().unwrap(), archive.to_str().unwrap());
    let schema = format!("speed/foo1={}", schema.display());
    let loaded = run(&mut groma([
        "load", archive, "--lake", lake, "--schema", &schema,
    ]));
    assert!(loaded.status.success(), "{}", told(&loaded));
    let exported = run(&mut groma([
        "export",
        "--lake",
        lake,
        "--datatype",
        "speed/foo1",
        "--date",
        "2026-01-02",
    ]));
    assert!(exported.status.success(), "{}", told(&exported));
    let text = String::from_utf8(exported.stdout).unwrap();
    sorted(text.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let name = row["archiver"]["Filename"].as_str().unwrap().to_owned();
        (name, row["raw"].take())
    }))
}

#[test]
fn both_forms_are_read_alike_by_python_and_by_the_loader() {
    if Command::new("python3").arg("--version").output().is_err() {
        return groma_tests::skip("there is no python3");
    }
    for form in ["pusher", "jostler"] {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        fs::create_dir(path("datatypes")).unwrap();
        let schema = path("datatypes/foo1.json");
        fs::write(&schema, SCHEMA).unwrap();
        let written = sorted((0..FILES).map(|number| {
            let text = "\u{e4}\u{2028}\"\\\n".repeat(number % 3);
            let content = json!({"number": number, "text": text});
            (format!("{number:02}.json"), content)
        }));
        let day = path("speed/foo1/2026/01/02");
        fs::create_dir_all(&day).unwrap();
        for (name, content) in &written {
            // Over several lines, as a person would write it.
            let text = serde_json::to_string_pretty(content).unwrap();
            fs::write(day.join(name), text).unwrap();
        }
        let archive = path("archive");
        publish(form, temporary.path(), &archive);
        assert_eq!(read_by_python(&archive), written, "{form}");
        let rows = read_by_the_loader(&archive, &schema, &path("lake"));
        assert_eq!(rows, written, "{form}");
    }
}

#[test]
fn version_and_commit_of_a_row_do_not_depend_on_the_form() {
    let archivers = ["tgz", "jsonl"].map(|form| {
        let temporary = tempfile::tempdir().unwrap();
        let flags = ["--form", form];
        let lab = Lab::start_with(&temporary.path().join("lab"), "1s", &flags);
        let uuid = uuid_of(&measure(lab.address("ws"), "download"));
        lab.row_of(&uuid)["archiver"].clone()
    });
    for field in ["Version", "GitCommit"] {
        let [tgz, jsonl] = archivers.each_ref().map(|archiver| &archiver[field]);
        assert_eq!(tgz, jsonl, "{field}");
        let text = tgz.as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{field} is missing in {archivers:?}");
    }
}
