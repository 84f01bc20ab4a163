//! Objects that were damaged when they were loaded, and objects that are removed on purpose.

use std::fs;
use std::path::PathBuf;

use groma_lake::{explain_errors, mirror, publish_index, remove_object, seal};
use groma_load::LoadError;
use serde_json::Value;

use crate::support::{CLOSED, Lab, check_with_pyarrow, eager, now};

fn ids(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|id| format!("id{id}")).collect()
}

fn run(lab: &Lab) {
    let archive = lab.archive();
    seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap();
}

fn manifest(lab: &Lab) -> Value {
    let path = format!("sealed/date={CLOSED}/_manifest.json");
    serde_json::from_slice(&fs::read(lab.table().dir().join(path)).unwrap()).unwrap()
}

/// Puts an object of 20 rows of which only the first half of the bytes are there; returns its stem and its whole bytes.
fn put_cut(lab: &Lab) -> (PathBuf, Vec<u8>, String) {
    let stem = lab.put_with(CLOSED, 5, &ids(100, 20), "");
    let path = lab.object(CLOSED, &stem);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    (path, whole, stem)
}

fn assert_rows(lab: &Lab, expected: &[String]) {
    let found = lab.ids(CLOSED);
    assert!(found.values().all(|count| *count == 1), "{found:?}");
    let found: Vec<&String> = found.keys().collect();
    let mut expected: Vec<&String> = expected.iter().collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_whole_object_replaces_a_damaged_one_among_live_rows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let (path, whole, _) = put_cut(&lab);
    let loader = lab.loader();
    assert_eq!(loader.sweep("").unwrap().damaged, 1);
    let again = loader.sweep("").unwrap();
    assert_eq!((again.damaged, again.already, again.objects), (1, 1, 0));
    fs::write(&path, &whole).unwrap();
    let replaced = loader.sweep("").unwrap();
    assert_eq!(
        (replaced.damaged, replaced.objects, replaced.rows),
        (0, 1, 20)
    );
    assert_rows(&lab, &ids(100, 20));
    let again = loader.sweep("").unwrap();
    assert_eq!((again.damaged, again.already), (0, 1));
    // The damaged bytes do not come back, and that is an error.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let worse = loader.sweep("").unwrap();
    assert!(
        matches!(worse.failed[..], [(_, LoadError::OtherBytes { .. })]),
        "{:?}",
        worse.failed
    );
    assert_rows(&lab, &ids(100, 20));
    run(&lab);
    assert_eq!(manifest(&lab)["complete"], true);
}

#[test]
fn a_whole_object_corrects_a_sealed_date() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    for object in [0, 9] {
        lab.put_with(CLOSED, object, &ids(object, 2), "");
    }
    let (path, whole, _) = put_cut(&lab);
    lab.loader().sweep("").unwrap();
    run(&lab);
    let sealed = manifest(&lab);
    assert_eq!(sealed["complete"], false);
    assert_eq!(sealed["files"][0]["objects"][1]["damaged"], true);
    assert_eq!(lab.files("live", CLOSED), [""; 0]);
    let files = lab.files("sealed", CLOSED);
    let copy = Lab::with_lake(dir.path(), dir.path().join("copy").into());
    let wanted = groma_lake::Wanted {
        tables: Vec::new(),
        since: None,
        until: None,
        most_bytes: u64::MAX,
        linger: std::time::Duration::ZERO,
    };
    mirror(&lab.place, copy.place.root(), &wanted).unwrap();

    // Loaded in one call after sealing, the object is not loaded twice.
    let again = lab.loader().sweep("").unwrap();
    assert_eq!((again.already, again.objects, again.damaged), (3, 0, 1));

    fs::write(&path, &whole).unwrap();
    let loaded = lab.loader().sweep("").unwrap();
    assert_eq!((loaded.objects, loaded.rows, loaded.already), (1, 20, 2));
    // Loaded again before the sealer comes: still once.
    assert_eq!(lab.loader().sweep("").unwrap().already, 3);
    for _ in 0..2 {
        run(&lab);
        assert_eq!(lab.files("sealed", CLOSED), files);
        assert_eq!(lab.files("live", CLOSED), [""; 0]);
        assert_eq!(lab.files("corrections", CLOSED), [""; 0]);
        let expected = [ids(0, 2), ids(9, 2), ids(100, 20)].concat();
        assert_rows(&lab, &expected);
        let corrected = manifest(&lab);
        assert_eq!(corrected["complete"], true, "{corrected}");
        assert_eq!(
            (&corrected["rows"], &corrected["errors"]),
            (&24.into(), &0.into())
        );
        assert_eq!(corrected["corrections"][0]["entry"], 1);
        assert_eq!(lab.loader().sweep("").unwrap().already, 3);
        check_with_pyarrow(&lab, &[(CLOSED.to_owned(), expected)].into());
        mirror(&lab.place, copy.place.root(), &wanted).unwrap();
        assert_eq!(copy.ids(CLOSED), lab.ids(CLOSED));
    }
}

