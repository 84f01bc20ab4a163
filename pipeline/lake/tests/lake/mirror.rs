//! Copies of a lake, made while it changes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use groma_lake::{LakeError, Table, Wanted, mirror, seal};
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
    let first = mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    assert_eq!((first.files, first.removed), (12, 0));
    assert_eq!(first.copied_bytes, first.size_bytes);
    same(&lab, &copy);
    let again = mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    assert_eq!((again.files, again.copied_bytes), (0, 0));
    seal(lab.place.clone(), now(), &eager(), Some(&lab.archive())).unwrap();
    let sealed = mirror(&lab.place, copy.place.root(), &everything()).unwrap();
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
    let dir = tempfile::tempdir().unwrap();
    let Some(bucket) = crate::support::in_bucket(dir.path()) else {
        return;
    };
    followed_through_its_life(dir.path(), bucket.place.clone());
}

#[test]
fn a_reader_of_the_copy_never_misses_or_doubles_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let done = AtomicBool::new(false);
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for object in 6..60 {
                put(&lab, object);
                lab.loader().sweep("").unwrap();
                seal(lab.place.clone(), now(), &eager(), None).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
                }
            });
        }
        let mut most = 0;
        while !done.load(Ordering::Relaxed) {
            let ids = copy.ids(CLOSED);
            assert!(ids.values().all(|count| *count == 1), "{ids:?}");
            assert!(ids.len() >= most, "{} rows, and {most} before", ids.len());
            most = ids.len();
        }
    });
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    same(&lab, &copy);
}

#[test]
fn only_what_is_asked_for_is_copied_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let all = mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    let of_one_date = Wanted {
        since: Some(OPEN.parse().unwrap()),
        ..everything()
    };
    let one = mirror(&lab.place, copy.place.root(), &of_one_date).unwrap();
    assert_eq!((one.files, one.removed), (0, 6));
    assert!(copy.ids(CLOSED).is_empty() && copy.ids(OPEN).len() == 18);
    let of_others = Wanted {
        tables: vec![("lab".parse().unwrap(), "other1".parse().unwrap())],
        ..everything()
    };
    assert_eq!(
        mirror(&lab.place, copy.place.root(), &of_others)
            .unwrap()
            .size_bytes,
        0
    );
    let too_small = Wanted {
        most_bytes: all.size_bytes - 1,
        ..everything()
    };
    let refused = mirror(&lab.place, copy.place.root(), &too_small).unwrap_err();
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
    let refused = mirror(&lab.place, other.place.root(), &everything()).unwrap_err();
    assert!(matches!(refused, LakeError::NotACopy { .. }), "{refused}");
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    let refused = mirror(&other.place, copy.place.root(), &everything()).unwrap_err();
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
    let damaged = mirror(&lab.place, copy.place.root(), &everything()).unwrap_err();
    assert!(matches!(damaged, LakeError::Damaged { .. }), "{damaged}");
    assert!(copy.files("sealed", CLOSED).is_empty());
    assert_eq!(copy.ids(OPEN), lab.ids(OPEN), "the other date was copied");
    fs::write(&part, whole).unwrap();
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    same(&lab, &copy);
    fs::remove_file(&part).unwrap();
    assert_eq!(
        mirror(&lab.place, copy.place.root(), &everything())
            .unwrap()
            .removed,
        1
    );
    assert!(copy.ids(CLOSED).is_empty());
}

#[test]
fn a_date_and_a_table_that_the_lake_has_no_more_leave_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let withdrawn = Table::new(lab.place.clone(), name("lab"), name("withdrawn"));
    let part = withdrawn.dir().join(format!("live/date={OPEN}/a.parquet"));
    lab.place
        .create(&part, b"rows without checksum PAR1")
        .unwrap();
    let pass = || mirror(&lab.place, copy.place.root(), &everything());
    pass().unwrap();
    let copied = copy.place.root().join("lab/withdrawn/live");
    assert!(copied.join(format!("date={OPEN}/a.parquet")).exists());
    fs::remove_dir_all(withdrawn.dir()).unwrap();
    fs::remove_dir_all(lab.table().dir().join(format!("live/date={CLOSED}"))).unwrap();
    assert_eq!(pass().unwrap().removed, 7);
    assert!(copy.ids(CLOSED).is_empty());
    assert_eq!(copy.ids(OPEN), lab.ids(OPEN));
    assert_eq!(pass().unwrap().removed, 0);
    // Nothing at all is a disk that is not mounted rather than a lake.
    fs::remove_dir_all(lab.place.root()).unwrap();
    pass().unwrap_err();
    fs::create_dir(lab.place.root()).unwrap();
    let refused = pass().unwrap_err();
    assert!(matches!(refused, LakeError::Vanished { .. }), "{refused}");
    assert_eq!(copy.ids(OPEN).len(), 18);
}

fn name(text: &str) -> groma_spool::Name {
    text.parse().unwrap()
}

#[test]
fn a_lake_is_known_by_where_it_is_and_not_by_what_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let other = Lab::with_lake(dir.path(), dir.path().join("other").into());
    other.loader().sweep("").unwrap();
    let link = dir.path().join("link");
    let pass = || mirror(&LakeStore::from(&link), copy.place.root(), &everything());
    std::os::unix::fs::symlink(lab.place.root(), &link).unwrap();
    pass().unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(other.place.root(), &link).unwrap();
    let refused = pass().unwrap_err();
    assert!(matches!(refused, LakeError::NotACopy { .. }), "{refused}");
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
}

#[cfg(feature = "s3")]
#[test]
fn buckets_of_one_name_at_two_keepers_are_two_lakes() {
    use groma_archive::Opening;

    let identity = |endpoint: Option<&str>| {
        let variables = endpoint.map(|url| ("AWS_ENDPOINT_URL".to_owned(), url.to_owned()));
        let opening = Opening {
            variables: variables.into_iter().collect(),
            ..Opening::to_write()
        };
        let lake = LakeStore::open_with("s3://bucket/lake", &opening).unwrap();
        lake.identity().unwrap()
    };
    let [one, other] = ["http://user:word@one:9000", "http://other:9000"]
        .map(Some)
        .map(identity);
    assert!(one != other && one != identity(None), "{one}, {other}");
    assert!(!one.contains("word"), "{one}");
}

#[test]
fn a_lake_is_no_copy_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, _) = labs(dir.path(), dir.path().join("above/lake").into());
    let rows = lab.ids(OPEN);
    let lake = lab.place.root();
    for copy in [lake.to_owned(), lake.join("copy"), dir.path().join("above")] {
        let refused = mirror(&lab.place, &copy, &everything()).unwrap_err();
        assert!(matches!(refused, LakeError::Overlaps { .. }), "{refused}");
    }
    assert!(!lake.join(".mirror-of").exists() && !lake.join("copy").exists());
    assert_eq!(lab.ids(OPEN), rows);
}

#[test]
fn what_a_killed_pass_left_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let (lab, copy) = labs(dir.path(), dir.path().join("lake").into());
    let left = copy.place.root().join(".tmp/1-2-3");
    copy.place.create(&left, b"half a part").unwrap();
    mirror(&lab.place, copy.place.root(), &everything()).unwrap();
    assert!(!left.exists());
}
