//! Files of a lake with changed bits: each change is found, none is sealed, and no reader panics.

use std::fs;
use std::path::PathBuf;

use groma_lake::{Day, Pass, remove_object, seal};
use groma_load::{Export, export};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{CLOSED, Lab, eager, now};

fn ids(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|id| format!("id{id}")).collect()
}

fn run(lab: &Lab) -> Pass {
    let archive = lab.archive();
    seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap()
}

fn live(lab: &Lab) -> Vec<PathBuf> {
    let dir = lab.table().dir().join(format!("live/date={CLOSED}"));
    let files = lab.files("live", CLOSED).into_iter();
    files.map(|name| dir.join(name)).collect()
}

fn flipped(whole: &[u8], numbers: &mut StdRng) -> (usize, Vec<u8>) {
    let bit = numbers.random_range(0..whole.len() * 8);
    let mut bytes = whole.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    (bit, bytes)
}

#[test]
fn every_changed_bit_of_a_live_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    lab.put(CLOSED, 0, &ids(0, 200));
    lab.loader().sweep("").unwrap();
    let path = &live(&lab)[0];
    let whole = fs::read(path).unwrap();
    lab.place.open_verified(path).unwrap();
    let footer = whole.len() - whole.len() / 4;
    let mut numbers = StdRng::seed_from_u64(14);
    for round in 0..3000 {
        let (mut bit, mut bytes) = flipped(&whole, &mut numbers);
        // Half of them in the footer, of which most of such a small file is made.
        if round % 2 == 0 && bit / 8 < footer {
            bit = footer * 8 + bit % (whole.len() / 4 * 8);
            bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(path, &bytes).unwrap();
        let error = lab.place.open_verified(path).unwrap_err();
        assert!(groma_lake_store::is_damage(&error), "bit {bit}: {error}");
    }
    // Every byte of the last kilobyte, where the footer's length is.
    for at in whole.len() - 1024..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(path, &bytes).unwrap();
        assert!(lab.place.open_verified(path).is_err(), "byte {at}");
    }
    for length in [0, 1, 11, 12, whole.len() / 2, whole.len() - 1] {
        fs::write(path, &whole[..length]).unwrap();
        assert!(lab.place.open_verified(path).is_err(), "{length} bytes");
    }
}

#[test]
fn a_damaged_live_file_is_not_sealed_and_is_loaded_again_from_its_object() {
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = StdRng::seed_from_u64(15);
    for round in 0..40 {
        let lab = Lab::new(&dir.path().join(round.to_string()));
        fs::create_dir_all(&lab.root).unwrap();
        for object in 0..2 {
            lab.put_with(CLOSED, object, &ids(object * 5, 5), "");
        }
        lab.loader().sweep("").unwrap();
        let path = live(&lab)[1].clone();
        let (bit, bytes) = flipped(&fs::read(&path).unwrap(), &mut numbers);
        fs::write(&path, bytes).unwrap();
        let pass = run(&lab);
        assert_eq!(pass.set_aside, [path], "bit {bit}");
        assert_eq!(lab.ids(CLOSED).len(), 5, "bit {bit}");
        let manifest = format!("sealed/date={CLOSED}/_manifest.json");
        let manifest = fs::read_to_string(lab.table().dir().join(manifest)).unwrap();
        assert!(manifest.contains("\"complete\": false"), "{manifest}");
        let loaded = lab.loader().sweep("").unwrap();
        assert_eq!((loaded.objects, loaded.already), (1, 1));
        run(&lab);
        let found = lab.ids(CLOSED);
        assert!(found.len() == 10 && found.values().all(|count| *count == 1));
        assert_eq!(lab.files("live", CLOSED), [""; 0]);
    }
}

#[test]
fn a_damaged_live_file_without_its_object_stays_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let stem = lab.put_with(CLOSED, 0, &ids(0, 5), "");
    lab.loader().sweep("").unwrap();
    fs::remove_file(lab.object(CLOSED, &stem)).unwrap();
    let path = live(&lab)[0].clone();
    let (_, bytes) = flipped(&fs::read(&path).unwrap(), &mut StdRng::seed_from_u64(1));
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let pass = run(&lab);
        assert_eq!(pass.unreadable, std::slice::from_ref(&path));
        assert_eq!(pass.sealed, 0);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn no_changed_bits_make_a_reader_panic() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    for object in 0..3 {
        lab.put(CLOSED, object, &ids(object * 5, 5));
    }
    lab.loader().sweep("").unwrap();
    run(&lab);
    let table = lab.table().dir();
    let files: Vec<PathBuf> = ["sealed", "keys", "log"]
        .iter()
        .flat_map(|kind| {
            let dir = table.join(kind).join(format!("date={CLOSED}"));
            let names = lab.files(kind, CLOSED).into_iter();
            names.map(move |name| dir.join(name))
        })
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    let mut numbers = StdRng::seed_from_u64(12);
    for path in files {
        let whole = fs::read(&path).unwrap();
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..numbers.random_range(1..4) {
                bytes = flipped(&bytes, &mut numbers).1;
            }
            fs::write(&path, &bytes).unwrap();
            // An error is an answer; only a panic is none.
            let archive = lab.archive();
            let _ = seal(lab.place.clone(), now(), &eager(), Some(&archive));
            let _ = groma_lake::publish_index(lab.place.clone());
            let date = CLOSED.parse().unwrap();
            if let Ok(day) = Day::read(&lab.table(), date) {
                let mut out = Vec::new();
                let _ = export(&lab.place, &day.files, date, Export::Jsonl, &mut out);
            }
        }
        fs::write(&path, &whole).unwrap();
    }
}