#[test]
fn rows_that_a_loader_replaced_while_they_were_sealed_become_a_correction() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let (path, whole, stem) = put_cut(&lab);
    lab.loader().sweep("").unwrap();
    // The rows of the whole object, as a loader has them that began before the date was sealed.
    let other = Lab::with_lake(dir.path(), dir.path().join("other").into());
    fs::write(&path, &whole).unwrap();
    other.loader().sweep("").unwrap();
    run(&lab);
    let live = format!("live/date={CLOSED}/{stem}.parquet");
    fs::create_dir_all(lab.table().dir().join(&live).parent().unwrap()).unwrap();
    fs::rename(
        other.table().dir().join(&live),
        lab.table().dir().join(&live),
    )
    .unwrap();
    run(&lab);
    run(&lab);
    assert_rows(&lab, &ids(100, 20));
    assert_eq!(lab.files("live", CLOSED), [""; 0]);
    assert_eq!(manifest(&lab)["complete"], true);
}

#[test]
fn an_object_that_was_removed_on_purpose_never_comes_back_with_its_bytes() {
    for is_sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::new(dir.path());
        lab.put_with(CLOSED, 0, &ids(0, 2), "");
        let stem = lab.put_with(CLOSED, 1, &ids(2, 3), "");
        lab.loader().sweep("").unwrap();
        if is_sealed {
            run(&lab);
        }
        let date = CLOSED.parse().unwrap();
        remove_object(&lab.table(), date, &stem, "asked for", &eager()).unwrap();
        for _ in 0..2 {
            assert_rows(&lab, &ids(0, 2));
            let loaded = lab.loader().sweep("").unwrap();
            assert_eq!((loaded.already, loaded.objects), (1, 0));
            let [(_, LoadError::Removed { reason, .. })] = &loaded.failed[..] else {
                panic!("{:?}", loaded.failed);
            };
            assert_eq!(reason, "asked for");
            run(&lab);
        }
        // Under another name the lake does not know it.
        let unknown = remove_object(&lab.table(), date, "other", "asked for", &eager());
        assert!(unknown.unwrap_err().to_string().contains("other"));
        // Other bytes under the name are another object.
        lab.put_with(CLOSED, 1, &ids(7, 2), "");
        assert_eq!(lab.loader().sweep("").unwrap().objects, 1);
        run(&lab);
        assert_rows(&lab, &[ids(0, 2), ids(7, 2)].concat());
    }
}

#[test]
fn explained_errors_make_a_date_complete_until_the_object_has_other_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    lab.put_with(CLOSED, 0, &ids(0, 2), "");
    let (path, whole, stem) = put_cut(&lab);
    lab.loader().sweep("").unwrap();
    run(&lab);
    let copy = Lab::with_lake(dir.path(), dir.path().join("copy").into());
    let wanted = groma_lake::Wanted {
        tables: Vec::new(),
        since: None,
        until: None,
        most_bytes: u64::MAX,
        linger: std::time::Duration::ZERO,
    };
    mirror(&lab.place, copy.place.root(), &wanted).unwrap();
    let is_complete = |lab: &Lab, expected: bool| {
        publish_index(lab.place.clone()).unwrap();
        let index = fs::read(lab.place.root().join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let figures = &index["datasets"][0]["dates"][0];
        assert_eq!(figures["complete"], expected, "{figures}");
        assert_eq!(manifest(lab)["complete"], expected);
    };
    is_complete(&lab, false);
    let date = CLOSED.parse().unwrap();
    let unknown = explain_errors(&lab.table(), date, "other", "cut off at the source");
    assert!(unknown.unwrap_err().to_string().contains("other"));
    explain_errors(&lab.table(), date, &stem, "cut off at the source").unwrap();
    // Files of a date with an explanation stay as they are, whatever runs after it.
    for _ in 0..2 {
        is_complete(&lab, true);
        let object = &manifest(&lab)["files"][0]["objects"][1];
        assert_eq!(object["explained"], "cut off at the source");
        assert_eq!(object["damaged"], true);
        lab.loader().sweep("").unwrap();
        run(&lab);
    }
    mirror(&lab.place, copy.place.root(), &wanted).unwrap();
    is_complete(&copy, true);

    // More of the object, and still not all of it: nobody explained that.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    lab.loader().sweep("").unwrap();
    run(&lab);
    is_complete(&lab, false);
    fs::write(&path, &whole).unwrap();
    lab.loader().sweep("").unwrap();
    run(&lab);
    is_complete(&lab, true);
    assert_eq!(
        manifest(&lab)["files"][0]["objects"][1]["explained"],
        Value::Null
    );
    assert_rows(&lab, &[ids(0, 2), ids(100, 20)].concat());
}

#[test]
fn errors_may_be_explained_before_their_date_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let (_, _, stem) = put_cut(&lab);
    lab.loader().sweep("").unwrap();
    let date = CLOSED.parse().unwrap();
    explain_errors(&lab.table(), date, &stem, "cut off at the source").unwrap();
    run(&lab);
    assert_eq!(manifest(&lab)["complete"], true);
}
