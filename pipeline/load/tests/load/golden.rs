//! Rows against those that M-Lab's parser makes of the same archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::support::{Lab, REAL_OBJECT, lines, real_archive, rows};

/// A row without what the two sides are free to differ in: case of keys, NULL, absent or empty list, finer than microseconds.
pub(crate) fn canonical(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) => Some(
            list.into_iter()
                .map(|item| canonical(item).unwrap_or_default())
                .collect(),
        ),
        Value::Object(fields) => Some(Value::Object(
            fields
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_ascii_lowercase(), canonical(value)?)))
                .collect(),
        )),
        Value::String(text) => Some(match text.parse::<Timestamp>() {
            Ok(instant) => instant.as_microsecond().into(),
            Err(_) => text.into(),
        }),
        Value::Number(number) => Some(number.as_i64().map_or_else(
            || {
                number.as_f64().map(|float| {
                    if float.fract() == 0.0 {
                        (float as i64).into()
                    } else {
                        float.into()
                    }
                })
            },
            |integer| Some(integer.into()),
        )?),
        Value::Bool(flag) => Some(flag.into()),
    }
}

/// A row's columns that both sides have, by `id`.
fn by_id(rows: Vec<Value>) -> HashMap<String, Map<String, Value>> {
    rows.into_iter()
        .map(|row| {
            let Some(Value::Object(mut row)) = canonical(row) else {
                panic!("a row is an object");
            };
            for provenance in ["archiver", "parser", "date"] {
                row.remove(provenance);
            }
            (row["id"].as_str().unwrap().to_owned(), row)
        })
        .collect()
}

fn server_measurements(raw: &mut Value) -> impl Iterator<Item = &mut Value> {
    let directions = raw.as_object_mut().unwrap().iter_mut();
    directions
        .filter(|(key, _)| ["upload", "download"].contains(&key.as_str()))
        .filter_map(|(_, direction)| direction.get_mut("servermeasurements"))
        .filter_map(Value::as_array_mut)
        .flatten()
}

/// Returns the measurements of the archive by UUID.
fn sources(archive: &[u8]) -> HashMap<String, Value> {
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive));
    tar.entries()
        .unwrap()
        .map(|entry| {
            let value: Value =
                serde_json::from_reader(MultiGzDecoder::new(entry.unwrap())).unwrap();
            let value = canonical(value).unwrap();
            let direction = value
                .get("upload")
                .or_else(|| value.get("download"))
                .unwrap();
            (direction["uuid"].as_str().unwrap().to_owned(), value)
        })
        .collect()
}

#[test]
fn every_value_is_the_one_of_mlabs_parser() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    lab.put(REAL_OBJECT, &archive);
    let loaded = lab.loader().load_object(REAL_OBJECT, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (114, 0, 0));
    assert!(
        loaded.unknown_fields.is_empty(),
        "{:?}",
        loaded.unknown_fields
    );
    assert!(loaded.path.ends_with(
        "lake/ndt/ndt7/live/date=2020-03-18/20200318T003853.425987Z-ndt7-mlab3-syd03-ndt.parquet"
    ));

    let mut golden = Vec::new();
    let path = groma_tests::real_data()
        .unwrap()
        .join("golden/ndt7-20200318-syd03.jsonl.gz");
    MultiGzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut golden)
        .unwrap();
    let golden = by_id(lines(&golden));
    assert_eq!(golden.len(), 114);

    let mut ours = by_id(rows(&loaded.path));
    let mut sources = sources(&archive);
    let mut renamed = 0;
    for (id, row) in &mut ours {
        // The one rule by which we differ: the bandwidth that 2020 called MaxBandwidth.
        let source = server_measurements(sources.get_mut(id).unwrap());
        for (ours, source) in server_measurements(row.get_mut("raw").unwrap()).zip(source) {
            if let Some(bytes_per_second) = source
                .get("bbrinfo")
                .and_then(|bbr| bbr.get("maxbandwidth"))
            {
                assert_eq!(&ours["bbrinfo"]["bw"], bytes_per_second);
                ours["bbrinfo"]["bw"] = 0.into();
                renamed += 1;
            }
        }
    }
    assert_eq!(
        renamed,
        1388 + 2487,
        "every server measurement of this archive has it"
    );
    for (id, expected) in golden {
        let row = ours.remove(&id).unwrap_or_else(|| panic!("no row {id}"));
        for (column, expected) in expected {
            assert_eq!(row.get(&column), Some(&expected), "{id} {column}");
        }
        assert_eq!(row.len(), 3, "id, a and raw of {id}");
    }
    assert!(ours.is_empty());
}

#[test]
fn the_sums_are_those_on_record() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    lab.put(REAL_OBJECT, &archive);
    let rows = rows(&lab.loader().load_object(REAL_OBJECT, None).unwrap().path);
    for (direction, measurements, throughput, slowest, fastest, loss, min_rtt) in [
        (
            "Download",
            1388,
            1_881.990_918_563_108,
            2.255_423_745_474_024_7,
            128.569_514_456_951_45,
            2.650_622_379_440_878,
            12_623.512,
        ),
        (
            "Upload",
            2487,
            894.606_603_503_223_3,
            0.010_710_984_071_661_584,
            150.665_817_360_681,
            0.0,
            12_639.214,
        ),
    ] {
        let of_direction = || rows.iter().filter(|row| row["raw"][direction].is_object());
        assert_eq!(of_direction().count(), 57);
        let lists = of_direction().map(|row| {
            row["raw"][direction]["ServerMeasurements"]
                .as_array()
                .unwrap()
                .len()
        });
        assert_eq!(lists.sum::<usize>(), measurements);
        let values = |name: &str| -> Vec<f64> {
            of_direction()
                .map(|row| row["a"][name].as_f64().unwrap())
                .collect()
        };
        let close = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() < 1e-9 * expected.max(1.0),
                "{direction}: {found}, not {expected}"
            );
        };
        let mbps = values("MeanThroughputMbps");
        close(mbps.iter().sum(), throughput);
        close(mbps.iter().copied().fold(f64::INFINITY, f64::min), slowest);
        close(mbps.iter().copied().fold(0.0, f64::max), fastest);
        close(values("LossRate").iter().sum(), loss);
        close(values("MinRTT").iter().sum(), min_rtt);
    }
}

#[test]
fn provenance_says_where_a_row_came_from() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    lab.put(REAL_OBJECT, &archive);
    let row = rows(&lab.loader().load_object(REAL_OBJECT, None).unwrap().path).remove(0);
    let archiver = &row["archiver"];
    assert!(
        archiver["ArchiveURL"]
            .as_str()
            .unwrap()
            .ends_with(REAL_OBJECT)
    );
    assert!(
        archiver["Filename"]
            .as_str()
            .unwrap()
            .starts_with("2020/03/18/ndt7-download-")
    );
    assert_eq!(archiver["Version"], "v1.16", "the tag of MLAB.pusher.image");
    assert_eq!(
        archiver["GitCommit"], "v1.16",
        "the end of MLAB.pusher.src.url"
    );
}
