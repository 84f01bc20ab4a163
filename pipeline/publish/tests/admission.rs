//! Admission of tests stops while the disk is full, whichever step finds that out.

mod common;

use std::fs::File;
use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::{Lab, Running, wait_for};
use groma_disk::{Disk, Faults, Step, Verdict};
use groma_publish::Form;
use rustix::io::Errno;

const PUBLISHED: &str = "groma_publish_files_total{datatype=\"ndt7\",state=\"published\"}";
const STOPPED: &str = "groma_publish_admission_stopped";

/// A quota that what was set aside uses up: of the file system itself there is plenty left, and `statvfs` says so.
#[derive(Debug)]
struct Quota {
    reserve: PathBuf,
    is_used_up: AtomicBool,
}

impl Faults for Quota {
    fn before(&self, step: Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        let takes_room = matches!(
            step,
            Step::CreateDir(_) | Step::CreateFile(_) | Step::Write(..)
        );
        if takes_room && self.is_used_up.load(Ordering::Relaxed) && self.reserve.exists() {
            return Err(Errno::DQUOT.into());
        }
        Ok(Verdict::Go)
    }

    fn after(&self, _: Step<'_>) {}

    fn check(&self, _: &'static str, holds: bool) -> bool {
        holds
    }
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let quota = Arc::new(Quota {
        reserve: dir.path().join("state/reserve"),
        is_used_up: AtomicBool::new(false),
    });
    let mut config = lab.config();
    config.reserve_bytes = 10_000;
    config.disk = Disk::with_faults(Arc::clone(&quota) as _);
    let running = Running::start(config, Arc::new(lab.store()));
    let stop = lab.spool.admission_stop_file();
    assert!(quota.reserve.exists() && !stop.exists());
    quota.is_used_up.store(true, Ordering::Relaxed);
    lab.write_some("a", 20);
    wait_for("all files", || running.metric(PUBLISHED) == 20);
    let failed = "groma_publish_errors_total{datatype=\"ndt7\",operation=";
    let failures = ["claim", "seal", "deliver"]
        .map(|operation| running.metric(&format!("{failed}\"{operation}\"}}")));
    assert!(
        failures.iter().sum::<u64>() > 0,
        "there was room all the time"
    );
    // There is room now, and nothing more to do.
    wait_for("the end of the stop", || {
        running.metric(STOPPED) == 0 && !stop.exists()
    });
    running.stop().unwrap();
    lab.assert_exactly_once();
}

#[test]
fn the_stop_holds_for_as_long_as_the_grace() {
    let dir = common::tempdir();
    let mut lab = Lab::new(dir.path(), Form::Tgz);
    let mut config = lab.config();
    // No disk has this much room.
    config.reserve_bytes = u64::MAX / 4;
    config.grace = Duration::from_hours(1);
    let running = Running::start(config, Arc::new(lab.store()));
    let archive = dir.path().join("archive/.tmp");
    std::fs::remove_dir(&archive).unwrap();
    let stop = lab.spool.admission_stop_file();
    wait_for("the stop", || stop.exists());
    lab.write_some("a", 3);
    running.tell_to_stop();
    for _ in 0..2 {
        let long_ago = SystemTime::now() - Duration::from_hours(2);
        let file = File::options().write(true).open(&stop).unwrap();
        file.set_times(common::both_times(long_ago)).unwrap();
        let modified = || stop.metadata().unwrap().modified().unwrap();
        wait_for("its renewal", || {
            modified() > long_ago + Duration::from_hours(1)
        });
    }
    assert!(!running.is_finished());
    std::fs::create_dir(&archive).unwrap();
    running.stop().unwrap();
    // The disk is still full, and the stop is no longer renewed.
    std::fs::remove_file(&stop).unwrap();
    lab.assert_exactly_once();
}
