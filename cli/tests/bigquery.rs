//! `groma load --to bigquery` loads every row once, also after kills, repeated runs and concurrent loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use groma_tests::bigquery::{BigQuery, PROJECT};
use rand::RngExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

const SCHEMA: &str = r#"[{"name": "Number", "type": "INTEGER", "description": "Which one."},
    {"name": "Hops", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "TTL", "type": "INTEGER"}]}]"#;

/// Objects of an archive, the rows of each, and members of each that are none.
const OBJECTS: usize = 5;
const ROWS: usize = 7;
const BROKEN: usize = 2;

struct Lab {
    dir: TempDir,
    bigquery: BigQuery,
}

impl Lab {
    /// An archive, and an emulator with the dataset `lab` whose jobs take this long.
    fn start(job: Duration) -> Option<Lab> {
        Lab::with_fault(job, "")
    }

    fn with_fault(job: Duration, fault: &str) -> Option<Lab> {
        let bigquery = BigQuery::start(job, fault)?;
        let lab = Lab {
            dir: TempDir::new().unwrap(),
            bigquery,
        };
        fs::write(lab.path("probe1.json"), SCHEMA).unwrap();
        for object in 0..OBJECTS {
            let file = format!("20240506T07080{object}.000000Z-probe1-mlab1-lga0t-lab.tar");
            lab.put(&format!("lab/probe1/2024/05/06/{file}"));
        }
        let dataset = json!({"datasetReference": {"projectId": PROJECT, "datasetId": "lab"}, "location": "EU"});
        lab.bigquery.call("POST", "datasets", &dataset.to_string());
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str) {
        let path = self.path("archive").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
        for number in 0..ROWS + BROKEN {
            let text = match number {
                0..ROWS => {
                    format!(r#"{{"Number": {number}, "Hops": [{{"TTL": 1}}, {{"TTL": 2}}]}}"#)
                }
                _ => "no JSON".to_owned(),
            };
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            let member = format!("2024/05/06/m_{number}.json");
            tar.append_data(&mut header, member, text.as_bytes())
                .unwrap();
        }
        tar.finish().unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_groma"));
        command
            .arg("load")
            .arg(self.path("archive"))
            .args(["--to", "bigquery", "--project", PROJECT])
            .args(["--endpoint", &self.bigquery.endpoint()])
            .arg("--schema")
            .arg(format!("lab/probe1={}", self.path("probe1.json").display()))
            .args(more)
            .env("TMPDIR", self.dir.path());
        command
    }

    fn load(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn spawn(&self) -> Child {
        let mut command = self.command(&[]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let query = json!({"query": sql, "useLegacySql": false}).to_string();
        let answer = self.bigquery.call("POST", "queries", &query);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_null(), "{sql}: {answer}");
        let text = |cell: &Value| cell["v"].as_str().unwrap_or("NULL").to_owned();
        let cells = |row: &Value| row["f"].as_array().unwrap().iter().map(text).collect();
        let rows = answer["rows"].as_array();
        rows.into_iter().flatten().map(cells).collect()
    }

    /// Every object has each of its rows and errors once.
    fn assert_once(&self) {
        let of = |table: &str, what: &str| {
            let sql = format!(
                "SELECT object, COUNT(*), COUNT(DISTINCT {what}) FROM lab.{table} GROUP BY object ORDER BY object"
            );
            let mut rows = self.query(&sql);
            assert_eq!(rows.len(), OBJECTS, "{table}: {rows:?}");
            for row in &mut rows {
                row.remove(0);
            }
            rows
        };
        let (rows, broken) = (ROWS.to_string(), BROKEN.to_string());
        let once = |count: &String| vec![vec![count.clone(), count.clone()]; OBJECTS];
        assert_eq!(of("probe1", "raw.Number"), once(&rows));
        assert_eq!(of("errors", "member"), once(&broken));
    }
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn killed_at_any_moment_no_row_is_lost_or_doubled() {
    let Some(lab) = Lab::start(Duration::from_millis(150)) else {
        return;
    };
    for _ in 0..30 {
        let mut loader = lab.spawn();
        let life = rand::rng().random_range(0..1500);
        std::thread::sleep(Duration::from_millis(life));
        loader.kill().unwrap();
        loader.wait().unwrap();
        // Whatever is there is there once.
        for row in lab.query("SELECT table_name, 1 FROM lab.INFORMATION_SCHEMA.TABLES") {
            let sql = format!(
                "SELECT object, COUNT(*) FROM lab.{} GROUP BY object",
                row[0]
            );
            for object in lab.query(&sql) {
                let whole = if row[0] == "errors" { BROKEN } else { ROWS };
                assert_eq!(object[1], whole.to_string(), "{} {}", row[0], object[0]);
            }
        }
    }
    succeeded(&lab.load(&[]));
    lab.assert_once();
    let again = succeeded(&lab.load(&["--json"]));
    assert_eq!(again.lines().count(), OBJECTS);
    for line in again.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["already"], true, "{line}");
        assert_eq!(line["table"], "test-project.lab.probe1");
    }
    lab.assert_once();
    // The files of those that were killed are gone.
    let mut left = fs::read_dir(lab.dir.path()).unwrap();
    assert!(left.all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_str().unwrap().starts_with("groma-bigquery-")
    }));
}

