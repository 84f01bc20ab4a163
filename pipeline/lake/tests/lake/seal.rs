//! Sealing and compaction, step by step.

use std::collections::BTreeMap;
use std::fs;

use groma_lake::{Day, Pass, Settings, seal};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::RowGroupMetaData;
use serde_json::Value;

use crate::support::{CLOSED, Lab, OPEN, check_with_pyarrow, eager, now};

fn ids(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|id| format!("id{id:04}"))
        .collect()
}

/// A lab with objects of two rows each, loaded.
fn lab(date: &str, objects: usize) -> (tempfile::TempDir, Lab) {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    for object in 0..objects {
        lab.put(date, object, &ids(object * 2, 2));
    }
    lab.loader().sweep("").unwrap();
    (dir, lab)
}

fn run(lab: &Lab, settings: &Settings) -> Pass {
    let archive = lab.archive();
    seal(lab.lake(), now(), settings, Some(&archive)).unwrap()
}

fn manifest(lab: &Lab, name: &str) -> Value {
    let path = lab
        .table()
        .dir()
        .join("sealed")
        .join(format!("date={CLOSED}"))
        .join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_closed_date_becomes_parts_and_a_manifest() {
    let (_dir, lab) = lab(CLOSED, 5);
    let pass = run(&lab, &eager());
    assert_eq!((pass.sealed, pass.removed), (1, 5));
    assert_eq!(
        lab.files("sealed", CLOSED),
        ["_manifest.json", "part-000000-0.parquet"]
    );
    let manifest = manifest(&lab, "_manifest.json");
    let figures = [
        "objects",
        "rows",
        "errors",
        "objects_archived",
        "complete",
        "licence",
    ];
    let found = figures.map(|name| manifest[name].clone());
    let wanted: [Value; 6] = [
        5.into(),
        10.into(),
        5.into(),
        5.into(),
        false.into(),
        "CC0-1.0".into(),
    ];
    assert_eq!(found, wanted);
    let url = manifest["files"][0]["objects"][0]["url"].as_str().unwrap();
    assert!(
        url.starts_with("file:///autoload/v1/lab/probe1/2024/05/06/"),
        "{url}"
    );
    assert_eq!(lab.ids(CLOSED).len(), 10);
    assert_eq!(run(&lab, &eager()), Pass::default(), "once is enough");
    check_with_pyarrow(&lab, &BTreeMap::from([(CLOSED.to_owned(), ids(0, 10))]));
}

#[test]
fn a_late_object_adds_a_manifest_and_changes_nothing_else() {
    let (_dir, lab) = lab(CLOSED, 2);
    run(&lab, &eager());
    let dir = lab
        .table()
        .dir()
        .join("sealed")
        .join(format!("date={CLOSED}"));
    let before: Vec<Vec<u8>> = lab
        .files("sealed", CLOSED)
        .iter()
        .map(|name| fs::read(dir.join(name)).unwrap())
        .collect();
    lab.put(CLOSED, 7, &ids(50, 2));
    // The archive has one more object, which is not loaded yet.
    assert_eq!(run(&lab, &eager()).sealed, 0);
    assert_eq!(
        lab.loader().sweep("").unwrap().rows,
        2,
        "only the late one is loaded"
    );
    run(&lab, &eager());
    let names = [
        "_manifest.1.json",
        "_manifest.json",
        "part-000000-0.parquet",
        "part-000001-0.parquet",
    ];
    assert_eq!(lab.files("sealed", CLOSED), names);
    assert_eq!(fs::read(dir.join(names[1])).unwrap(), before[0]);
    assert_eq!(fs::read(dir.join(names[2])).unwrap(), before[1]);
    let expected = [ids(0, 4), ids(50, 2)].concat();
    check_with_pyarrow(&lab, &BTreeMap::from([(CLOSED.to_owned(), expected)]));
}

#[test]
fn a_date_is_complete_when_every_object_is_sealed_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    for object in 0..2 {
        lab.put_with(CLOSED, object, &ids(object * 2, 2), "");
    }
    lab.loader().sweep("").unwrap();
    run(&lab, &eager());
    assert_eq!(manifest(&lab, "_manifest.json")["complete"], true);
    // One line that is not a row, in an object that came later.
    lab.put(CLOSED, 2, &ids(4, 2));
    lab.loader().sweep("").unwrap();
    run(&lab, &eager());
    let late = manifest(&lab, "_manifest.1.json");
    assert_eq!(
        (&late["complete"], &late["errors"]),
        (&false.into(), &1.into())
    );
}

#[test]
fn a_date_is_not_complete_while_objects_are_missing() {
    let (_dir, lab) = lab(CLOSED, 2);
    lab.put(CLOSED, 7, &ids(50, 2));
    run(&lab, &eager());
    let manifest = manifest(&lab, "_manifest.json");
    assert_eq!(manifest["complete"], false);
    assert_eq!(manifest["objects_archived"], 3);
}

