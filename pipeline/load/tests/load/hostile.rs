//! Objects that are damaged, cut, inflated or up to something.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use groma_archive::{Put, Stat, Store, StoreError};
use groma_load::{Limits, LoadError};

use crate::support::{Lab, PROBE_OBJECT, errors, gzip, loader_of, rows, tar};

const GOOD: &[u8] = br#"{"Count": 1}"#;

/// Loads one object and gives rows, errors, skipped, and the error list.
fn load(body: &[u8]) -> ((u64, u64, u64), Vec<(String, String)>) {
    load_within(body, Limits::default())
}

fn load_within(body: &[u8], limits: Limits) -> ((u64, u64, u64), Vec<(String, String)>) {
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, body);
    let loaded = lab
        .loader()
        .with_limits(limits)
        .load_object(PROBE_OBJECT, None)
        .unwrap();
    assert_eq!(rows(&loaded.path).len() as u64, loaded.rows);
    let list = if loaded.errors == 0 {
        Vec::new()
    } else {
        errors(&lab.lake(), PROBE_OBJECT)
    };
    assert_eq!(list.len() as u64, loaded.errors);
    let list = list
        .into_iter()
        .map(|(member, _, reason)| (member, reason))
        .collect();
    ((loaded.rows, loaded.errors, loaded.skipped), list)
}

