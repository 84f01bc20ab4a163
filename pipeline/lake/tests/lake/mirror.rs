//! Copies of a lake, made while it changes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_lake::{LakeError, Wanted, mirror, seal};
use groma_lake_store::LakeStore;

use crate::support::{CLOSED, Lab, OPEN, eager, now};

fn everything() -> Wanted {
    Wanted {
        tables: Vec::new(),
        since: None,
        until: None,
        most_bytes: u64::MAX,
        linger: Duration::ZERO,
    }
}

/// A lab with objects of both dates, loaded, and one that reads the copy of its lake.
fn labs(dir: &Path, place: LakeStore) -> (Lab, Lab) {
    let lab = Lab::with_lake(dir, place);
    for object in 0..6 {
        put(&lab, object);
    }
    lab.loader().sweep("").unwrap();
    let copy = Lab::with_lake(dir, dir.join("copy").into());
    (lab, copy)
}

fn put(lab: &Lab, object: usize) {
    for date in [CLOSED, OPEN] {
        let ids: Vec<String> = (0..3).map(|row| format!("{date}-{object}-{row}")).collect();
        lab.put(date, object, &ids);
    }
}

fn same(lab: &Lab, copy: &Lab) {
    for date in [CLOSED, OPEN] {
        let ids = copy.ids(date);
        assert!(!ids.is_empty() && ids.values().all(|count| *count == 1));
        assert_eq!(ids, lab.ids(date));
    }
}

fn followed_through_its_life(dir: &Path, place: LakeStore) {
    let (lab, copy) = labs(dir, place);
    let first = mirror(&lab.place, &copy.place, &everything()).unwrap();
    assert_eq!((first.files, first.removed), (12, 0));
    assert_eq!(first.copied_bytes, first.size_bytes);
    same(&lab, &copy);
    let again = mirror(&lab.place, &copy.place, &everything()).unwrap();
    assert_eq!((again.files, again.copied_bytes), (0, 0));
    seal(lab.place.clone(), now(), &eager(), Some(&lab.archive())).unwrap();
    let sealed = mirror(&lab.place, &copy.place, &everything()).unwrap();
    assert_eq!(sealed.removed, 12, "six became a part, six were compacted");
    same(&lab, &copy);
    for kind in ["live", "sealed", "log", "keys"] {
        for date in [CLOSED, OPEN] {
            assert_eq!(copy.files(kind, date), lab.files(kind, date), "{kind}");
        }
    }
}

#[test]
fn a_copy_follows_the_lake() {
    let dir = tempfile::tempdir().unwrap();
    followed_through_its_life(dir.path(), dir.path().join("lake").into());
}

#[cfg(feature = "s3")]
#[test]
fn a_copy_follows_a_bucket() {
    use groma_archive::Opening;
    use groma_tests::stores::{Kind, ObjectStore};

    let dir = tempfile::tempdir().unwrap();
    let Some(server) = ObjectStore::start(Kind::Moto, &dir.path().join("store")) else {
        return;
    };
    let opening = Opening {
        variables: server.variables(server.address()),
        ..Opening::to_write()
    };
    let place = LakeStore::open_with(&format!("{}/a/lake", server.url()), &opening).unwrap();
    followed_through_its_life(dir.path(), place);
}

#[test]
fn a_reader_of_the_copy_never_misses_or_doubles_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let done = AtomicBool::new(false);
    mirror(&lab.place, &copy.place, &everything()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for object in 6..60 {
                put(&lab, object);
                lab.loader().sweep("").unwrap();
                seal(lab.place.clone(), now(), &eager(), None).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                mirror(&lab.place, &copy.place, &everything()).unwrap();
            }
        });
        let mut most = 0;
        while !done.load(Ordering::Relaxed) {
            let ids = copy.ids(CLOSED);
            assert!(ids.values().all(|count| *count == 1), "{ids:?}");
            assert!(ids.len() >= most, "{} rows, and {most} before", ids.len());
            most = ids.len();
        }
    });
    mirror(&lab.place, &copy.place, &everything()).unwrap();
    same(&lab, &copy);
}

#[test]
fn only_what_is_asked_for_is_copied_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let all = mirror(&lab.place, &copy.place, &everything()).unwrap();
    let of_one_date = Wanted {
        since: Some(OPEN.parse().unwrap()),
        ..everything()
    };
    let one = mirror(&lab.place, &copy.place, &of_one_date).unwrap();
    assert_eq!((one.files, one.removed), (0, 6));
    assert!(copy.ids(CLOSED).is_empty() && copy.ids(OPEN).len() == 18);
    let of_others = Wanted {
        tables: vec![("lab".parse().unwrap(), "other1".parse().unwrap())],
        ..everything()
    };
    assert_eq!(
        mirror(&lab.place, &copy.place, &of_others)
            .unwrap()
            .size_bytes,
        0
    );
    let too_small = Wanted {
        most_bytes: all.size_bytes - 1,
        ..everything()
    };
    let refused = mirror(&lab.place, &copy.place, &too_small).unwrap_err();
    assert!(
        matches!(refused, LakeError::TooLarge { size_bytes, .. } if size_bytes == all.size_bytes)
    );
    assert!(copy.ids(CLOSED).is_empty(), "nothing was copied");
}

#[test]
fn another_lake_is_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let other = Lab::with_lake(dir.path(), dir.path().join("other").into());
    other.loader().sweep("").unwrap();
    let refused = mirror(&lab.place, &other.place, &everything()).unwrap_err();
    assert!(matches!(refused, LakeError::NotACopy { .. }), "{refused}");
    mirror(&lab.place, &copy.place, &everything()).unwrap();
    let refused = mirror(&other.place, &copy.place, &everything()).unwrap_err();
    assert!(matches!(refused, LakeError::NotACopy { .. }), "{refused}");
    same(&lab, &copy);
}

#[test]
fn what_is_withdrawn_goes_and_a_damaged_part_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    seal(lab.place.clone(), now(), &eager(), None).unwrap();
    let sealed = lab.table().dir().join(format!("sealed/date={CLOSED}"));
    let part = sealed.join("part-000000-0.parquet");
    let whole = fs::read(&part).unwrap();
    fs::write(&part, [&whole[..], b"?"].concat()).unwrap();
    let damaged = mirror(&lab.place, &copy.place, &everything()).unwrap_err();
    assert!(matches!(damaged, LakeError::Damaged { .. }), "{damaged}");
    assert!(copy.files("sealed", CLOSED).is_empty());
    fs::write(&part, whole).unwrap();
    mirror(&lab.place, &copy.place, &everything()).unwrap();
    same(&lab, &copy);
    fs::remove_file(&part).unwrap();
    assert_eq!(
        mirror(&lab.place, &copy.place, &everything())
            .unwrap()
            .removed,
        1
    );
    assert!(copy.ids(CLOSED).is_empty());
}
