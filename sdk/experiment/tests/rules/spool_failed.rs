//! After a result that could not be written, whatever the reason, no test is admitted until a probe succeeds.

use std::fs;
use std::time::Duration;

use groma_experiment::{Experiment, Refusal, Settings};
use groma_tests::mount::Mount;

use crate::common::{Lab, okay, result_file};

fn wait_for_admission(experiment: &Experiment) {
    let attempts = 600;
    for _ in 0..attempts {
        if experiment.admit(&[]).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("admission did not open again");
}

#[test]
fn a_read_only_remount_stops_admission_until_it_is_undone() {
    let mut lab = Lab::new();
    let Some(disk) = Mount::tmpfs(&lab.dir.path().join("disk"), "size=8m") else {
        groma_tests::skip("mounting a tmpfs needs root");
        return;
    };
    let settings = Settings {
        data_dir: disk.path().join("spool/sample"),
        ..lab.settings()
    };
    let experiment = lab.open(settings).unwrap();
    let mut room = experiment.admit(&[]).unwrap();
    room.connection(fs::File::open("/dev/null").unwrap());
    drop(room);
    // An open file would keep the mount writable.
    disk.remount("ro").unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::SpoolFailed);
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::SpoolFailed);
    assert_eq!(Refusal::SpoolFailed.http_status(), 503);
    assert_eq!(lab.sample("spool_failed", ""), "1");
    let faults = lab.lifecycle.faulty_parts();
    assert!(faults[0].1.contains("Read-only"), "{faults:?}");
    disk.remount("rw").unwrap();
    wait_for_admission(&experiment);
    assert!(lab.lifecycle.faulty_parts().is_empty());
    assert_eq!(lab.sample("spool_failed", ""), "0");
}

#[test]
fn a_removed_spool_directory_loses_no_result() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let running = experiment.admit(&[]).unwrap();
    fs::remove_dir_all(lab.data_dir()).unwrap();
    let file = result_file("rows", "row-1.json", b"{}");
    let first = running.finish(&okay(), Some(file));
    wait_for_admission(&experiment);
    let test = experiment.admit(&[]).unwrap();
    let file = result_file("rows", "row-2.json", b"{}");
    let second = test.finish(&okay(), Some(file)).unwrap().unwrap();
    assert!(second.exists());
    let first = first.unwrap().unwrap();
    assert!(first.exists(), "the result is in a new directory");
}

#[test]
fn a_directory_that_takes_no_result_stops_admission_until_it_does() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    let year = lab.data_dir().join("rows/2026");
    // A file where the directory of the year belongs: the same for root as for everybody.
    let _ = fs::remove_dir_all(&year);
    fs::write(&year, "").unwrap();
    let refusal = experiment.admit(&[]).map(|test| {
        let file = result_file("rows", "row-1.json", b"{}");
        test.finish(&okay(), Some(file)).unwrap_err();
    });
    assert!(matches!(refusal, Ok(()) | Err(Refusal::SpoolFailed)));
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::SpoolFailed);
    let faults = lab.lifecycle.faulty_parts();
    assert!(faults[0].1.contains("rows/2026"), "{faults:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        experiment.admit(&[]).unwrap_err(),
        Refusal::SpoolFailed,
        "a probe beside the directory of the date proves nothing"
    );
    fs::remove_file(&year).unwrap();
    wait_for_admission(&experiment);
}

#[test]
fn a_taken_name_does_not_stop_admission() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    for is_first in [true, false] {
        let file = result_file("rows", "row-1.json", b"{}");
        let finished = experiment.admit(&[]).unwrap().finish(&okay(), Some(file));
        assert_eq!(finished.is_ok(), is_first);
    }
    experiment.admit(&[]).unwrap();
}