/// A lake with a compacted part of four objects, whose date is closed by now.
fn compacted(lab: &Lab) -> (PathBuf, Vec<String>) {
    let stems = (0..4).map(|object| lab.put_with(CLOSED, object, &ids(object * 5, 5), ""));
    let stems = stems.collect();
    lab.loader().sweep("").unwrap();
    let archive = lab.archive();
    let open = format!("{CLOSED}T12:00:00Z").parse().unwrap();
    let pass = seal(lab.place.clone(), open, &eager(), Some(&archive)).unwrap();
    assert_eq!((pass.compacted, pass.sealed), (1, 0));
    (live(lab)[0].clone(), stems)
}

fn damage(path: &PathBuf, seed: u64) {
    let (_, bytes) = flipped(&fs::read(path).unwrap(), &mut StdRng::seed_from_u64(seed));
    fs::write(path, bytes).unwrap();
}

fn assert_once(lab: &Lab, count: usize) {
    let found = lab.ids(CLOSED);
    assert!(
        found.len() == count && found.values().all(|count| *count == 1),
        "{found:?}"
    );
}

fn is_complete(lab: &Lab) -> bool {
    let names = lab.files("sealed", CLOSED).into_iter();
    let last = names
        .filter(|name| name.starts_with("_manifest"))
        .max_by_key(String::len);
    let path = format!("sealed/date={CLOSED}/{}", last.unwrap());
    let text = fs::read_to_string(lab.table().dir().join(path)).unwrap();
    text.contains("\"complete\": true")
}

#[test]
fn a_damaged_compacted_part_is_made_again_from_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..10 {
        let lab = Lab::new(&dir.path().join(seed.to_string()));
        fs::create_dir_all(&lab.root).unwrap();
        let (part, _) = compacted(&lab);
        damage(&part, seed);
        let pass = run(&lab);
        assert_eq!(pass.set_aside, std::slice::from_ref(&part));
        // Without its rows there is nothing to seal, and the wait is reported.
        assert_eq!(run(&lab).unreadable, [part]);
        let loaded = lab.loader().sweep("").unwrap();
        assert_eq!((loaded.objects, loaded.rows), (4, 20));
        assert_eq!(lab.loader().sweep("").unwrap().already, 4);
        let pass = run(&lab);
        assert_eq!((pass.corrected, pass.sealed), (4, 1));
        for _ in 0..2 {
            assert_once(&lab, 20);
            assert!(is_complete(&lab));
            assert_eq!(lab.loader().sweep("").unwrap().already, 4);
            run(&lab);
        }
        for kind in ["live", "corrections", "damaged"] {
            assert_eq!(lab.files(kind, CLOSED), [""; 0], "{kind}");
        }
    }
}

#[test]
fn a_damaged_part_of_which_an_object_is_gone_stays_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let (part, stems) = compacted(&lab);
    fs::remove_file(lab.object(CLOSED, &stems[2])).unwrap();
    damage(&part, 1);
    for _ in 0..2 {
        assert_eq!(run(&lab).unreadable, std::slice::from_ref(&part));
        assert!(part.exists());
    }
}

#[test]
fn an_object_that_was_removed_meanwhile_does_not_come_back_with_a_rebuilt_part() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    let (part, stems) = compacted(&lab);
    damage(&part, 2);
    run(&lab);
    let date = CLOSED.parse().unwrap();
    remove_object(&lab.table(), date, &stems[1], "asked for", &eager()).unwrap();
    let loaded = lab.loader().sweep("").unwrap();
    assert_eq!((loaded.objects, loaded.failed.len()), (3, 1));
    run(&lab);
    assert_once(&lab, 15);
    assert!(!lab.ids(CLOSED).contains_key("id5"));
}

#[test]
fn a_damaged_sealed_part_that_is_to_be_corrected_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    lab.put_with(CLOSED, 0, &ids(0, 5), "");
    let stem = lab.put_with(CLOSED, 1, &ids(5, 5), "");
    let path = lab.object(CLOSED, &stem);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    lab.loader().sweep("").unwrap();
    run(&lab);
    let names = lab.files("sealed", CLOSED);
    let part = names
        .iter()
        .find(|name| name.ends_with(".parquet"))
        .unwrap();
    damage(
        &lab.table()
            .dir()
            .join(format!("sealed/date={CLOSED}/{part}")),
        3,
    );
    fs::write(&path, &whole).unwrap();
    for _ in 0..3 {
        lab.loader().sweep("").unwrap();
        run(&lab);
    }
    assert_once(&lab, 10);
    assert!(is_complete(&lab));
    assert_eq!(lab.files("sealed", CLOSED), names);
}

#[test]
fn every_changed_bit_of_a_log_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new(dir.path());
    lab.put_with(CLOSED, 0, &ids(0, 2), "");
    lab.loader().sweep("").unwrap();
    run(&lab);
    let path = format!("log/date={CLOSED}/000000.json");
    let path = lab.table().dir().join(path);
    let whole = fs::read(&path).unwrap();
    let intact = Day::read(&lab.table(), CLOSED.parse().unwrap()).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        // A changed name of the checksum field does not change the recorded values.
        if let Ok(day) = Day::read(&lab.table(), CLOSED.parse().unwrap()) {
            assert_eq!(format!("{day:?}"), format!("{intact:?}"), "bit {bit}");
        }
    }
}
