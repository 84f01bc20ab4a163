//! Twice is once.

use std::fs;
use std::sync::Barrier;

use groma_load::Lake;

use crate::support::{Lab, PROBE_OBJECT, REAL_OBJECT, gzip, real_archive, rows, tar};

#[test]
fn loading_twice_changes_nothing_and_does_no_work() {
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, &gzip(&tar(&[("a.json", b"{}")])));
    let first = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    let bytes = fs::read(&first.path).unwrap();
    // Without its object, only a loader that does nothing can succeed.
    fs::remove_file(lab.store.root().join(PROBE_OBJECT)).unwrap();
    let second = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    assert!(!first.already && second.already);
    assert_eq!(second.path, first.path);
    assert_eq!(fs::read(&first.path).unwrap(), bytes);
}

#[test]
fn the_same_object_is_the_same_bytes_in_any_lake() {
    let Some(archive) = real_archive() else {
        return;
    };
    let lab = Lab::new();
    lab.put(REAL_OBJECT, &archive);
    let load = |name: &str| {
        let lake = Lake::new(lab.store.root().join("..").join(name));
        let loaded = lab
            .loader_into(lake)
            .load_object(REAL_OBJECT, None)
            .unwrap();
        fs::read(loaded.path).unwrap()
    };
    assert!(load("one") == load("two"));
}

