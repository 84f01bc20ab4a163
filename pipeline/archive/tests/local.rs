//! The directory archive keeps the promises of `Store`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use groma_archive::{LocalStore, Put, Store, StoreError};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn store() -> (TempDir, LocalStore) {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("archive")).unwrap();
    (dir, store)
}

fn body(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn read(store: &LocalStore, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn put_once_never_replaced() {
    let (dir, store) = store();
    let first = body(dir.path(), "1", b"first");
    let second = body(dir.path(), "2", b"second");
    assert_eq!(store.stat("a/b/c").unwrap(), None);
    assert_eq!(store.put_new("a/b/c", &first).unwrap(), Put::Created);
    assert_eq!(store.put_new("a/b/c", &second).unwrap(), Put::Exists);
    assert_eq!(read(&store, "a/b/c"), b"first");
    let stat = store.stat("a/b/c").unwrap().unwrap();
    assert_eq!(stat.size_bytes, 5);
    assert_eq!(stat.sha256, Some(Sha256::digest(b"first").into()));
    assert!(first.exists(), "the body stays the caller's");
    assert_eq!(fs::read_dir(store.root().join(".tmp")).unwrap().count(), 0);
}

#[test]
fn of_many_that_race_one_wins() {
    let (dir, store) = store();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let (store, barrier) = (store.clone(), Arc::clone(&barrier));
            let path = body(
                dir.path(),
                &n.to_string(),
                n.to_string().repeat(100_000).as_bytes(),
            );
            std::thread::spawn(move || {
                barrier.wait();
                (n, store.put_new("x/y", &path).unwrap())
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let winners: Vec<_> = results
        .iter()
        .filter(|(_, put)| *put == Put::Created)
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(
        read(&store, "x/y"),
        winners[0].0.to_string().repeat(100_000).as_bytes()
    );
}

#[test]
fn list_is_sorted_by_text_prefix_and_hides_its_own() {
    let (dir, store) = store();
    let path = body(dir.path(), "b", b"x");
    for name in [
        "b/2",
        "a/2020/01/02/z",
        "a/2020/01/02/y",
        "a/2020/01/03/x",
        "a/2021/q",
        "top",
    ] {
        store.put_new(name, &path).unwrap();
    }
    symlink("/etc/passwd", store.root().join("a/link")).unwrap();
    fs::write(store.root().join("a/.hidden"), b"x").unwrap();
    let cases: [(&str, &[&str]); 8] = [
        (
            "",
            &[
                "a/2020/01/02/y",
                "a/2020/01/02/z",
                "a/2020/01/03/x",
                "a/2021/q",
                "b/2",
                "top",
            ],
        ),
        (
            "a/2020/01/0",
            &["a/2020/01/02/y", "a/2020/01/02/z", "a/2020/01/03/x"],
        ),
        ("a/2020/01/02/", &["a/2020/01/02/y", "a/2020/01/02/z"]),
        ("a/2021/q", &["a/2021/q"]),
        ("t", &["top"]),
        ("nothing/here", &[]),
        ("../", &[]),
        (".tmp/", &[]),
    ];
    for (prefix, expected) in cases {
        assert_eq!(store.list(prefix).unwrap(), expected, "{prefix:?}");
    }
}

#[test]
fn a_size_is_told_without_reading() {
    let (_dir, store) = store();
    assert_eq!(store.size("large").unwrap(), None);
    // A file of nothing but holes; to read it would take many minutes.
    let size_bytes = 1 << 40;
    let file = fs::File::create(store.root().join("large")).unwrap();
    file.set_len(size_bytes).unwrap();
    assert_eq!(store.size("large").unwrap(), Some(size_bytes));
}

#[test]
fn names_and_links_do_not_lead_out() {
    let (dir, store) = store();
    let path = body(dir.path(), "b", b"x");
    for name in ["../out", "/etc/x", "a/../../x", "", ".tmp/x"] {
        assert!(
            matches!(store.put_new(name, &path), Err(StoreError::Name { .. })),
            "{name:?}"
        );
        assert!(
            matches!(store.stat(name), Err(StoreError::Name { .. })),
            "{name:?}"
        );
        assert!(store.open(name).is_err(), "{name:?}");
    }
    symlink(&path, store.root().join("link")).unwrap();
    assert_eq!(store.stat("link").unwrap(), None);
    assert!(store.open("link").is_err());
    assert_eq!(store.put_new("link", &path).unwrap(), Put::Exists);
}

#[test]
fn opening_clears_the_dead_and_spares_the_living() {
    let (_dir, store) = store();
    let tmp = store.root().join(".tmp");
    fs::write(tmp.join("1-0"), b"half").unwrap();
    let living = fs::File::create(tmp.join("2-0")).unwrap();
    rustix::fs::flock(&living, rustix::fs::FlockOperation::LockExclusive).unwrap();
    LocalStore::open(store.root()).unwrap();
    assert!(!tmp.join("1-0").exists());
    assert!(tmp.join("2-0").exists());
}

#[test]
fn a_failed_put_leaves_nothing() {
    let (dir, store) = store();
    assert!(store.put_new("a/b", &dir.path().join("missing")).is_err());
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(store.root().join(".tmp")).unwrap().count(), 0);
}

#[test]
fn urls_are_absolute_and_escaped() {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("a b")).unwrap();
    let root = dir.path().canonicalize().unwrap();
    assert_eq!(
        store.url("x/20200318T003853.4Z.tgz"),
        format!("file://{}/a%20b/x/20200318T003853.4Z.tgz", root.display())
    );
}