#[test]
fn one_bad_member_does_not_stop_the_others() {
    let mut flipped = gzip(GOOD);
    let trailer = flipped.len() - 5;
    flipped[trailer] ^= 0xff;
    let body = tar(&[
        ("a.json", GOOD),
        ("text.json", b"{\"Count\": "),
        ("type.json", br#"{"Count": "many"}"#),
        ("null.json", b"null"),
        ("empty.json", b""),
        ("utf8.json", b"{\"UUID\": \"\xff\"}"),
        ("deep.json", &vec![b'['; 100_000]),
        ("crc.json.gz", &flipped),
        ("plain.json.gz", GOOD),
        ("z.json", GOOD),
    ]);
    let (counts, list) = load(&gzip(&body));
    assert_eq!(counts, (2, 8, 0));
    let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
    // Members that cannot be parsed come before those that only the batch refuses.
    let expected = [
        "text.json",
        "type.json",
        "null.json",
        "empty.json",
        "utf8.json",
        "deep.json",
        "crc.json.gz",
        "plain.json.gz",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        list[1].1,
        "raw.Count: expected a 64-bit integer, found \"many\""
    );
}

#[test]
fn a_cut_archive_gives_the_rows_before_the_cut() {
    let noise: Vec<u8> = (0..40_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let body = gzip(&tar(&[
        ("a.json", GOOD),
        ("b.json", GOOD),
        ("c.json", &noise),
    ]));
    let (counts, list) = load(&body[..body.len() / 2]);
    assert_eq!(counts, (2, 1, 0));
    assert_eq!(
        list[0],
        ("c.json".to_owned(), "archive is truncated".to_owned())
    );
}

#[test]
fn wherever_the_cut_is_nothing_is_lost_unsaid() {
    let body = gzip(&tar(&[("a.json", GOOD), ("b.json", GOOD)]));
    for cut in (0..body.len()).step_by(7) {
        let ((rows, errors, skipped), _) = load(&body[..cut]);
        assert_eq!((errors, skipped), (1, 0), "cut at {cut}");
        assert!(rows <= 2);
    }
}

#[test]
fn no_flipped_bit_makes_it_panic_or_silent() {
    let body = tar(&[("a.json", GOOD), ("b.json.gz", &gzip(GOOD))]);
    for at in (0..body.len()).step_by(97) {
        let mut flipped = body.clone();
        flipped[at] ^= 0x55;
        load(&gzip(&flipped));
    }
    let packed = gzip(&body);
    for at in (10..packed.len()).step_by(5) {
        let mut flipped = packed.clone();
        flipped[at] ^= 0x55;
        let ((_, errors, _), _) = load(&flipped);
        assert!(errors >= 1, "the checksum of gzip covers byte {at}");
    }
}

#[test]
fn bombs_are_entries() {
    let limits = Limits {
        member_bytes: 1 << 20,
        member_values: 1000,
        ..Limits::default()
    };
    let zeros = vec![b' '; 8 << 20];
    let many = format!(r#"{{"Hops": [{}{{}}]}}"#, "{},".repeat(2000));
    let body = tar(&[
        ("inflates.json.gz", &gzip(&zeros)),
        ("large.json", &zeros),
        ("many.json", many.as_bytes()),
        ("a.json", GOOD),
    ]);
    let (counts, list) = load_within(&gzip(&body), limits);
    assert_eq!(counts, (1, 3, 0));
    assert_eq!(list[0].1, "inflated member is larger than 1048576 bytes");
    assert_eq!(
        list[1].1,
        "member of 8388608 bytes is larger than 1048576 bytes"
    );
    assert_eq!(list[2].1, "raw.Hops: too many records in one measurement");
}

#[test]
fn an_extension_header_without_end_is_damage() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(64 << 20);
    header.set_cksum();
    builder
        .append(&header, io::repeat(b'1').take(64 << 20))
        .unwrap();
    let (counts, list) = load(&gzip(&builder.into_inner().unwrap()));
    assert_eq!(counts, (0, 1, 0));
    assert_eq!(list[0].1, "extension header is larger than 1048576 bytes");
}

#[test]
fn names_and_links_lead_nowhere() {
    let mut builder = tar::Builder::new(tar(&[
        ("../../../../tmp/x.json", GOOD),
        ("/etc/y.json", GOOD),
    ]));
    // Overwrite the end marks of the inner tar, so that the link follows the members.
    let inner = builder.get_mut();
    inner.truncate(inner.len() - 1024);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_path("z.json").unwrap();
    header.set_link_name("/etc/passwd").unwrap();
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, io::empty()).unwrap();
    let lab = Lab::new();
    lab.put(PROBE_OBJECT, &gzip(&builder.into_inner().unwrap()));
    let loaded = lab.loader().load_object(PROBE_OBJECT, None).unwrap();
    assert_eq!((loaded.rows, loaded.errors, loaded.skipped), (2, 0, 1));
    let names: Vec<_> = rows(&loaded.path)
        .iter()
        .map(|row| row["archiver"]["Filename"].clone())
        .collect();
    assert_eq!(names, ["../../../../tmp/x.json", "/etc/y.json"]);
    assert!(!Path::new("/tmp/x.json").exists());
}

#[test]
fn what_is_no_object_of_rows_is_refused() {
    let lab = Lab::new();
    for name in [
        "autoload/v1/lab/index1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab-index1.jsonl.gz",
        "autoload/v1/tables/lab/probe1.table.json",
        "lab/other1/2024/05/06/20240506T070809.000000Z-other1-mlab1-lga0t-lab.tgz",
        "../../etc/passwd",
    ] {
        let error = lab.loader().load_object(name, None).unwrap_err();
        assert!(error.is_permanent(), "{error}");
    }
    let missing = lab.loader().load_object(PROBE_OBJECT, None).unwrap_err();
    assert!(!missing.is_permanent(), "{missing}");
}

/// A store whose transfer fails after a number of bytes, with an error or by just ending.
struct Flaky {
    body: Vec<u8>,
    transferred: usize,
    error: bool,
}

impl Store for Flaky {
    fn put_new(&self, _: &str, _: &Path) -> Result<Put, StoreError> {
        Ok(Put::Exists)
    }
    fn stat(&self, _: &str) -> Result<Option<Stat>, StoreError> {
        let size_bytes = self.body.len() as u64;
        Ok(Some(Stat {
            size_bytes,
            sha256: None,
        }))
    }
    fn open(&self, _: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let bytes = io::Cursor::new(self.body[..self.transferred].to_vec());
        Ok(if self.error {
            Box::new(bytes.chain(Fails))
        } else {
            Box::new(bytes)
        })
    }
    fn list(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Ok(vec![PROBE_OBJECT.to_owned()])
    }
    fn url(&self, name: &str) -> String {
        format!("test://{name}")
    }
}

/// A store that does not know sizes, and records its requests.
struct Untold {
    body: Vec<u8>,
    asked: Mutex<Vec<&'static str>>,
}

impl Store for Untold {
    fn put_new(&self, _: &str, _: &Path) -> Result<Put, StoreError> {
        Ok(Put::Exists)
    }
    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.asked.lock().unwrap().push("stat");
        Err(StoreError::Remote {
            operation: "stat",
            name: name.to_owned(),
            reason: "the server does not tell the size".to_owned(),
        })
    }
    fn open(&self, _: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.asked.lock().unwrap().push("open");
        Ok(Box::new(io::Cursor::new(self.body.clone())))
    }
    fn list(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    fn url(&self, name: &str) -> String {
        format!("test://{name}")
    }
}

#[test]
fn progress_is_no_reason_to_fail_and_asks_nothing_where_nobody_looks() {
    // Larger than the step of progress reports, also compressed.
    let member = [GOOD, vec![b' '; 2 << 20].as_slice()].concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    io::Write::write_all(&mut encoder, &tar(&[("a.json", &member)])).unwrap();
    let store = Arc::new(Untold {
        body: encoder.finish().unwrap(),
        asked: Mutex::default(),
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let lab = Lab::new();
    let silent = loader_of(store.clone(), lab.lake());
    silent.load_object(PROBE_OBJECT, None).unwrap();
    assert_eq!(*store.asked.lock().unwrap(), ["open"]);
    let lab = Lab::new();
    let loaded = loader_of(store.clone(), lab.lake())
        .telling(move |_, progress| telling.lock().unwrap().push(progress.object_bytes))
        .load_object(PROBE_OBJECT, None)
        .unwrap();
    assert_eq!(loaded.rows, 1);
    assert_eq!(*store.asked.lock().unwrap(), ["open", "stat", "open"]);
    assert_eq!(*told.lock().unwrap(), [None, None]);
}

#[test]
fn a_failing_archive_is_not_taken_for_a_damaged_object() {
    let body = gzip(&tar(&[("a.json", GOOD)]));
    for error in [true, false] {
        let lab = Lab::new();
        let store = |transferred| {
            Arc::new(Flaky {
                body: body.clone(),
                transferred,
                error,
            })
        };
        let failed = loader_of(store(body.len() / 2), lab.lake()).load_object(PROBE_OBJECT, None);
        let failed = failed.unwrap_err();
        assert!(matches!(failed, LoadError::Read { .. }), "{failed}");
        assert!(!failed.is_permanent());
        assert!(
            !lab.lake().root().join("lab").exists(),
            "neither rows nor errors are left behind"
        );
        let swept = loader_of(store(body.len() / 2), lab.lake())
            .sweep("")
            .unwrap();
        assert_eq!(swept.failed.len(), 1);
    }
    let whole = Arc::new(Flaky {
        transferred: body.len(),
        body,
        error: false,
    });
    let lab = Lab::new();
    let loaded = loader_of(whole, lab.lake())
        .load_object(PROBE_OBJECT, None)
        .unwrap();
    assert_eq!(loaded.rows, 1);
}
