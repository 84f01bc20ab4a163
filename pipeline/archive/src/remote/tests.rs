//! The meaning of a bucket's answers, for every provider.

use std::collections::BTreeMap;
use std::io;

use super::*;

/// A provider that answers conditional puts in its own way.
struct Keeper {
    /// The status of such a put, by the number of those before; 200 replaces.
    status: fn(usize) -> u16,
    puts: Mutex<(usize, BTreeMap<String, u64>)>,
}

impl Remote for Keeper {
    fn put(&self, key: &str, body: &Body, condition: bool) -> Result<Answer, Failure> {
        let mut puts = self.puts.lock().unwrap();
        let (number, objects) = &mut *puts;
        let status = if condition {
            (self.status)(*number)
        } else {
            200
        };
        *number += usize::from(condition);
        if status == 200 {
            objects.insert(key.to_owned(), body.size_bytes);
            return Ok(Answer::Created(None));
        }
        let status = StatusCode::from_u16(status).unwrap();
        Answer::of_refusal(status, Failure::new(status.to_string()))
    }

    fn head(&self, key: &str) -> Result<Option<Held>, Failure> {
        let size_bytes = self.puts.lock().unwrap().1.get(key).copied();
        Ok(size_bytes.map(|size_bytes| Held {
            size_bytes,
            tag: None,
            sha256: None,
        }))
    }

    fn get(&self, _: &str) -> Result<Box<dyn Read + Send>, Failure> {
        Ok(Box::new(io::empty()))
    }

    fn list(&self, _: &str) -> Result<Vec<String>, Failure> {
        let odd = ["below/a//b", "below/../x", "below/ndt/", "below/ndt/x", "x"];
        Ok(odd.map(str::to_owned).into())
    }

    fn url(&self, key: &str) -> String {
        key.to_owned()
    }
}

fn store(status: fn(usize) -> u16, allow_weak: bool) -> BucketStore<Keeper> {
    let puts = Mutex::default();
    BucketStore::new(Keeper { status, puts }, "below", allow_weak)
}

fn put(store: &BucketStore<Keeper>) -> Result<Put, StoreError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    store.put_new("a", file.path())
}

#[test]
fn only_a_failed_condition_proves_create_only() {
    for (status, allow_weak, expected) in [
        (
            (|_| 412) as fn(usize) -> u16,
            false,
            Some(Strength::CreateOnly),
        ),
        (|n| [200, 412][n], false, Some(Strength::CreateOnly)),
        (|_| 200, false, Some(Strength::Overwrites)),
        (|_| 409, false, None),
        (|_| 409, true, None),
        (|n| [200, 409][n], true, None),
        (|_| 503, true, None),
        (|_| 501, false, None),
        (|_| 501, true, Some(Strength::Refuses)),
        (|_| 400, true, Some(Strength::Refuses)),
        // A refusal that had another cause.
        (|n| [400, 412][n], true, Some(Strength::CreateOnly)),
    ] {
        let store = store(status, allow_weak);
        let label = format!("{} {}, weak {allow_weak}", status(0), status(1));
        assert_eq!(store.strength().ok(), expected, "{label}");
    }
}

#[test]
fn a_conflict_is_a_failure_that_passes() {
    let store = store(|n| [412, 409, 412][n], false);
    assert!(matches!(put(&store), Err(StoreError::Remote { .. })));
    assert_eq!(put(&store).unwrap(), Put::Exists);
}

#[test]
fn a_store_that_knows_no_condition_is_not_told_one() {
    let strict = put(&store(|_| 501, false)).unwrap_err().to_string();
    assert!(strict.contains("--weak-store"), "{strict}");
    let weak = store(|_| 501, true);
    assert_eq!(put(&weak).unwrap(), Put::Created);
    assert_eq!(put(&weak).unwrap(), Put::Exists);
    assert_eq!(weak.remote.puts.lock().unwrap().0, 2, "only to try it");
}

#[test]
fn keys_that_are_no_names_are_left_out() {
    assert_eq!(store(|_| 412, false).list("").unwrap(), ["ndt/x"]);
}
