//! A hosted experiment as a plain process, which is not isolated from the rest of the machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use groma_service::Lifecycle;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::leftover;
use crate::output::log_lines;
use crate::probe::Probe;

/// The program of an experiment, and how it is started and stopped.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) environment: BTreeMap<String, OsString>,
    pub(crate) probe: Probe,
    /// The longest time from its start to its first answer to the probe.
    pub(crate) start: Duration,
    /// The time between SIGTERM and SIGKILL.
    pub(crate) stop: Duration,
}

/// Variables of the caller that a program gets. Others, such as the credentials of the archive, are not its business.
const INHERITED: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// How often the process and the stop flag are looked at.
const STEP: Duration = Duration::from_millis(50);
/// How often a process that is ready is asked again.
const PROBE_EVERY: Duration = Duration::from_secs(2);

impl Program {
    /// Starts the program and waits until it ends, which is an error, or until `stop` is set; then stops it.
    ///
    /// `was_ready` is set at the first answer to the probe. `/ready` shows the experiment as failed while the probe fails.
    pub(crate) fn run(
        &self,
        stop: &AtomicBool,
        lifecycle: &Lifecycle,
        was_ready: &Arc<AtomicBool>,
    ) -> Result<(), String> {
        let probe_part = format!("probe of {}", self.name);
        let mut child = self
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.command[0]))?;
        let pid = Pid::from_child(&child);
        tracing::info!(
            experiment = self.name,
            pid = pid.as_raw_nonzero(),
            "started, not isolated"
        );
        lifecycle.failed(&probe_part, "it has not answered yet");
        let begun = Instant::now();
        let mut next_probe = begun;
        let ended = loop {
            if let Some(ended) = ended(pid) {
                break Err(ended);
            }
            if stop.load(Ordering::Acquire) {
                self.stop(pid);
                break Ok(());
            }
            if Instant::now() >= next_probe {
                let pause = match self.probe.ask() {
                    Ok(()) => {
                        lifecycle.recovered(&probe_part);
                        was_ready.store(true, Ordering::Release);
                        PROBE_EVERY
                    }
                    Err(reason) => {
                        let is_starting = begun.elapsed() < self.start;
                        if !is_starting {
                            lifecycle.failed(&probe_part, &reason);
                        }
                        STEP.max(PROBE_EVERY.min(begun.elapsed() / 4))
                    }
                };
                next_probe = Instant::now() + pause;
            }
            thread::sleep(STEP);
        };
        // Its children are in its group, which exists as long as the process is not waited for.
        let _ = kill_process_group(pid, Signal::KILL);
        let status = child.wait();
        leftover::forget(&self.run_dir);
        lifecycle.recovered(&probe_part);
        tracing::info!(experiment = self.name, ?status, "ended");
        ended
    }

    fn spawn(&self) -> io::Result<Child> {
        leftover::end(&self.run_dir, &self.data_dir);
        let inherited = INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .current_dir(&self.dir)
            .env_clear()
            .envs(inherited)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C in a terminal does not reach it, and its children can be ended with it.
            .process_group(0)
            .spawn()?;
        let prepared = leftover::remember(&self.run_dir, child.id()).and_then(|()| {
            if let Some(stdout) = child.stdout.take() {
                log_lines(&self.name, "stdout", stdout)?;
            }
            if let Some(stderr) = child.stderr.take() {
                log_lines(&self.name, "stderr", stderr)?;
            }
            Ok(())
        });
        if let Err(error) = prepared {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    /// Asks the group to end and waits for the process. The caller kills the group afterwards.
    fn stop(&self, pid: Pid) {
        // It may have ended by itself.
        let _ = kill_process_group(pid, Signal::TERM);
        let begun = Instant::now();
        while ended(pid).is_none() {
            if begun.elapsed() >= self.stop {
                tracing::warn!(
                    experiment = self.name,
                    seconds = self.stop.as_secs(),
                    "still running after SIGTERM: killing it"
                );
                return;
            }
            thread::sleep(STEP);
        }
    }
}

/// Returns the reason once the process has ended, and leaves it to be waited for, so that its number is not used again.
fn ended(pid: Pid) -> Option<String> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), options) {
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("its process ended with code {code}"),
            (None, Some(signal)) => format!("its process was ended by signal {signal}"),
            (None, None) => "its process ended".to_owned(),
        }),
        Ok(None) => None,
        Err(error) => Some(format!("its process cannot be waited for: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(dir: &std::path::Path, script: &str) -> Program {
        Program {
            name: "echo".to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            dir: dir.to_owned(),
            data_dir: dir.to_owned(),
            run_dir: dir.to_owned(),
            environment: [("GROMA_DATADIR".to_owned(), dir.as_os_str().to_owned())].into(),
            probe: Probe::Runs,
            start: Duration::from_mins(1),
            stop: Duration::from_mins(1),
        }
    }

    #[test]
    fn an_end_by_itself_is_an_error_with_its_code() {
        let dir = tempfile::tempdir().unwrap();
        let (stop, ready) = (AtomicBool::new(false), Arc::default());
        let ended = program(dir.path(), "exit 7").run(&stop, &Lifecycle::new(), &ready);
        assert_eq!(ended, Err("its process ended with code 7".to_owned()));
        assert!(!dir.path().join("pid").exists());
    }

    #[test]
    fn a_stop_sends_sigterm_to_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'echo asked > asked; exit 0' TERM; sleep 600 & echo $! > child; wait";
        let program = program(dir.path(), script);
        let stop = Arc::new(AtomicBool::new(false));
        let child = dir.path().join("child");
        let asker = thread::spawn({
            let stop = Arc::clone(&stop);
            let child = child.clone();
            move || {
                while std::fs::read_to_string(&child)
                    .unwrap_or_default()
                    .is_empty()
                {
                    thread::sleep(STEP);
                }
                stop.store(true, Ordering::Release);
            }
        });
        program
            .run(&stop, &Lifecycle::new(), &Arc::default())
            .unwrap();
        asker.join().unwrap();
        assert!(dir.path().join("asked").exists());
        let number: i32 = std::fs::read_to_string(child)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // It is gone, or a zombie that its new parent has not waited for yet; the loop ends when the signal arrives.
        let is_alive = || {
            let state = std::fs::read_to_string(format!("/proc/{number}/stat"));
            state.is_ok_and(|state| !state.contains(") Z "))
        };
        for _ in 0..600 {
            if !is_alive() {
                return;
            }
            thread::sleep(STEP);
        }
        panic!("the child {number} of the program is still running");
    }

    #[test]
    fn a_program_that_ignores_sigterm_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut program = program(dir.path(), "trap '' TERM; while :; do sleep 1; done");
        program.stop = Duration::from_millis(1);
        let stop = AtomicBool::new(true);
        program
            .run(&stop, &Lifecycle::new(), &Arc::default())
            .unwrap();
        assert!(!dir.path().join("pid").exists());
    }

    #[test]
    fn a_process_of_an_earlier_run_is_ended_and_another_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let spawned = program(dir.path(), "sleep 600").spawn().unwrap();
        let other = tempfile::tempdir().unwrap();
        leftover::remember(other.path(), spawned.id()).unwrap();
        leftover::end(other.path(), other.path());
        assert!(
            ended(Pid::from_child(&spawned)).is_none(),
            "it was not ours"
        );
        leftover::end(dir.path(), dir.path());
        let mut spawned = spawned;
        assert!(!spawned.wait().unwrap().success());
    }

    #[test]
    fn a_program_gets_no_other_variables_of_its_caller() {
        let dir = tempfile::tempdir().unwrap();
        let (stop, ready) = (AtomicBool::new(false), Arc::default());
        let script = "env > environment";
        let _ = program(dir.path(), script).run(&stop, &Lifecycle::new(), &ready);
        let text = std::fs::read_to_string(dir.path().join("environment")).unwrap();
        assert!(
            text.contains("GROMA_DATADIR=") && text.contains("PATH="),
            "{text}"
        );
        // Cargo sets this one for tests.
        assert!(!text.contains("CARGO_MANIFEST_DIR"), "{text}");
    }
}
