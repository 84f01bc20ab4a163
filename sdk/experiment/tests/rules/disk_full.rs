use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_experiment::{Experiment, Refusal, Settings};
use groma_tests::mount::Mount;

use crate::common::{Lab, okay, result_file};

/// An experiment in a small file system of its own.
fn tiny(lab: &mut Lab, options: &str) -> Option<(Mount, Experiment)> {
    let Some(tiny) = Mount::tmpfs(&lab.dir.path().join("tiny"), options) else {
        groma_tests::skip("mounting a tmpfs needs root");
        return None;
    };
    let settings = Settings {
        data_dir: tiny.path().join("spool/sample"),
        max_tests: 60,
        ..lab.settings()
    };
    let experiment = lab.open(settings).unwrap();
    Some((tiny, experiment))
}

fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

#[test]
fn a_full_disk_stops_admission_until_a_write_succeeds_again() {
    let mut lab = Lab::new();
    let Some((tiny, experiment)) = tiny(&mut lab, "size=1m") else {
        return;
    };
    let waiting = experiment.admit(&[]).unwrap();
    let filler = fill(tiny.path());
    // More than the room that is taken at admission.
    let body = vec![b' '; 300_000];
    let file = result_file("rows", "row-1.json", &body);
    waiting.finish(&okay(), Some(file)).unwrap_err();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    assert_eq!(lab.sample("disk_full", ""), "1");
    assert_eq!(lab.sample("refusals_total", r#"reason="disk_full""#), "1");
    let faults = lab.lifecycle.faulty_parts();
    assert_eq!(faults[0].0, "spool");
    assert!(faults[0].1.contains("No space left"), "{faults:?}");

    // Room for less than what failed is not enough: the probe takes as much.
    File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(800_000)
        .unwrap();
    let probes = 3;
    std::thread::sleep(Duration::from_secs(probes));
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);

    fs::remove_file(filler).unwrap();
    let admitted = loop {
        match experiment.admit(&[]) {
            Ok(test) => break test,
            Err(refusal) => assert_eq!(refusal, Refusal::DiskFull),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(lab.sample("disk_full", ""), "0");
    assert!(lab.lifecycle.faulty_parts().is_empty());
    let file = result_file("rows", "row-2.json", &body);
    admitted.finish(&okay(), Some(file)).unwrap();
    let left = fs::read_dir(tiny.path().join("spool/sample/.tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "the probe left its file");
}

#[test]
fn a_disk_that_fills_up_costs_no_running_test_its_result() {
    let mut lab = Lab::new();
    let Some((tiny, experiment)) = tiny(&mut lab, "size=32m") else {
        return;
    };
    let running: Vec<_> = (0..60).map(|_| experiment.admit(&[]).unwrap()).collect();
    let filler = fill(tiny.path());
    let body = vec![b' '; 130_000];
    for (number, test) in running.into_iter().enumerate() {
        let name = format!("row-{number}.json");
        test.finish(&okay(), Some(result_file("rows", &name, &body)))
            .unwrap();
        // Others take what the result leaves of its room.
        let mut filler = File::options().append(true).open(&filler).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
    }
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    let dir = tiny.path().join("spool/sample/rows/2026/11/22");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 60);
}

#[test]
fn a_disk_without_inodes_costs_no_running_test_its_result() {
    let mut lab = Lab::new();
    let Some((tiny, experiment)) = tiny(&mut lab, "size=32m,nr_inodes=200") else {
        return;
    };
    let running: Vec<_> = (0..30).map(|_| experiment.admit(&[]).unwrap()).collect();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let mut number = 0;
    while File::create_new(tiny.path().join(number.to_string())).is_ok() {
        number += 1;
    }
    for (number, test) in running.into_iter().enumerate() {
        let mut file = result_file("rows", &format!("row-{number}.json"), b"{}");
        file.date = today.date();
        test.finish(&okay(), Some(file)).unwrap();
    }
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
}

#[test]
fn the_publisher_stops_admission_by_a_file() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    experiment
        .admit(&[])
        .unwrap()
        .finish(&okay(), None)
        .unwrap();
    let stop = lab.data_dir().join(".admission-stopped");
    fs::write(&stop, "{\"reason\":\"disk_full\"}").unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    assert_eq!(Refusal::DiskFull.http_status(), 503);
    assert_eq!(lab.sample("disk_full", ""), "1");
    // Nobody renews the stop of a dead publisher.
    let old = std::time::SystemTime::now() - Duration::from_mins(3);
    let file = File::options().write(true).open(&stop).unwrap();
    file.set_modified(old).unwrap();
    experiment
        .admit(&[])
        .unwrap()
        .finish(&okay(), None)
        .unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    fs::remove_file(stop).unwrap();
    experiment.admit(&[]).unwrap();
    assert_eq!(lab.sample("disk_full", ""), "0");
}
