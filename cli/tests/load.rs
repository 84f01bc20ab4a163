//! `groma load` and `groma export` from outside: several objects and processes at once, again, and out again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Objects of the archive, and the rows of each. Each also has a member that cannot be read, and one that is skipped.
const OBJECTS: usize = 24;
const ROWS: usize = 5;

struct Lab(TempDir);

impl Lab {
    fn new() -> Lab {
        let lab = Lab(TempDir::new().unwrap());
        let schema = r#"[{"name": "Number", "type": "INTEGER", "description": "Which one."}]"#;
        fs::write(lab.path("probe1.json"), schema).unwrap();
        for object in 0..OBJECTS {
            let file = format!("20240506T070809.{object:06}Z-probe1-mlab1-lga0t-lab.tar");
            put(
                &lab.path("archive/lab/probe1/2024/05/06").join(file),
                object,
            );
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, archive: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
        let schema = format!("lab/probe1={}", self.path("probe1.json").display());
        command
            .arg("load")
            .arg(self.path(archive))
            .arg("--lake")
            .arg(self.path("lake"))
            .args(["--schema", &schema])
            .args(more);
        command
    }

    fn export(&self, more: &[&str]) -> Vec<u8> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
        command
            .args([
                "export",
                "--datatype",
                "lab/probe1",
                "--date",
                "2024-05-06",
                "--lake",
            ])
            .arg(self.path("lake"))
            .args(more);
        succeeded(&command.output().unwrap()).to_vec()
    }

