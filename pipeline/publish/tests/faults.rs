//! An archive that fails in all the ways an archive can.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Lab, Running, files_below, wait_for};
use groma_archive::{LocalStore, Put, Stat, Store, StoreError};
use groma_publish::{
    DatatypeConfig, Form, PublishError, Publisher, Receipt, Wanted, find_receipts,
};
use prometheus_client::registry::Registry;

/// The failure of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is stored and an error is the answer.
    Refused,
    /// All is stored and an error is the answer.
    AnswerLost,
    /// Half is stored and success is the answer.
    CutShort,
}

type Choice = dyn Fn(u64, &str) -> bool + Send + Sync;

/// An archive in which `fault` befalls the puts that `choose` names by their number, counted from zero.
struct Faulty {
    inner: LocalStore,
    fault: Fault,
    choose: Box<Choice>,
    puts: AtomicU64,
    /// Whether this store returns checksums.
    checksums: bool,
}

impl Faulty {
    fn new(
        lab: &Lab,
        fault: Fault,
        choose: impl Fn(u64, &str) -> bool + Send + Sync + 'static,
    ) -> Faulty {
        Faulty {
            inner: lab.store(),
            fault,
            choose: Box::new(choose),
            puts: AtomicU64::new(0),
            checksums: true,
        }
    }
}

impl Store for Faulty {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        let failed = || StoreError::Remote {
            operation: "put",
            name: name.to_owned(),
            reason: "injected".to_owned(),
        };
        if !(self.choose)(self.puts.fetch_add(1, Ordering::Relaxed), name) {
            return self.inner.put_new(name, body);
        }
        match self.fault {
            Fault::Refused => Err(failed()),
            Fault::AnswerLost => self.inner.put_new(name, body).and(Err(failed())),
            Fault::CutShort => {
                let half = tempfile::NamedTempFile::new().unwrap();
                let bytes = fs::read(body).unwrap();
                fs::write(half.path(), &bytes[..bytes.len() / 2]).unwrap();
                self.inner.put_new(name, half.path())
            }
        }
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        let stat = self.inner.stat(name)?;
        Ok(stat.map(|stat| Stat {
            sha256: stat.sha256.filter(|_| self.checksums),
            ..stat
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.inner.open(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix)
    }

    fn url(&self, name: &str) -> String {
        self.inner.url(name)
    }
}

#[test]
fn a_lost_answer_or_a_refusal_neither_loses_nor_doubles() {
    for form in [Form::Tgz, Form::Jsonl] {
        for fault in [Fault::Refused, Fault::AnswerLost] {
            for checksums in [true, false] {
                let dir = common::tempdir();
                let mut lab = Lab::new(dir.path(), form);
                lab.write_some("a", 9);
                let mut store = Faulty::new(&lab, fault, |number, _| number % 3 != 2);
                store.checksums = checksums;
                let running = Running::start(lab.config(), Arc::new(store));
                lab.write_some("b", 30);
                running.stop().unwrap();
                lab.assert_exactly_once();
            }
        }
    }
}

#[test]
fn a_dead_archive_costs_time_only() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let dead = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&dead);
    let store = Faulty::new(&lab, Fault::Refused, move |_, _| {
        flag.load(Ordering::Relaxed)
    });
    let running = Running::start(lab.config(), Arc::new(store));
    lab.write_some("a", 10);
    let failures = "groma_publish_errors_total{datatype=\"ndt7\",operation=\"deliver\"}";
    wait_for("some failures", || running.metric(failures) >= 3);
    lab.write_some("b", 10);
    assert_eq!(lab.arrived(), []);
    assert!(!lab.left().is_empty());
    dead.store(false, Ordering::Relaxed);
    wait_for("delivery", || lab.arrived().len() == 20);
    running.stop().unwrap();
    lab.assert_exactly_once();
}

#[test]
fn when_the_grace_is_over_the_rest_waits_for_the_next_start() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Jsonl);
    lab.write_some("a", 10);
    let mut config = lab.config();
    config.grace = Duration::from_millis(50);
    let store = Faulty::new(&lab, Fault::Refused, |_, _| true);
    Running::start(config, Arc::new(store)).stop().unwrap();
    assert_eq!(lab.arrived(), []);
    let sealed: BTreeSet<_> = files_below(&dir.path().join("state/bundles"))
        .into_iter()
        .collect();
    assert!(!sealed.is_empty());
    Running::start(lab.config(), Arc::new(lab.store()))
        .stop()
        .unwrap();
    lab.assert_exactly_once();
}

