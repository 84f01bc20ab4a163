//! A test followed from the spool to its row.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use groma_archive::{LocalStore, Store};
use groma_find::{Detail, Dirs, Stage, show, trace};
use groma_load::{Lake, Loader};
use groma_mlab::load_datatype;
use groma_names::Node;
use groma_publish::{Config, DatatypeConfig, Form, Publisher};
use groma_schema::Schema;
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;
use serde_json::json;

const UUID: &str = "host_1583603744_00000000000058E8";
const FILE: &str = "probe1-20240506T070809.000000000Z.host_1583603744_00000000000058E8.json";

const SCHEMA: &str = r#"[
    {"name": "Count", "type": "INTEGER"},
    {"name": "Seen", "type": "TIMESTAMP"},
    {"name": "Hops", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "TTL", "type": "INTEGER"}]}
]"#;

fn loader(lab: &Path) -> Loader {
    let schema = Schema::parse(SCHEMA).unwrap();
    let traces = Schema::parse(groma_schema::datatype("tcpinfo").unwrap()).unwrap();
    let datatypes = [("probe1", schema), ("tcpinfo", traces)]
        .map(|(name, schema)| load_datatype("lab".parse().unwrap(), name.parse().unwrap(), schema));
    let store = LocalStore::open(lab.join("archive")).unwrap();
    Loader::new(
        Arc::new(store),
        Lake::new(lab.join("lake")),
        datatypes.into(),
    )
}

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
    let outcome = loader(lab).load_object(&object, None).unwrap();
    assert_eq!(outcome.rows, lines.len() as u64);
}

