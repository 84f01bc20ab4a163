//! Buckets keep the promises of `Store`, against stores of other people.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use groma_archive::{Opening, Put, Store, StoreError, open};
use groma_tests::stores::{Kind, ObjectStore};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const KINDS: &[Kind] = &[
    #[cfg(feature = "s3")]
    Kind::Moto,
    #[cfg(feature = "gcs")]
    Kind::FakeGcs,
];

struct Peer {
    dir: TempDir,
    server: ObjectStore,
}

impl Peer {
    fn start(kind: Kind) -> Option<Peer> {
        let dir = TempDir::new().unwrap();
        let server = ObjectStore::start(kind, &dir.path().join("store"))?;
        Some(Peer { dir, server })
    }

    fn opening(&self) -> Opening {
        Opening {
            variables: self.server.variables(self.server.address()),
            ..Opening::to_write()
        }
    }

    fn open(&self, below: &str) -> Box<dyn Store> {
        open(&format!("{}{below}", self.server.url()), &self.opening()).unwrap()
    }

    fn body(&self, name: &str, bytes: &[u8]) -> PathBuf {
        body(self.dir.path(), name, bytes)
    }
}

fn body(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn read(store: &dyn Store, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn put_once_never_replaced() {
    for peer in KINDS.iter().filter_map(|&kind| Peer::start(kind)) {
        for below in ["", "/some/prefix"] {
            let store = peer.open(below);
            let first = peer.body("1", b"first");
            let second = peer.body("2", b"second");
            assert_eq!(store.stat("a/b/c").unwrap(), None);
            assert_eq!(store.put_new("a/b/c", &first).unwrap(), Put::Created);
            let stat = store.stat("a/b/c").unwrap().unwrap();
            assert_eq!(stat.size_bytes, 5);
            // The bucket confirmed the MD5 of the object, so that it need not be read again.
            assert_eq!(stat.sha256, Some(Sha256::digest(b"first").into()));
            assert_eq!(store.put_new("a/b/c", &second).unwrap(), Put::Exists);
            assert_eq!(read(&*store, "a/b/c"), b"first");
            let other = peer.open(below);
            assert_eq!(other.put_new("a/b/c", &first).unwrap(), Put::Exists);
            // For an object of another process only the size is known.
            let sha256 = other.stat("a/b/c").unwrap().map(|stat| stat.sha256);
            assert_eq!(sha256, Some(None));
            assert_eq!(other.list("").unwrap(), ["a/b/c"], "the probe is not seen");
            assert_eq!(
                other.url("a/b/c"),
                format!("{}{below}/a/b/c", peer.server.url())
            );
            assert!(store.open("a/b/d").is_err());
        }
    }
}

#[test]
fn of_many_that_race_one_wins() {
    for peer in KINDS.iter().filter_map(|&kind| Peer::start(kind)) {
        let barrier = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|n: u32| {
                let (store, barrier) = (peer.open(""), Arc::clone(&barrier));
                let path = peer.body(&n.to_string(), n.to_string().repeat(100_000).as_bytes());
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
        assert_eq!(winners.len(), 1, "{results:?}");
        let held = read(&*peer.open(""), "x/y");
        assert_eq!(held, winners[0].0.to_string().repeat(100_000).as_bytes());
    }
}

#[test]
fn large_bodies_pass_whole() {
    for peer in KINDS.iter().filter_map(|&kind| Peer::start(kind)) {
        let bytes: Vec<u8> = (0..20_000_003_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let store = peer.open("");
        let path = peer.body("large", &bytes);
        assert_eq!(store.put_new("large", &path).unwrap(), Put::Created);
        assert_eq!(
            store.stat("large").unwrap().unwrap().size_bytes,
            bytes.len() as u64
        );
        assert!(read(&*store, "large") == bytes);
        let empty = peer.body("empty", b"");
        assert_eq!(store.put_new("empty", &empty).unwrap(), Put::Created);
        assert_eq!(read(&*store, "empty"), b"");
    }
}

#[test]
fn lists_go_by_text_and_over_pages() {
    for peer in KINDS.iter().filter_map(|&kind| Peer::start(kind)) {
        let store = peer.open("/below");
        let path = peer.body("b", b"x");
        let names = [
            "a/2020/01/02/y",
            "a/2020/01/02/z+ 1",
            "a/2020/01/03/x",
            "b=2/é",
            "top",
        ];
        for name in names.iter().rev() {
            assert_eq!(store.put_new(name, &path).unwrap(), Put::Created, "{name}");
            assert_eq!(read(&*store, name), b"x", "{name}");
        }
        let cases: [(&str, &[&str]); 5] = [
            ("", &names),
            ("a/2020/01/0", &names[..3]),
            ("a/2020/01/02/", &names[..2]),
            ("t", &names[4..]),
            ("nothing/here", &[]),
        ];
        for (prefix, expected) in cases {
            assert_eq!(store.list(prefix).unwrap(), expected, "{prefix:?}");
        }
        assert_eq!(peer.open("").list("below/t").unwrap(), ["below/top"]);
        for name in ["../out", "/x", "", ".groma/create-only"] {
            let refused = store.put_new(name, &path);
            assert!(matches!(refused, Err(StoreError::Name { .. })), "{name:?}");
        }
    }
}

/// A real store that ignores `If-None-Match`.
#[cfg(feature = "s3")]
#[test]
fn a_store_that_overwrites_is_refused_unless_allowed() {
    let Some(peer) = Peer::start(Kind::Rclone) else {
        return;
    };
    let (first, second) = (peer.body("1", b"first"), peer.body("2", b"second"));
    let strict = peer.open("");
    for refused in [strict.probe().err(), strict.put_new("a", &first).err()] {
        assert!(
            matches!(refused, Some(StoreError::Overwrites { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(strict.list("").unwrap(), Vec::<String>::new());
    let opening = Opening {
        weak: true,
        ..peer.opening()
    };
    let weak = open(&peer.server.url(), &opening).unwrap();
    weak.probe().unwrap();
    assert_eq!(weak.put_new("a", &first).unwrap(), Put::Created);
    assert_eq!(weak.put_new("a", &second).unwrap(), Put::Exists);
    assert_eq!(read(&*weak, "a"), b"first");
}