#[test]
fn three_at_once_load_each_object_once() {
    let Some(lab) = Lab::start(Duration::from_millis(100)) else {
        return;
    };
    let loaders: Vec<Child> = (0..3).map(|_| lab.spawn()).collect();
    for mut loader in loaders {
        assert!(loader.wait().unwrap().success());
    }
    lab.assert_once();
}

#[test]
fn rows_that_were_removed_come_again_and_new_columns_are_added() {
    let Some(lab) = Lab::start(Duration::ZERO) else {
        return;
    };
    succeeded(&lab.load(&[]));
    lab.query("DELETE FROM lab.probe1 WHERE TRUE");
    succeeded(&lab.load(&[]));
    lab.assert_once();

    // A later schema has a column more, in a list of records too.
    lab.query("DELETE FROM lab.probe1 WHERE TRUE");
    let more = SCHEMA.replace(
        "[{\"name\": \"TTL\"",
        "[{\"name\": \"RTT\", \"type\": \"FLOAT\"}, {\"name\": \"TTL\"",
    );
    let more = more.replacen('[', "[{\"name\": \"City\", \"type\": \"STRING\"}, ", 1);
    fs::write(lab.path("probe1.json"), more).unwrap();
    succeeded(&lab.load(&[]));
    lab.assert_once();
    let table: Value =
        serde_json::from_str(&lab.bigquery.call("GET", "datasets/lab/tables/probe1", "")).unwrap();
    let text = table["schema"].to_string();
    assert!(text.contains("City") && text.contains("RTT"), "{text}");
    assert_eq!(table["timePartitioning"]["field"], "date");
    assert_eq!(
        lab.query("SELECT COUNT(*) FROM lab.probe1, UNNEST(raw.Hops) AS hop WHERE hop.TTL = 2")[0]
            [0],
        (OBJECTS * ROWS).to_string()
    );

    // And one in which a column is another.
    lab.query("DELETE FROM lab.probe1 WHERE TRUE");
    fs::write(
        lab.path("probe1.json"),
        SCHEMA.replacen("INTEGER", "STRING", 1),
    )
    .unwrap();
    let error = refused(&lab.load(&[]));
    assert!(error.contains("raw.Number is NULLABLE INTEGER"), "{error}");
}

#[test]
fn lost_answers_and_failed_jobs_end_in_the_same_rows() {
    for fault in ["lost", "failed"] {
        let Some(lab) = Lab::with_fault(Duration::from_millis(50), fault) else {
            return;
        };
        succeeded(&lab.load(&["--jobs", "5"]));
        lab.assert_once();
    }
}

#[test]
fn a_quota_that_is_used_up_ends_the_run() {
    let Some(lab) = Lab::with_fault(Duration::ZERO, "quota") else {
        return;
    };
    let error = refused(&lab.load(&["--jobs", "1"]));
    assert!(error.contains("exceeded quota for imports"), "{error}");
    let left = OBJECTS - 1;
    assert!(error.contains(&format!("{left} others")), "{error}");
}

#[test]
fn an_object_has_one_date() {
    let Some(lab) = Lab::start(Duration::ZERO) else {
        return;
    };
    succeeded(&lab.load(&["--date", "2024-05-07"]));
    let error = refused(&lab.load(&[]));
    assert!(error.contains("are those of 2024-05-07"), "{error}");
    let error = refused(&lab.load(&["--date", "2024-05-08"]));
    assert!(error.contains("are those of 2024-05-07"), "{error}");
    lab.assert_once();
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let Some(lab) = Lab::start(Duration::ZERO) else {
        return;
    };
    let error = refused(&lab.load(&["--dataset", "nowhere"]));
    assert_eq!(error.lines().count(), 1, "once for all objects: {error}");
    assert!(
        error.contains("bq mk --dataset --location=EU test-project:nowhere"),
        "{error}"
    );
    let error = refused(&lab.load(&["--dataset", "no`where"]));
    assert!(error.contains("dataset \"no`where\""), "{error}");
}

#[test]
fn schemas_are_written_for_people_who_load_by_hand() {
    let dir = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_groma"))
        .args(["load", "--to", "bigquery", "--schemas"])
        .arg(dir.path())
        .output()
        .unwrap();
    succeeded(&output);
    let read = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(Path::new(dir.path()).join(name)).unwrap())
            .unwrap()
    };
    let names = |columns: &Value| -> Vec<String> {
        let columns = columns.as_array().unwrap().iter();
        columns
            .map(|column| column["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let ndt7 = read("ndt7.json");
    assert_eq!(
        names(&ndt7),
        ["date", "object", "id", "archiver", "a", "raw"]
    );
    assert_eq!(ndt7[0]["mode"], "REQUIRED");
    assert_eq!(
        ndt7[4]["fields"][1],
        json!({"name": "TestTime", "type": "TIMESTAMP", "mode": "NULLABLE"})
    );
    assert!(!ndt7.to_string().contains("privacy"));
    assert_eq!(
        names(&read("annotation2.json"))[4..],
        ["server", "client", "raw"]
    );
    assert_eq!(
        names(&read("errors.json")),
        ["date", "object", "datatype", "member", "line", "reason"]
    );
}