#[test]
fn a_live_date_is_compacted_and_its_parts_are_sealed_later() {
    let (_dir, lab) = lab(OPEN, 4);
    let pass = run(&lab, &eager());
    assert_eq!((pass.compacted, pass.removed, pass.sealed), (1, 4, 0));
    assert_eq!(lab.files("live", OPEN), ["compact-000000-0.parquet"]);
    for object in 4..6 {
        lab.put(OPEN, object, &ids(object * 2, 2));
    }
    assert_eq!(
        lab.loader().sweep("").unwrap().rows,
        4,
        "what was compacted is not loaded again"
    );
    assert_eq!(
        run(&lab, &eager()),
        Pass::default(),
        "two files are not enough"
    );
    assert_eq!(lab.ids(OPEN).len(), 12);
    let archive = lab.archive();
    let later = "2024-05-08T02:00:00Z".parse().unwrap();
    let pass = seal(lab.lake(), later, &eager(), Some(&archive)).unwrap();
    assert_eq!((pass.sealed, pass.removed), (1, 3));
    assert!(
        Day::read(&lab.table(), OPEN.parse().unwrap())
            .unwrap()
            .is_sealed
    );
    check_with_pyarrow(&lab, &BTreeMap::from([(OPEN.to_owned(), ids(0, 12))]));
}

#[test]
fn replaced_files_stay_for_those_who_read_them_and_count_once() {
    let (_dir, lab) = lab(CLOSED, 3);
    let patient = Settings {
        linger: std::time::Duration::from_hours(1),
        ..eager()
    };
    let pass = run(&lab, &patient);
    assert_eq!((pass.sealed, pass.removed), (1, 0));
    assert_eq!(lab.files("live", CLOSED).len(), 3);
    let all = lab.ids(CLOSED);
    assert_eq!(all.len(), 6);
    assert!(all.values().all(|count| *count == 1));
    assert_eq!(run(&lab, &eager()).removed, 3);
}

#[test]
fn what_a_slow_loader_puts_back_counts_for_nothing() {
    let (_dir, lab) = lab(CLOSED, 1);
    let stem = lab.files("live", CLOSED)[0].clone();
    let path = lab
        .table()
        .dir()
        .join("live")
        .join(format!("date={CLOSED}"))
        .join(stem);
    let bytes = fs::read(&path).unwrap();
    run(&lab, &eager());
    fs::write(&path, bytes).unwrap();
    assert!(lab.ids(CLOSED).values().all(|count| *count == 1));
    let pass = run(&lab, &eager());
    assert_eq!((pass.sealed, pass.removed), (0, 1));
}

#[test]
fn an_unreadable_file_stays_and_stops_nothing() {
    let (_dir, lab) = lab(CLOSED, 2);
    let path = lab
        .table()
        .dir()
        .join("live")
        .join(format!("date={CLOSED}"))
        .join("broken.parquet");
    fs::write(&path, b"PAR1 not at all").unwrap();
    let pass = run(&lab, &eager());
    assert_eq!((pass.sealed, pass.unreadable), (1, vec![path.clone()]));
    assert!(path.exists());
}

#[test]
fn a_live_date_is_compacted_when_its_oldest_small_file_is_old() {
    let (_dir, lab) = lab(OPEN, 3);
    let patient = Settings {
        compact_files: 1000,
        ..eager()
    };
    assert_eq!(run(&lab, &patient).compacted, 0, "an hour has not passed");
    let impatient = Settings {
        compact_after: std::time::Duration::ZERO,
        ..patient
    };
    assert_eq!(run(&lab, &impatient).compacted, 1);
    assert_eq!(run(&lab, &impatient).compacted, 0, "one file is left");
    assert_eq!(lab.ids(OPEN).len(), 6);
}

#[test]
fn parts_are_made_for_look_ups() {
    let (_dir, lab) = lab(CLOSED, 20);
    let settings = Settings {
        row_group_rows: 15,
        ..eager()
    };
    run(&lab, &settings);
    let part = format!("sealed/date={CLOSED}/part-000000-0.parquet");
    let file = fs::File::open(lab.table().dir().join(part)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.iter().all(|group| group.num_rows() <= 15));
    assert_eq!(
        groups.iter().map(RowGroupMetaData::num_rows).sum::<i64>(),
        40
    );
    for column in groups.iter().flat_map(RowGroupMetaData::columns) {
        let path = column.column_path().string();
        assert!(
            matches!(column.compression(), Compression::ZSTD(_)),
            "{path}"
        );
        assert!(column.statistics().is_some(), "{path}");
        assert!(column.offset_index_offset().is_some(), "{path}");
        assert_eq!(
            column.bloom_filter_offset().is_some(),
            path == "id",
            "{path}"
        );
    }
}

