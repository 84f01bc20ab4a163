//! Loads of one object under two dates at the same moment.

use std::sync::Barrier;

use groma_load::LoadError;

use crate::support::{CLOSED, Lab};

const ASKED: &str = "2001-02-03";
const OBJECTS: usize = 24;

#[test]
fn an_object_gets_rows_under_one_date() {
    let dir = tempfile::tempdir().unwrap();
    race(&Lab::new(dir.path()));
}

#[cfg(feature = "s3")]
#[test]
fn an_object_gets_rows_under_one_date_in_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bucket) = crate::support::in_bucket(dir.path()) else {
        return;
    };
    race(&Lab::with_lake(dir.path(), bucket.place.clone()));
}

/// Two loaders take each object at once, one of them for another date; which of the two it gets does not matter.
fn race(lab: &Lab) {
    let ids: Vec<String> = (0..OBJECTS).map(|object| format!("id-{object}")).collect();
    let stems = ids
        .iter()
        .enumerate()
        .map(|(number, id)| lab.put(CLOSED, number, std::slice::from_ref(id)));
    let folder = format!("autoload/v1/lab/probe1/{}", CLOSED.replace('-', "/"));
    let names: Vec<String> = stems
        .map(|stem| format!("{folder}/{stem}.jsonl.gz"))
        .collect();
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for date in [None, Some(ASKED.parse().unwrap())] {
            let (start, names) = (&start, &names);
            scope.spawn(move || {
                let loader = lab.loader();
                for name in names {
                    start.wait();
                    let loaded = loader.load_object(name, date);
                    let is_refused = matches!(loaded, Err(LoadError::OtherDate { .. }));
                    assert!(loaded.is_ok() || is_refused && date.is_some(), "{loaded:?}");
                }
            });
        }
    });
    let (own, asked) = (lab.ids(CLOSED), lab.ids(ASKED));
    for id in &ids {
        let count = |found: &std::collections::BTreeMap<String, u32>| {
            found.get(id).copied().unwrap_or_default()
        };
        assert_eq!(count(&own) + count(&asked), 1, "{id}");
    }
}
