//! Death at every instant between two steps.

use std::sync::Arc;

use crate::fault::CrashPoint;
use crate::{Config, Form};
use common::{Lab, Running, files_below};

#[path = "../tests/common/mod.rs"]
mod common;

/// Runs until told to end, or until it dies as told; true if it died.
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
            config.crash_at = Some(point);
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