#[test]
fn one_datatype_that_cannot_be_put_holds_up_no_other() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    config.datatypes.push(DatatypeConfig {
        name: "pcap".parse().unwrap(),
        form: Form::Tgz,
        schema: None,
    });
    config.grace = Duration::ZERO;
    let store = Faulty::new(&lab, Fault::Refused, |_, name| name.contains("pcap"));
    lab.spool
        .write(&"pcap/2026/01/01/a.pcap.gz".parse().unwrap(), b"x")
        .unwrap();
    let running = Running::start(config, Arc::new(store));
    lab.write_some("a", 10);
    wait_for("the other datatype", || lab.arrived().len() == 10);
    wait_for("its files to be unlinked", || lab.left().len() == 1);
    running.stop().unwrap();
}

#[test]
fn another_object_under_our_name_is_never_replaced_and_nothing_is_given_up() {
    for (form, part) in [(Form::Tgz, ".tgz"), (Form::Jsonl, "-index1.jsonl.gz")] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        let first = Arc::new(AtomicBool::new(true));
        let store = Faulty::new(&lab, Fault::CutShort, move |_, name| {
            name.ends_with(part) && first.swap(false, Ordering::Relaxed)
        });
        lab.write("ndt7/2026/01/01/a.json", b"{}");
        let running = Running::start(lab.config(), Arc::new(store));
        wait_for("the conflict", || {
            !files_below(&dir.path().join("state/conflict")).is_empty()
        });
        lab.written.clear();
        lab.write("ndt7/2026/01/01/b.json", b"[]");
        wait_for("the next", || !receipts(&dir, "b.json").is_empty());
        assert!(running.metric("groma_publish_conflicts{datatype=\"ndt7\"}") > 0);
        running.stop().unwrap();
        // Also a new start leaves it alone.
        Running::start(lab.config(), Arc::new(lab.store()))
            .stop()
            .unwrap();
        let claimed = dir.path().join("spool/ndt/.claimed/ndt7/2026-01-01/a.json");
        assert_eq!(lab.left(), [claimed]);
        assert_eq!(receipts(&dir, "a.json"), []);
    }
}

fn receipts(dir: &tempfile::TempDir, file: &str) -> Vec<Receipt> {
    find_receipts(&dir.path().join("state"), &Wanted::File(file.to_owned())).unwrap()
}

#[test]
fn a_receipt_tells_where_a_file_went() {
    for form in [Form::Tgz, Form::Jsonl] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        lab.write("ndt7/2026/01/02/x-1234.json", b"{}");
        lab.write("ndt7/2026/01/02/x-5678.json", b"{}");
        Running::start(lab.config(), Arc::new(lab.store()))
            .stop()
            .unwrap();
        let found = receipts(&dir, "x-1234.json");
        let [receipt] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(receipt.file, "ndt7/2026/01/02/x-1234.json");
        assert!(lab.store().stat(&receipt.object).unwrap().is_some());
        assert!(receipt.object.parse::<groma_names::ObjectName>().is_ok());
        assert!(receipt.member.ends_with("2026/01/02/x-1234.json"));
        assert_eq!(
            receipt.sha256,
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(receipts(&dir, "1234.json"), []);
    }
}

/// An archive that takes a put and never answers.
struct Hanging {
    inner: LocalStore,
    entered: AtomicBool,
}

impl Store for Hanging {
    fn put_new(&self, _name: &str, _body: &Path) -> Result<Put, StoreError> {
        self.entered.store(true, Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.inner.stat(name)
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.inner.open(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix)
    }

    fn url(&self, name: &str) -> String {
        self.inner.url(name)
    }
}

#[test]
fn an_archive_that_hangs_does_not_hold_up_the_end_and_keeps_others_out() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    lab.write("ndt7/2026/01/01/a.json", b"{}");
    let mut config = lab.config();
    config.grace = Duration::ZERO;
    let store = Arc::new(Hanging {
        inner: lab.store(),
        entered: AtomicBool::new(false),
    });
    let running = Running::start(config, Arc::clone(&store) as Arc<dyn Store>);
    wait_for("the put", || store.entered.load(Ordering::Relaxed));
    running.stop().unwrap();
    // Its thread may still act later, so no other publisher may start in this process; a new process may.
    let second = Publisher::open(
        lab.config(),
        Arc::new(lab.store()),
        &mut Registry::default(),
    );
    assert!(matches!(second, Err(PublishError::InUse { .. })));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let dir = common::tempdir();
    let lab = Lab::new(dir.path(), Form::Jsonl);
    let open = |config| Publisher::open(config, Arc::new(lab.store()), &mut Registry::default());
    let mut config = lab.config();
    config.organization = None;
    assert!(
        matches!(open(config), Err(PublishError::ObjectName { .. })),
        "autoload/v2 needs an organization"
    );
    let mut config = lab.config();
    config.datatypes.push(config.datatypes[0].clone());
    assert!(matches!(open(config), Err(PublishError::Twice { .. })));
}