/// Publishes what is in the spool of the experiment `lab`.
fn publish(lab: &Path) {
    let spool = ExperimentDir::open(lab.join("spool/lab"), "lab".parse().unwrap()).unwrap();
    let mut config = Config::new(spool, lab.join("state/publish/lab"), Node::third_party());
    config.organization = Some("org".to_owned());
    config.settle = Duration::ZERO;
    config.datatypes = vec![
        DatatypeConfig {
            name: "probe1".parse().unwrap(),
            form: Form::Jsonl,
            schema: Some(Schema::parse(SCHEMA).unwrap()),
        },
        DatatypeConfig {
            name: "tcpinfo".parse().unwrap(),
            form: Form::Tgz,
            schema: None,
        },
    ];
    let store = LocalStore::open(lab.join("archive")).unwrap();
    let publisher = Publisher::open(config, Arc::new(store), &mut Registry::default()).unwrap();
    publisher.run(Arc::new(AtomicBool::new(true))).unwrap();
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
    assert!(report.spool_file.is_none() && report.receipt.is_none() && report.rows.is_empty());
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
fn a_file_is_followed_from_the_spool_to_its_row() {
    let lab = tempfile::tempdir().unwrap();
    let dirs = Dirs::of_lab(lab.path());
    let spool = ExperimentDir::open(lab.path().join("spool/lab"), "lab".parse().unwrap()).unwrap();
    let path = format!("probe1/2024/05/06/{FILE}").parse().unwrap();
    spool.write(&path, br#"{"Count": 7}"#).unwrap();
    assert_eq!(show(&dirs, UUID).unwrap().stage, Stage::Pending);

    publish(lab.path());
    let report = show(&dirs, UUID).unwrap();
    assert_eq!((report.stage, report.spool_file), (Stage::Published, None));
    let receipt = report.receipt.unwrap();
    assert!(receipt.file.ends_with(FILE));
    assert!(
        show(&dirs, &UUID[5..]).unwrap().receipt.is_none(),
        "half a UUID is none"
    );

    let swept = loader(lab.path()).sweep("").unwrap();
    assert_eq!((swept.objects, swept.rows), (1, 1));
    let report = show(&dirs, UUID).unwrap();
    assert_eq!(
        (report.stage, report.receipt),
        (Stage::Loaded, Some(receipt))
    );
    let row = report.rows[0].row.clone();
    assert_eq!(
        (&row["raw"]["Count"], &row["date"]),
        (&json!(7), &json!("2024-05-06"))
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
            report.rows[0]
                .table_file
                .ends_with("20240506T070809.000000Z-probe1-mlab1-lga0t-lab-data.parquet")
        );
        assert_eq!(
            report.rows[0].row,
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

/// For a sealed date the keys are read, and then only the row in the data file that holds it.
#[test]
fn a_sealed_row_is_found_by_its_key() {
    let lab = tempfile::tempdir().unwrap();
    let (part, keys) = sealed(lab.path(), 0..20_000);
    let dirs = Dirs::of_lab(lab.path());
    let whole = fs::read(&keys).unwrap();
    let with_keys = |keys: Option<&[u8]>, path: &Path| match keys {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => fs::remove_file(path).unwrap(),
    };
    for state in [Some(&whole[..]), Some(b"damaged"), None] {
        with_keys(state, &keys);
        for number in [0, 2499, 2500, 8192, 19_999] {
            let report = show(&dirs, &id(number)).unwrap();
            assert_eq!(report.rows[0].table_file, part);
            assert_eq!(report.rows[0].row["raw"]["Count"], json!(number));
        }
        assert_eq!(show(&dirs, &id(20_000)).unwrap().stage, Stage::Unknown);
    }
    // With keys the part is not even opened for a row that it does not hold.
    with_keys(Some(&whole), &keys);
    fs::write(&part, "damaged").unwrap();
    let report = show(&dirs, &id(20_000)).unwrap();
    assert_eq!(report.unreadable, [""; 0].map(std::path::PathBuf::from));
    assert_eq!(show(&dirs, &id(7)).unwrap().unreadable, [part]);
}

/// A sealed lake of these rows; gives the part and its keys.
fn sealed(lab: &Path, numbers: impl Iterator<Item = usize>) -> (PathBuf, PathBuf) {
    let rows: Vec<_> = numbers.map(|number| line(&id(number), number)).collect();
    load(lab, "2024-05-06", &rows);
    let settings = groma_lake::Settings {
        linger: Duration::ZERO,
        ..Default::default()
    };
    let later = "2024-05-08T00:00:00Z".parse().unwrap();
    groma_lake::seal(lab.join("lake"), later, &settings, None).unwrap();
    let part = lab.join("lake/lab/probe1/sealed/date=2024-05-06/part-000000-0.parquet");
    let keys = groma_lake_layout::keys_path(&part).unwrap();
    (part, keys)
}

/// Keys of a part that had the name before, and keys that name the wrong rows, hide nothing and find nothing else.
#[test]
fn keys_that_are_wrong_are_not_believed() {
    let (old, lab) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, stale) = sealed(old.path(), (50..150).rev());
    let (_, keys) = sealed(lab.path(), 0..100);
    let wrong = lab.path().join("wrong.keys");
    shift_rows(&keys, &wrong);
    let dirs = Dirs::of_lab(lab.path());
    for bad in [stale, wrong] {
        fs::copy(&bad, &keys).unwrap();
        for number in [0, 10, 60, 99] {
            let row = show(&dirs, &id(number)).unwrap().rows.remove(0).row;
            assert_eq!(row["raw"]["Count"], json!(number), "{}", bad.display());
        }
        assert_eq!(show(&dirs, &id(120)).unwrap().stage, Stage::Unknown);
    }
}

/// The same keys of the same part, each with the row after its own.
fn shift_rows(keys: &Path, wrong: &Path) {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;

    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(keys).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let metadata = metadata.cloned().unwrap().into_iter();
    let made_from = metadata.filter(|entry| entry.key == groma_lake::PART_SHA256);
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(made_from.collect()))
        .build();
    let mut writer = ArrowWriter::try_new(
        fs::File::create(wrong).unwrap(),
        reader.schema().clone(),
        Some(properties),
    )
    .unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let rows = batch.column(1).as_primitive::<Int64Type>();
        let rows = Int64Array::from_iter_values(rows.values().iter().map(|row| row + 1));
        let columns = vec![batch.column(0).clone(), Arc::new(rows) as _];
        let shifted = RecordBatch::try_new(batch.schema(), columns).unwrap();
        writer.write(&shifted).unwrap();
    }
    writer.close().unwrap();
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
    let row = show(&Dirs::of_lab(lab.path()), UUID)
        .unwrap()
        .rows
        .remove(0)
        .row;
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

/// A file of the connection recorder with `snapshots` snapshots, all of them zero.
fn piece(sequence: u32, snapshots: usize) -> String {
    let zeros = |bytes: usize| "A".repeat(bytes * 4 / 3);
    let header = json!({
        "Timestamp": "0001-01-01T00:00:00Z",
        "Metadata": {"UUID": UUID, "Sequence": sequence, "StartTime": "2024-05-06T07:08:09Z"},
    });
    let record = json!({
        "Timestamp": "2024-05-06T07:08:09.5Z",
        "RawIDM": zeros(72),
        "Attributes": [null, null, zeros(240)],
    });
    format!("{header}\n{}", format!("{record}\n").repeat(snapshots))
}

#[test]
fn the_pieces_of_its_connection_are_found_and_are_no_result() {
    let lab = tempfile::tempdir().unwrap();
    let dirs = Dirs::of_lab(lab.path());
    let spool = ExperimentDir::open(lab.path().join("spool/lab"), "lab".parse().unwrap()).unwrap();
    let stage = || trace(&dirs, UUID, Detail::Whole).unwrap().stage;
    assert_eq!(stage(), Stage::Unknown);
    for (sequence, day) in [(0, "06"), (1, "07")] {
        let path = format!("tcpinfo/2024/05/{day}/{UUID}.{sequence:05}.jsonl");
        spool
            .write(&path.parse().unwrap(), piece(sequence, 2).as_bytes())
            .unwrap();
    }
    assert_eq!(stage(), Stage::Pending);
    publish(lab.path());
    assert_eq!(stage(), Stage::Published);
    assert_eq!(loader(lab.path()).sweep("").unwrap().rows, 2);
    assert_eq!(stage(), Stage::Loaded);
    assert_eq!(show(&dirs, UUID).unwrap().stage, Stage::Unknown);

    let whole = trace(&dirs, UUID, Detail::Whole).unwrap();
    let sequences: Vec<_> = whole
        .rows
        .iter()
        .map(|row| row["raw"]["Metadata"]["Sequence"].as_i64().unwrap_or(0))
        .collect();
    assert_eq!(sequences, [0, 1]);
    let summary = trace(&dirs, UUID, Detail::Summary).unwrap();
    for (whole, summary) in whole.rows.iter().zip(&summary.rows) {
        let snapshots = |row: &serde_json::Value| row["raw"]["Snapshots"].as_array().unwrap().len();
        assert_eq!((snapshots(whole), snapshots(summary)), (2, 2));
        assert_eq!(whole["a"]["SockID"], summary["a"]["SockID"]);
        assert!(whole["raw"]["Snapshots"][0]["TCPInfo"]["SegsOut"].is_number());
        let info = &summary["raw"]["Snapshots"][0]["TCPInfo"];
        assert!(
            info["RTT"].is_number() && info["SegsOut"].is_null(),
            "{info}"
        );
    }

    load(lab.path(), "2024-05-06", &[line(UUID, 9)]);
    let report = show(&dirs, UUID).unwrap();
    assert_eq!(
        (report.stage, &report.rows[0].row["raw"]["Count"]),
        (Stage::Loaded, &json!(9))
    );
}

/// A copy of the first piece under a later date ends no search; of two copies the first date's is shown.
#[test]
fn a_piece_published_again_hides_none() {
    let lab = tempfile::tempdir().unwrap();
    let dirs = Dirs::of_lab(lab.path());
    let spool = ExperimentDir::open(lab.path().join("spool/lab"), "lab".parse().unwrap()).unwrap();
    for (sequence, day) in [(0, "06"), (1, "07"), (0, "08")] {
        let path = format!("tcpinfo/2024/05/{day}/{UUID}.{sequence:05}.jsonl");
        let path = path.parse().unwrap();
        spool.write(&path, piece(sequence, 2).as_bytes()).unwrap();
    }
    publish(lab.path());
    assert_eq!(loader(lab.path()).sweep("").unwrap().rows, 3);
    let rows = trace(&dirs, UUID, Detail::Whole).unwrap().rows;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (&row["raw"]["Metadata"]["Sequence"], &row["date"]))
        .collect();
    let (eve, day) = (json!("2024-05-06"), json!("2024-05-07"));
    assert_eq!(found, [(&json!(0), &eve), (&json!(1), &day)]);
}

#[test]
fn every_table_that_has_the_uuid_is_shown() {
    let lab = tempfile::tempdir().unwrap();
    load(lab.path(), "2024-05-06", &[line(UUID, 1)]);
    let schema = Schema::parse(SCHEMA).unwrap();
    let other = load_datatype("lab".parse().unwrap(), "probe2".parse().unwrap(), schema);
    let store = LocalStore::open(lab.path().join("archive")).unwrap();
    let object = "autoload/v1/lab/probe2/2024/05/05/20240505T070809.000000Z-probe2-mlab1-lga0t-lab-data.jsonl.gz";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(line(UUID, 2).as_bytes()).unwrap();
    let body = lab.path().join("body2");
    fs::write(&body, encoder.finish().unwrap()).unwrap();
    store.put_new(object, &body).unwrap();
    Loader::new(
        Arc::new(store),
        Lake::new(lab.path().join("lake")),
        vec![other],
    )
    .load_object(object, None)
    .unwrap();
    let report = show(&Dirs::of_lab(lab.path()), UUID).unwrap();
    let found: Vec<_> = report
        .rows
        .iter()
        .map(|found| (found.table.as_str(), &found.row["raw"]["Count"]))
        .collect();
    assert_eq!(
        found,
        [("lab.probe1", &json!(1)), ("lab.probe2", &json!(2))]
    );
}