#[test]
fn large_dates_become_several_parts() {
    let (_dir, lab) = lab(CLOSED, 6);
    let small = Settings {
        part_bytes: 1,
        ..eager()
    };
    run(&lab, &small);
    assert_eq!(
        lab.files("sealed", CLOSED).len(),
        7,
        "one part for each object, and the manifest"
    );
    check_with_pyarrow(&lab, &BTreeMap::from([(CLOSED.to_owned(), ids(0, 12))]));
}

/// Key files contain every key of a data file with its row number, and those of removed data files are removed.
#[test]
fn keys_stand_beside_parts() {
    use arrow_array::Array as _;
    use arrow_array::cast::AsArray as _;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let columns = |path: &std::path::Path, wanted: [&str; 2]| {
        let file = fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        wanted.map(|name| batch.column_by_name(name).cloned())
    };
    let (_dir, lab) = lab(OPEN, 5);
    assert_eq!(run(&lab, &eager()).compacted, 1);
    let compacted = ["compact-000000-0.keys"];
    assert_eq!(lab.files("keys", OPEN), compacted);
    lab.put(OPEN, 9, &ids(90, 2));
    lab.loader().sweep("").unwrap();
    let later = "2024-05-08T02:00:00Z".parse().unwrap();
    seal(lab.lake(), later, &eager(), None).unwrap();
    assert_eq!(lab.files("keys", OPEN), ["part-000001-0.keys"]);

    let table = lab.table().dir();
    let part = table.join(format!("sealed/date={OPEN}/part-000001-0.parquet"));
    let keys = groma_lake_layout::keys_path(&part).unwrap();
    let [Some(id), Some(row)] = columns(&keys, ["id", "row"]) else {
        panic!("the columns are there");
    };
    let [Some(in_part), _] = columns(&part, ["id", ""]) else {
        panic!("the part has ids");
    };
    let (id, in_part) = (id.as_string::<i32>(), in_part.as_string::<i32>());
    let row = row.as_primitive::<arrow_array::types::Int64Type>();
    assert_eq!(id.len(), 12);
    assert!(id.iter().is_sorted());
    for at in 0..id.len() {
        let row = usize::try_from(row.value(at)).unwrap();
        assert_eq!(id.value(at), in_part.value(row));
    }
}

/// Keys are a help: where they cannot be written, a date is sealed all the same, and gets them when they can.
#[test]
fn keys_that_cannot_be_written_stop_no_sealing() {
    let (_dir, lab) = lab(CLOSED, 3);
    let keys = lab.table().dir().join("keys");
    fs::write(&keys, "in the way").unwrap();
    assert_eq!(run(&lab, &eager()).sealed, 1);
    let sealed = ["_manifest.json", "part-000000-0.parquet"];
    assert_eq!(lab.files("sealed", CLOSED), sealed);
    fs::remove_file(keys).unwrap();
    assert_eq!(run(&lab, &eager()), Pass::default());
    assert_eq!(lab.files("keys", CLOSED), ["part-000000-0.keys"]);
}

#[test]
fn keys_of_no_part_are_swept_and_those_of_another_replaced() {
    let (_dir, lab) = lab(OPEN, 4);
    assert_eq!(run(&lab, &eager()).compacted, 1);
    let keys = lab.table().dir().join(format!("keys/date={OPEN}"));
    let of_part = keys.join("compact-000000-0.keys");
    let right = fs::read(&of_part).unwrap();
    fs::write(&of_part, "of another part").unwrap();
    fs::write(keys.join("part-000007-0.keys"), "of no part").unwrap();
    run(&lab, &eager());
    assert_eq!(lab.files("keys", OPEN), ["compact-000000-0.keys"]);
    assert_eq!(fs::read(&of_part).unwrap(), right);
}

#[test]
fn a_date_is_not_complete_while_one_of_its_objects_is_missing_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let stem = lab.put_with(CLOSED, 0, &["a".to_owned()], "");
    lab.loader().sweep("").unwrap();
    // The archive has one object, and the lake has the rows of another one.
    fs::remove_file(lab.object(CLOSED, &stem)).unwrap();
    lab.put_with(CLOSED, 1, &["b".to_owned()], "");
    run(&lab, &eager());
    let manifest = |name: &str| -> serde_json::Value {
        let path = format!("sealed/date={CLOSED}/{name}");
        serde_json::from_slice(&fs::read(lab.table().dir().join(path)).unwrap()).unwrap()
    };
    let first = manifest("_manifest.json");
    assert_eq!(
        (&first["objects_archived"], &first["complete"]),
        (&1.into(), &false.into())
    );
    lab.loader().sweep("").unwrap();
    run(&lab, &eager());
    assert_eq!(manifest("_manifest.1.json")["complete"], true);
}
