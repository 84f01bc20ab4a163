//! The process of an earlier run that was killed before it could stop its experiments.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The name of the file with the number of the process, in the experiment's `run` directory.
const FILE: &str = "pid";

/// The longest wait for the end of a killed process.
const PATIENCE: Duration = Duration::from_secs(5);
/// The interval at which its end is checked.
const STEP: Duration = Duration::from_millis(10);

/// Records the process in the file.
pub(crate) fn remember(run_dir: &Path, pid: u32) -> io::Result<()> {
    fs::write(run_dir.join(FILE), pid.to_string())
}

/// Removes the file after the process has ended.
pub(crate) fn forget(run_dir: &Path) {
    // A file that cannot be removed is harmless: it names a process that no longer exists.
    let _ = fs::remove_file(run_dir.join(FILE));
}

/// Kills the process group of an earlier run, if it still exists.
///
/// The number may belong to another process by now. The group is only killed if the environment of its leader has this data
/// directory.
pub(crate) fn end(run_dir: &Path, data_dir: &Path) {
    let Ok(text) = fs::read_to_string(run_dir.join(FILE)) else {
        return;
    };
    let number: Option<i32> = text.trim().parse().ok();
    let Some(pid) = number.and_then(Pid::from_raw) else {
        return;
    };
    if !is_ours(pid, data_dir) {
        return forget(run_dir);
    }
    tracing::warn!(
        pid = pid.as_raw_nonzero(),
        "ending the experiment of an earlier run"
    );
    // It may end at this moment by itself.
    let _ = kill_process_group(pid, Signal::KILL);
    // Its ports are free once it has ended. A process in the middle of a system call may take a moment.
    let begun = Instant::now();
    while is_ours(pid, data_dir) && begun.elapsed() < PATIENCE {
        thread::sleep(STEP);
    }
    forget(run_dir);
}

/// Returns whether the environment of the process has this data directory. The environment of an ended process is empty.
fn is_ours(pid: Pid, data_dir: &Path) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    let wanted = format!("GROMA_DATADIR={}", data_dir.display());
    environment.is_ok_and(|text| {
        text.split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    })
}