    /// The numbers of all rows, in order.
    fn numbers(&self) -> Vec<u64> {
        let rows = lines(&self.export(&["--format", "jsonl"]));
        let mut numbers: Vec<u64> = rows
            .iter()
            .map(|row| row["raw"]["Number"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

fn put(path: &Path, object: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    let rows = (0..ROWS).map(|row| {
        let number = object * ROWS + row;
        (
            format!("{number}.json"),
            format!(r#"{{"Number": {number}}}"#),
        )
    });
    let others = [("bad.json", "no JSON"), ("read.me", "")];
    let others = others.map(|(name, text)| (name.to_owned(), text.to_owned()));
    for (name, text) in rows.chain(others) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.finish().unwrap();
}

fn succeeded(output: &Output) -> &[u8] {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    &output.stdout
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn objects_are_loaded_at_once_and_again_is_nothing() {
    let lab = Lab::new();
    let load = || {
        let output = lab.load("archive", &["--jobs", "4", "--json"]).output();
        lines(succeeded(&output.unwrap()))
    };
    let first = load();
    assert_eq!(first.len(), OBJECTS);
    for line in &first {
        let counts = (&line["rows"], &line["errors"], &line["skipped"]);
        assert_eq!(counts, (&json!(ROWS), &json!(1), &json!(1)), "{line}");
        assert!(Path::new(line["parquet"].as_str().unwrap()).is_file());
    }
    let all: Vec<u64> = (0..(OBJECTS * ROWS) as u64).collect();
    assert_eq!(lab.numbers(), all);
    let second = load();
    assert!(second.iter().all(|line| line["already"] == json!(true)));
    // One that is lost is made again, and nothing else.
    fs::remove_file(first[7]["parquet"].as_str().unwrap()).unwrap();
    let third = load();
    let made = third.iter().filter(|line| line["already"] == json!(false));
    assert_eq!(made.count(), 1);
    assert_eq!(lab.numbers(), all);
}

#[test]
fn processes_at_once_load_each_object_once() {
    let lab = Lab::new();
    let spawn = |_| {
        let mut command = lab.load("archive", &["--jobs", "2", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let processes: Vec<_> = (0..3).map(spawn).collect();
    let mut made = 0;
    for process in processes {
        let told = lines(succeeded(&process.wait_with_output().unwrap()));
        made += told
            .iter()
            .filter(|line| line["already"] == json!(false))
            .count();
    }
    assert_eq!(made, OBJECTS);
    assert_eq!(lab.numbers().len(), OBJECTS * ROWS);
}

#[test]
fn what_cannot_be_loaded_is_told_and_stops_nothing() {
    let lab = Lab::new();
    let strange = lab
        .path("archive/lab/other1/2024/05/06/20240506T070809.000000Z-other1-mlab1-lga0t-lab.tar");
    put(&strange, 0);
    let output = lab.load("archive", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the directory was named");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("not loaded: 1 objects"), "{told}");
    assert_eq!(lab.numbers().len(), OBJECTS * ROWS);
    // Named itself, it is an error that says what to do.
    let relative = strange.strip_prefix(lab.0.path()).unwrap();
    let output = lab
        .load(relative.to_str().unwrap(), &["--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = &lines(&output.stdout)[0];
    assert!(line["error"].as_str().unwrap().contains("other1"), "{line}");
}

#[test]
fn a_command_has_one_target_and_the_environment_may_name_more() {
    let lab = Lab::new();
    let mut command = lab.load("archive", &[]);
    succeeded(&command.env("GOOGLE_CLOUD_PROJECT", "p").output().unwrap());
    assert_eq!(lab.numbers().len(), OBJECTS * ROWS);
    for (more, told) in [
        (&["--project", "p"][..], "--project is for --to bigquery"),
        (&["--to", "bigquery", "--project", "p"], "leave out --lake"),
    ] {
        let output = lab.load("archive", more).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(told), "{error}");
    }
    // The lake of the environment does not count here.
    let schemas = lab.path("schemas");
    let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
    command
        .env("GROMA_LAKE", lab.path("lake"))
        .args(["load", "--to", "bigquery", "--schemas"]);
    succeeded(&command.arg(&schemas).output().unwrap());
    assert!(schemas.join("errors.json").is_file());
}

#[test]
fn an_export_has_three_forms_and_that_of_mlab() {
    let lab = Lab::new();
    succeeded(&lab.load("archive", &[]).output().unwrap());
    let csv = String::from_utf8(lab.export(&["--format", "csv"])).unwrap();
    assert_eq!(csv.lines().count(), 1 + OBJECTS * ROWS);
    let rows = lines(&lab.export(&["--as", "mlab-jsonl"]));
    assert_eq!(rows.len(), OBJECTS * ROWS);
    assert!(rows.iter().all(|row| row["parser"]["Filename"].is_string()));
    assert_eq!(&lab.export(&["--format", "parquet"])[..4], b"PAR1");
}

#[test]
fn nothing_in_a_named_location_is_passed_over_without_a_word() {
    let lab = Lab::new();
    let name = "20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tar";
    for dir in ["2024/5/6", "2024/13/45", "2024/02/30", "2024/05/06/extra"] {
        let archive = format!("odd-{}", dir.replace('/', "-"));
        put(&lab.path(&format!("{archive}/lab/probe1/{dir}/{name}")), 0);
        let output = lab.load(&archive, &[]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{dir}: {told}");
        assert!(told.contains(name), "{dir}: {told}");
    }
    std::fs::create_dir(lab.path("empty")).unwrap();
    let output = lab.load("empty", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no archive objects"));
    // A mistyped lake is neither sealed nor exported, and not created somewhere.
    let typo = lab.path("no/such/lake");
    for args in [
        &["seal"][..],
        &["export", "--datatype", "lab/probe1", "--date", "2024-05-06"],
        &["load", "archive"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
        command.current_dir(lab.0.path()).args(args);
        let output = command.arg("--lake").arg(&typo).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains("no/such/lake"), "{args:?}: {told}");
        assert!(!lab.path("no").exists());
    }
}

#[test]
fn a_directory_of_other_files_is_not_taken_for_a_lake() {
    let lab = Lab::new();
    let name = "archive/lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tar";
    put(&lab.path(name), 0);
    assert!(lab.load("archive", &[]).status().unwrap().success());
    let files = |dir: &str| {
        let mut names: Vec<_> = std::fs::read_dir(lab.path(dir)).unwrap().collect();
        names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        format!("{names:?}")
    };
    // The archive, and a directory in the lake.
    for other in ["archive", "lake/lab"] {
        let before = files(other);
        for args in [
            &["seal"][..],
            &["export", "--datatype", "lab/probe1", "--date", "2024-05-06"],
            &["load", name],
            &["find"],
            &["show", "id"],
            &["mirror", "--to", "copy"],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
            command.current_dir(lab.0.path()).args(args);
            let output = command.args(["--lake", other]).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
            assert!(told.contains("is not a lake"), "{args:?}: {told}");
            assert_eq!(files(other), before, "{args:?}");
            assert!(!lab.path("copy").exists());
        }
    }
    // A lake may begin on a new volume.
    std::fs::create_dir_all(lab.path("volume/lost+found")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
    command.current_dir(lab.0.path());
    let output = command.args(["seal", "--lake", "volume"]).output().unwrap();
    assert!(output.status.success());
}

#[test]
fn a_damaged_object_is_an_exit_code_until_it_is_whole() {
    let lab = Lab::new();
    let name = "archive/lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tar";
    let path = lab.path(name);
    put(&path, 0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..700]).unwrap();
    for _ in 0..2 {
        let output = lab.load(name, &[]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("damaged"), "{told}");
    }
    std::fs::write(&path, &whole).unwrap();
    for _ in 0..2 {
        succeeded(&lab.load(name, &[]).output().unwrap());
    }
}

#[test]
fn a_removed_object_does_not_come_back() {
    let lab = Lab::new();
    let name = "archive/lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tar";
    put(&lab.path(name), 0);
    succeeded(&lab.load(name, &[]).output().unwrap());
    let seal = |remove: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
        command.args([
            "seal",
            "--reason",
            "asked for",
            "--remove",
            remove,
            "--lake",
        ]);
        command.arg(lab.path("lake")).output().unwrap()
    };
    let object = "lab/probe1/2024-05-06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab";
    assert_eq!(seal(&object.replace("0809", "0810")).status.code(), Some(1));
    assert_eq!(seal("lab/probe1/2024-05-06/..").status.code(), Some(1));
    succeeded(&seal(object));
    let output = lab.load(name, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("asked for"), "{told}");
}
