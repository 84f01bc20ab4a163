use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use groma_experiment::{Refusal, Settings};

use crate::common::{Lab, result_file};

/// A file system of 1 MiB, unmounted at the end.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .status();
        mounted
            .is_ok_and(|s| s.success())
            .then(|| Self(at.to_owned()))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_admission_until_a_write_succeeds_again() {
    let mut lab = Lab::new();
    let Some(tiny) = Tiny::mount(&lab.dir.path().join("tiny")) else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let settings = Settings {
        data_dir: tiny.0.join("spool/sample"),
        ..lab.settings()
    };
    let experiment = lab.open(settings).unwrap();
    let waiting = experiment.admit(&[]).unwrap();
    let filler = tiny.fill();
    let body = vec![b' '; 200_000];
    let file = result_file("rows", "row-1.json", &body);
    waiting.finish("okay", Some(file)).unwrap_err();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    assert_eq!(lab.sample("disk_full", ""), "1");
    assert_eq!(lab.sample("refusals_total", r#"reason="disk_full""#), "1");

    // Room for less than what failed is not enough: the probe writes as much.
    File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(900_000)
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
    let file = result_file("rows", "row-2.json", &body);
    admitted.finish("okay", Some(file)).unwrap();
    let left = fs::read_dir(tiny.0.join("spool/sample/.tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "the probe left its file");
}

#[test]
fn the_publisher_stops_admission_by_a_file() {
    let mut lab = Lab::new();
    let experiment = lab.experiment();
    experiment.admit(&[]).unwrap().finish("okay", None).unwrap();
    let stop = lab.data_dir().join(".admission-stopped");
    fs::write(&stop, "{\"reason\":\"disk_full\"}").unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    assert_eq!(Refusal::DiskFull.http_status(), 503);
    assert_eq!(lab.sample("disk_full", ""), "1");
    // A stop that nobody renews any more is that of a publisher that is gone.
    let old = std::time::SystemTime::now() - Duration::from_mins(3);
    let file = File::options().write(true).open(&stop).unwrap();
    file.set_modified(old).unwrap();
    experiment.admit(&[]).unwrap().finish("okay", None).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(experiment.admit(&[]).unwrap_err(), Refusal::DiskFull);
    fs::remove_file(stop).unwrap();
    experiment.admit(&[]).unwrap();
    assert_eq!(lab.sample("disk_full", ""), "0");
}
