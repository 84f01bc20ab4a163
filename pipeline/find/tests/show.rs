//! A test followed from the spool to its row.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use groma_archive::{LocalStore, Store};
use groma_find::{Dirs, Stage, show};
use groma_load::{Lake, LoadDatatype, Loader};
use groma_schema::Schema;
use serde_json::json;

const UUID: &str = "host_1583603744_00000000000058E8";
const FILE: &str = "probe1-20240506T070809.000000000Z.host_1583603744_00000000000058E8.json";

/// Loads one object of the day with these lines into the lab's lake.
fn load(lab: &Path, day: &str, lines: &[String]) {
    let object = format!(
        "autoload/v1/lab/probe1/{}/{}T070809.000000Z-probe1-mlab1-lga0t-lab-data.jsonl.gz",
        day.replace('-', "/"),
        day.replace('-', "")
    );
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.join("\n").as_bytes()).unwrap();
    let body = lab.join("body");
    fs::write(&body, encoder.finish().unwrap()).unwrap();
    let store = LocalStore::open(lab.join("archive")).unwrap();
    store.put_new(&object, &body).unwrap();
    let schema = r#"[{"name": "Count", "type": "INTEGER"}, {"name": "Seen", "type": "TIMESTAMP"},
        {"name": "Hops", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "TTL", "type": "INTEGER"}]}]"#;
    let schema = Schema::parse(schema).unwrap();
    let datatype = LoadDatatype::new("lab".parse().unwrap(), "probe1".parse().unwrap(), schema);
    let lake = Lake::new(lab.join("lake"));
    let loader = Loader::new(Arc::new(store), lake, vec![datatype]);
    let outcome = loader.load_object(&object, None).unwrap();
    assert_eq!(outcome.rows, lines.len() as u64);
}

fn line(id: &str, count: usize) -> String {
    json!({
        "id": id,
        "archiver": {"Filename": "a.json"},
        "raw": {"Count": count, "Seen": "2024-05-06T07:08:09.5Z", "Hops": [{"TTL": 1}]},
    })
    .to_string()
}

fn id(number: usize) -> String {
    format!("host_1583603744_{number:016X}")
}

#[test]
fn before_anything_exists_nothing_is_known() {
    let lab = tempfile::tempdir().unwrap();
    let report = show(&Dirs::of_lab(&lab.path().join("nowhere")), UUID).unwrap();
    assert_eq!(report.stage, Stage::Unknown);
    assert!(report.spool_file.is_none() && report.receipt.is_none() && report.row.is_none());
}

#[test]
fn what_is_no_uuid_is_refused() {
    let lab = tempfile::tempdir().unwrap();
    for text in ["", "../../etc", "a b", "*"] {
        assert!(show(&Dirs::of_lab(lab.path()), text).is_err(), "{text}");
    }
}

#[test]
fn a_file_is_pending_then_claimed() {
    let lab = tempfile::tempdir().unwrap();
    let spool = lab.path().join("spool/lab");
    let pending = spool.join("probe1/2024/05/06").join(FILE);
    let claimed = spool.join(".claimed/probe1/2024-05-06").join(FILE);
    for path in [&pending, &claimed] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    fs::create_dir_all(spool.join(".tmp")).unwrap();
    fs::write(spool.join(".tmp").join(FILE), "being written").unwrap();
    let dirs = Dirs::of_lab(lab.path());
    assert_eq!(show(&dirs, UUID).unwrap().stage, Stage::Unknown);
    fs::write(&pending, "{}").unwrap();
    let report = show(&dirs, UUID).unwrap();
    assert_eq!(
        (report.stage, report.spool_file),
        (Stage::Pending, Some(pending.clone()))
    );
    fs::rename(&pending, &claimed).unwrap();
    let report = show(&dirs, UUID).unwrap();
    assert_eq!(
        (report.stage, report.spool_file),
        (Stage::Claimed, Some(claimed))
    );
    assert_eq!(
        show(&dirs, &UUID[..20]).unwrap().stage,
        Stage::Unknown,
        "half a UUID is none"
    );
}

#[test]
fn a_row_is_found_among_many() {
    let lab = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..20_000)
        .map(|number| line(&id(number), number))
        .collect();
    load(lab.path(), "2024-05-06", &rows);
    let dirs = Dirs::of_lab(lab.path());
    for number in [0, 8191, 8192, 19_999] {
        let report = show(&dirs, &id(number)).unwrap();
        assert_eq!(report.stage, Stage::Loaded);
        assert!(
            report
                .table_file
                .unwrap()
                .ends_with("20240506T070809.000000Z-probe1-mlab1-lga0t-lab-data.parquet")
        );
        assert_eq!(
            report.row.unwrap(),
            json!({
                "id": id(number),
                "archiver": {"Filename": "a.json"},
                "raw": {"Count": number, "Seen": "2024-05-06T07:08:09.500Z", "Hops": [{"TTL": 1}]},
                "date": "2024-05-06",
            })
        );
    }
    assert_eq!(show(&dirs, &id(20_000)).unwrap().stage, Stage::Unknown);
    assert_eq!(show(&dirs, "zzz").unwrap().stage, Stage::Unknown);
}

#[test]
fn the_newest_day_comes_first() {
    let lab = tempfile::tempdir().unwrap();
    for (count, day) in ["2024-05-05", "2024-05-07", "2024-05-06"]
        .iter()
        .enumerate()
    {
        load(lab.path(), day, &[line(UUID, count)]);
    }
    let row = show(&Dirs::of_lab(lab.path()), UUID).unwrap().row.unwrap();
    assert_eq!(
        (&row["date"], &row["raw"]["Count"]),
        (&json!("2024-05-07"), &json!(1))
    );
}

#[test]
fn a_damaged_table_file_hides_no_other() {
    let lab = tempfile::tempdir().unwrap();
    load(lab.path(), "2024-05-06", &[line(UUID, 1)]);
    let newer = lab.path().join("lake/lab/probe1/live/date=2024-05-07");
    fs::create_dir_all(&newer).unwrap();
    fs::write(newer.join("broken.parquet"), "PAR1 or not").unwrap();
    fs::write(newer.join("notes.txt"), "no table").unwrap();
    let dirs = Dirs::of_lab(lab.path());
    let report = show(&dirs, UUID).unwrap();
    assert_eq!(report.stage, Stage::Loaded);
    assert_eq!(report.unreadable, [newer.join("broken.parquet")]);
    assert_eq!(show(&dirs, "other").unwrap().unreadable.len(), 1);
}