#[test]
fn of_loaders_that_race_one_wins_and_none_fails() {
    let lab = Lab::new();
    let members: Vec<(String, Vec<u8>)> = (0..50)
        .map(|n| {
            (
                format!("{n}.json"),
                format!(r#"{{"Count": {n}}}"#).into_bytes(),
            )
        })
        .chain([("bad.json".to_owned(), b"x".to_vec())])
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    lab.put(PROBE_OBJECT, &gzip(&tar(&members)));
    let start = Barrier::new(4);
    let results: Vec<_> = std::thread::scope(|scope| {
        let load = || {
            let loader = lab.loader();
            start.wait();
            loader.load_object(PROBE_OBJECT, None).unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(results.iter().filter(|loaded| !loaded.already).count(), 1);
    let winner = results.iter().find(|loaded| !loaded.already).unwrap();
    assert_eq!((winner.rows, winner.errors), (50, 1));
    assert_eq!(crate::support::rows(&winner.path).len(), 50);
    assert_eq!(crate::support::errors(&lab.lake(), PROBE_OBJECT).len(), 1);
    let left = fs::read_dir(lab.lake().root().join(".tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no temporary file is left");
}

#[test]
fn only_what_dead_loaders_left_is_cleared() {
    let lab = Lab::new();
    assert_eq!(lab.lake().clear_abandoned().unwrap(), 0);
    let dir = lab.lake().root().join(".tmp");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("dead"), b"x").unwrap();
    let alive = fs::File::create(dir.join("alive")).unwrap();
    alive.lock().unwrap();
    assert_eq!(lab.lake().clear_abandoned().unwrap(), 1);
    assert!(dir.join("alive").exists());
}

#[test]
fn an_object_has_one_date() {
    let lab = Lab::new();
    let late = PROBE_OBJECT.replace("T070809", "T080910");
    let body = gzip(&tar(&[("a.json", b"{}")]));
    lab.put(PROBE_OBJECT, &body);
    lab.put(&late, &body);
    let loader = lab.loader();
    let (first, second) = ("2001-02-03".parse().unwrap(), "2001-02-04".parse().unwrap());
    // First under its own date.
    let own = loader.load_object(PROBE_OBJECT, None).unwrap();
    let refused = loader.load_object(PROBE_OBJECT, Some(first)).unwrap_err();
    assert!(
        refused.is_permanent() && refused.to_string().contains("2024-05-06"),
        "{refused}"
    );
    // First under another one, which then is its date, also for a loader that asks for none.
    let moved = loader.load_object(&late, Some(first)).unwrap();
    assert!(loader.load_object(&late, Some(second)).is_err());
    assert!(
        loader
            .load_object(&late, Some("2024-05-06".parse().unwrap()))
            .is_err()
    );
    for date in [None, Some(first)] {
        let again = loader.load_object(&late, date).unwrap();
        assert!(again.already);
        assert_eq!(again.path, moved.path);
    }
    // Its rows may have been compacted meanwhile.
    fs::remove_file(&own.path).unwrap();
    assert!(loader.load_object(PROBE_OBJECT, Some(first)).is_err());
}

#[test]
fn another_object_of_the_same_file_name_is_refused_and_not_taken_for_the_first() {
    let lab = Lab::new();
    let other = PROBE_OBJECT.replace("/2024/05/06/", "/2024/05/05/");
    assert_ne!(other, PROBE_OBJECT);
    let body = gzip(&tar(&[("a.json", b"{}")]));
    lab.put(PROBE_OBJECT, &body);
    lab.put(&other, &body);
    let loader = lab.loader();
    assert!(!loader.load_object(PROBE_OBJECT, None).unwrap().already);
    for date in [None, Some("2024-05-06".parse().unwrap())] {
        let refused = loader.load_object(&other, date).unwrap_err();
        assert!(
            refused.is_permanent() && refused.to_string().contains("2024-05-06"),
            "{refused}"
        );
    }
    assert!(loader.load_object(PROBE_OBJECT, None).unwrap().already);
}

#[test]
fn what_was_loaded_before_there_were_claims_keeps_its_date() {
    let lab = Lab::new();
    let late = PROBE_OBJECT.replace("T070809", "T080910");
    let body = gzip(&tar(&[("a.json", b"{}")]));
    lab.put(PROBE_OBJECT, &body);
    lab.put(&late, &body);
    let loader = lab.loader();
    let (first, second) = ("2001-02-03".parse().unwrap(), "2001-02-04".parse().unwrap());
    let own = loader.load_object(PROBE_OBJECT, None).unwrap();
    let other = loader.load_object(&late, Some(first)).unwrap();
    // Such a lake has no claims, and a file of another name where a date was asked for.
    let table = lab.lake().root().join("lab/probe1");
    fs::remove_dir_all(table.join("claims")).unwrap();
    fs::create_dir(table.join("moved")).unwrap();
    let stem = other.path.file_stem().unwrap();
    fs::write(table.join("moved").join(stem), "2001-02-03").unwrap();
    for (name, loaded, wrong) in [(PROBE_OBJECT, &own, first), (&late, &other, second)] {
        assert!(loader.load_object(name, Some(wrong)).is_err());
        let again = loader.load_object(name, None).unwrap();
        assert!(again.already);
        assert_eq!(again.path, loaded.path);
    }
    // Its rows may have been compacted meanwhile.
    fs::remove_file(&own.path).unwrap();
    assert!(loader.load_object(PROBE_OBJECT, Some(first)).is_err());
    // An object that is loaded again claims the date of its rows.
    fs::remove_file(&other.path).unwrap();
    let again = loader.load_object(&late, None).unwrap();
    assert_eq!((again.already, &again.path), (false, &other.path));
    assert!(table.join("claims").exists());
}

/// An object that was bundled after midnight, and its name without the date directories.
const NIGHT_OBJECT: &str =
    "lab/probe1/2024/05/05/20240506T000809.000000Z-probe1-mlab1-lga0t-lab.tgz";
const NIGHT_FILE: &str = "20240506T000809.000000Z-probe1-mlab1-lga0t-lab.tgz";

/// Loads the object under both of its names, `between` having been done to the lake in between: its rows are there once.
fn load_under_both_names(names: [&str; 2], date: &str, between: impl Fn(&Lab)) {
    let lab = Lab::new();
    let body = gzip(&tar(&[("a.json", b"{}")]));
    lab.put(NIGHT_OBJECT, &body);
    lab.put(NIGHT_FILE, &body);
    let loader = lab.loader();
    let first = loader.load_object(names[0], None).unwrap();
    assert!(first.path.parent().unwrap().ends_with(date));
    between(&lab);
    let second = loader.load_object(names[1], None).unwrap();
    assert!(second.already);
    assert_eq!(second.path, first.path);
    assert_eq!(rows(&first.path).len(), 1);
    let days = first.path.parent().unwrap().parent().unwrap();
    assert_eq!(fs::read_dir(days).unwrap().count(), 1);
    let other = "2001-02-03".parse().unwrap();
    assert!(loader.load_object(names[1], Some(other)).is_err());
}

#[test]
fn a_download_and_its_object_are_one() {
    let bare_first = ([NIGHT_FILE, NIGHT_OBJECT], "date=2024-05-06");
    let full_first = ([NIGHT_OBJECT, NIGHT_FILE], "date=2024-05-05");
    for (names, date) in [bare_first, full_first] {
        load_under_both_names(names, date, |_| ());
    }
    // In a lake without claims, only the full name connects the two.
    load_under_both_names(bare_first.0, bare_first.1, |lab| {
        fs::remove_dir_all(lab.lake().root().join("lab/probe1/claims")).unwrap();
    });
}

#[test]
fn what_is_under_embargo_is_left_alone() {
    let lab = Lab::new();
    let name = PROBE_OBJECT.replace(".tgz", "-e.tgz");
    lab.put(&name, &gzip(&tar(&[("a.json", b"{}")])));
    let loader = lab.loader();
    assert_eq!(loader.sweep("").unwrap().objects, 0);
    let refused = loader.load_object(&name, None).unwrap_err();
    assert!(
        refused.is_permanent() && refused.to_string().contains("embargo"),
        "{refused}"
    );
    assert_eq!(loader.with_embargoed(true).sweep("").unwrap().rows, 1);
}
