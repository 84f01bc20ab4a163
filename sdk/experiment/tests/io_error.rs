//! An input/output error of the disk below the spool. Alone in its process, because it chooses the numbers of descriptors.

use std::collections::BTreeMap;
use std::fs::File;
use std::thread;
use std::time::Duration;

use groma_experiment::{Experiment, Refusal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

#[path = "rules/common.rs"]
#[expect(dead_code, reason = "the rules use what this one test does not")]
mod common;

use common::{Lab, result_file};

/// A filter cannot be removed, so it looks at the descriptor: while the test holds this many, all new ones fail.
const FIRST_FAILING: u32 = 200;

/// Makes a system call on failing descriptors return `EIO` in this thread and in those that it starts.
fn inject(call: i64) {
    let failing = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Ge,
        u64::from(FIRST_FAILING),
    );
    let rule = SeccompRule::new(vec![failing.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EIO.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

fn hold_descriptors() -> Vec<File> {
    (0..FIRST_FAILING)
        .map(|_| File::open("/dev/null").unwrap())
        .collect()
}

fn wait_for_admission(experiment: &Experiment) {
    let attempts = 600;
    for _ in 0..attempts {
        if experiment.admit(&[]).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("admission did not open again");
}

/// A result meets the error in one system call; so does every probe until the descriptors are released.
fn fails_and_recovers(call: i64) {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let okay = experiment.outcome("okay").unwrap();
    let file = |name| Some(result_file("rows", name, b"{}"));
    // The directory of the date exists, so that the error meets the result itself.
    let before = experiment.admit(&[]).unwrap();
    before.finish(&okay, file("row-0.json")).unwrap();

    let held = hold_descriptors();
    let running = experiment.admit(&[]).unwrap();
    let lost = thread::scope(|scope| {
        // The probe runs in a thread that this one starts, so it has the filter too.
        let filtered = scope.spawn(|| {
            inject(call);
            running.finish(&okay, file("row-1.json"))
        });
        filtered.join().unwrap()
    });
    let error = lost.unwrap_err().to_string();
    assert!(error.contains("os error 5"), "{error}");
    let is_refused = || experiment.admit(&[]).unwrap_err() == Refusal::SpoolFailed;
    assert!(is_refused());
    assert_eq!(lab.sample("spool_failed", ""), "1");
    assert_eq!(
        lab.sample("errors_total", r#"operation="write_result""#),
        "1"
    );

    let probes = 3;
    thread::sleep(Duration::from_secs(probes));
    assert!(is_refused(), "a probe that failed admits nobody");
    let faults = lab.lifecycle.faulty_parts();
    assert_eq!(faults[0].0, "spool");
    assert!(faults[0].1.contains("os error 5"), "{faults:?}");

    drop(held);
    wait_for_admission(&experiment);
    assert!(lab.lifecycle.faulty_parts().is_empty());
    assert_eq!(lab.sample("spool_failed", ""), "0");
    let after = experiment.admit(&[]).unwrap();
    let written = after.finish(&okay, file("row-2.json")).unwrap().unwrap();
    assert_eq!(std::fs::read(written).unwrap(), b"{}");
}

#[test]
fn an_io_error_in_any_step_of_a_result_stops_admission_until_a_probe_is_written() {
    for call in [libc::SYS_write, libc::SYS_fsync] {
        fails_and_recovers(call);
    }
}
