//! Death at every instant between two steps.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use groma_archive::{LocalStore, Put, Stat, Store, StoreError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fault::{Crash, CrashPoint};
use crate::{Config, Form};
use common::{Lab, Running, files_below};

mod bucket;
#[path = "../tests/common/mod.rs"]
mod common;
mod power;
mod schedules;

/// Runs the publisher until it ends or dies as configured. Returns whether it died.
fn run_and_die(lab: &Lab, config: Config) -> bool {
    Running::start(config, Arc::new(lab.store()))
        .stop()
        .is_err()
}

#[test]
fn whatever_the_instant_of_death_every_file_arrives_once() {
    for form in [Form::Tgz, Form::Jsonl] {
        for point in CrashPoint::ALL {
            let dir = common::tempdir();
            let mut lab = Lab::new(dir.path(), form);
            lab.write_some("a", 7);
            let bad = "ndt7/2026/01/01/bad.json".parse().unwrap();
            lab.spool.write(&bad, b"{").unwrap();
            let mut config = lab.config();
            if form == Form::Tgz {
                config.datatypes[0].schema = Some(groma_schema::Schema { fields: Vec::new() });
            }
            let clean = config.clone();
            config.crash = Some(Crash::At(point));
            assert!(
                run_and_die(&lab, config.clone()),
                "{form:?} did not die at {point:?}"
            );
            lab.write_some("b", 5);
            // A second death at the same place: recovery itself is interrupted.
            run_and_die(&lab, config);
            lab.write_some("c", 3);
            assert!(!run_and_die(&lab, clean), "{form:?} {point:?}");
            lab.assert_exactly_once();
            let quarantined = files_below(&dir.path().join("state/quarantine"));
            assert_eq!(
                quarantined.len(),
                2,
                "{form:?} {point:?}: the bad file and its reason: {quarantined:?}"
            );
        }
    }
}

#[test]
fn a_life_of_many_deaths_and_bad_answers() {
    let seed =
        std::env::var("GROMA_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("GROMA_SEED={seed} repeats these deaths");
    let mut rng = StdRng::seed_from_u64(seed);
    for form in [Form::Tgz, Form::Jsonl] {
        let dir = common::tempdir();
        let mut lab = Lab::new(dir.path(), form);
        let (mut life, mut deaths) = (0, 0);
        // Some seeds kill seldom.
        while life < 40 || deaths <= 10 {
            assert!(life < 1000, "only {deaths} deaths");
            lab.write_some(&format!("life{life}"), rng.random_range(0..8));
            let mut config = lab.config();
            config.max_members = rng.random_range(1..4);
            config.crash = Some(Crash::After(Arc::new(AtomicI64::new(
                rng.random_range(0..60),
            ))));
            let store = Unreliable {
                inner: lab.store(),
                rng: Mutex::new(StdRng::seed_from_u64(rng.random())),
            };
            deaths += usize::from(Running::start(config, Arc::new(store)).stop().is_err());
            life += 1;
        }
        assert!(!run_and_die(&lab, lab.config()));
        lab.assert_exactly_once();
    }
}

/// An archive of which every fourth answer is an error, whether it has stored the object or not.
struct Unreliable {
    inner: LocalStore,
    rng: Mutex<StdRng>,
}

impl Unreliable {
    fn fail(&self, name: &str) -> Result<(), StoreError> {
        let failed = StoreError::Remote {
            operation: "reach",
            name: name.to_owned(),
            reason: "injected".to_owned(),
        };
        if self.rng.lock().unwrap().random_bool(0.25) {
            Err(failed)
        } else {
            Ok(())
        }
    }
}

impl Store for Unreliable {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        self.fail(name)?;
        let put = self.inner.put_new(name, body)?;
        self.fail(name).map(|()| put)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        self.fail(name)?;
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
