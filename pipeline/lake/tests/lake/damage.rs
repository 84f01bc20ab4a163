//! Files of a lake with changed bits: each change is found, none is sealed, and no reader panics.

use std::fs;
use std::path::PathBuf;

use groma_lake::{Day, Pass, seal};
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
