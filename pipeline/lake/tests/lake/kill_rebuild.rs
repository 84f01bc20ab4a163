//! Sealers and loaders that are killed while they make a damaged compacted part again from its objects.

use std::ops::Range;
use std::time::Duration;

use groma_lake::{Pass, seal};

use crate::kill::spawn;
use crate::support::{CLOSED, Lab, eager, now};

const OBJECTS: usize = 4;
const ROWS: usize = 5;

/// Damages the part of a date that has closed since, then kills and restarts sealers and loaders.
fn rebuild(lab: &Lab, variables: &[(String, String)], kills: usize, pause_ms: Range<u64>) {
    for object in 0..OBJECTS {
        let ids: Vec<String> = (0..ROWS).map(|row| format!("{object}-{row}")).collect();
        lab.put(CLOSED, object, &ids);
    }
    assert_eq!(lab.loader().sweep("").unwrap().objects, OBJECTS as u64);
    let archive = lab.archive();
    let open = format!("{CLOSED}T12:00:00Z").parse().unwrap();
    let pass = seal(lab.place.clone(), open, &eager(), Some(&archive)).unwrap();
    assert_eq!(pass.compacted, 1);
    let names = lab.files("live", CLOSED);
    let [part] = &names[..] else {
        panic!("{names:?}");
    };
    let path = lab.table().dir().join(format!("live/date={CLOSED}/{part}"));
    let mut bytes = lab.place.read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    lab.place.replace(&path, &bytes).unwrap();

    let roles = ["seal", "load", "seal", "load"];
    let mut children = roles.map(|role| spawn(lab, role, variables));
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(rand::random_range(pause_ms.clone())));
        let victim = kill % roles.len();
        let ended = children[victim].try_wait().unwrap();
        assert_eq!(ended, None, "{} ended by itself", roles[victim]);
        children[victim].kill().unwrap();
        children[victim].wait().unwrap();
        children[victim] = spawn(lab, roles[victim], variables);
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let mut pass = Pass::default();
    for _ in 0..4 {
        let swept = lab.loader().sweep("").unwrap();
        assert!(swept.failed.is_empty(), "{:?}", swept.failed);
        pass = seal(lab.place.clone(), now(), &eager(), Some(&archive)).unwrap();
    }
    assert_eq!(pass, Pass::default(), "nothing is left to do");
    let found = lab.ids(CLOSED);
    assert_eq!(found.len(), OBJECTS * ROWS);
    assert!(found.values().all(|count| *count == 1), "{found:?}");
    for kind in ["live", "corrections", "damaged"] {
        assert_eq!(lab.files(kind, CLOSED), [""; 0], "{kind}");
    }
}

#[test]
fn killed_while_a_damaged_part_is_made_again_no_row_is_lost_or_doubled() {
    for round in 0..15 {
        let dir = tempfile::tempdir().unwrap();
        // From kills in the first steps to kills after the last.
        let longest_ms = 10 + round * 8;
        rebuild(&Lab::new(dir.path()), &[], 16, 2..longest_ms);
    }
}

#[cfg(feature = "s3")]
#[test]
fn killed_on_a_bucket_while_a_damaged_part_is_made_again_no_row_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bucket) = crate::support::in_bucket(dir.path()) else {
        return;
    };
    let lab = Lab::with_lake(dir.path(), bucket.place.clone());
    rebuild(&lab, &bucket.variables, 16, 20..700);
}
