//! A lab as a child process.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::groma::{groma, run, run_json, told, wait_for};

/// How long a lab may take for anything before the test calls it stuck.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// `groma up` in a directory; killed when dropped.
pub(crate) struct Lab {
    child: Child,
    dir: PathBuf,
    stdout: Option<BufReader<ChildStdout>>,
    /// The line that it printed once it served.
    ready: Value,
}

impl Lab {
    /// Starts a lab on free ports and does not wait for it. Its log goes to the
    /// end of `<dir>.log`.
    pub(crate) fn spawn(dir: &Path, flush_age: &str) -> Self {
        Self::spawn_with(dir, flush_age, &[])
    }

    /// The same with more flags.
    fn spawn_with(dir: &Path, flush_age: &str, flags: &[&str]) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_path(dir))
            .expect("the log can be written");
        let at = dir.to_str().expect("temporary folders have plain names");
        let arguments = ["up", "--json", "--dir", at, "--flush-age", flush_age];
        let ports = ["--ws-port", "0", "--wss-port", "0", "--admin-port", "0"];
        let mut child = groma(arguments.into_iter().chain(ports))
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("groma starts");
        let stdout = child.stdout.take().map(BufReader::new);
        Self {
            child,
            dir: dir.to_owned(),
            stdout,
            ready: Value::Null,
        }
    }

    /// Starts a lab and waits until it serves.
    pub(crate) fn start(dir: &Path, flush_age: &str) -> Self {
        Self::start_with(dir, flush_age, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(dir: &Path, flush_age: &str, flags: &[&str]) -> Self {
        let mut lab = Self::spawn_with(dir, flush_age, flags);
        let mut line = String::new();
        let stdout = lab.stdout.as_mut().expect("it is piped");
        stdout
            .read_line(&mut line)
            .expect("the lab's output can be read");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("the lab said {line:?}: {error}\n{}", lab.log());
        });
        lab.ready = ready;
        lab
    }

    /// Where a service listens: `ws`, `wss` or `admin`.
    pub(crate) fn address(&self, service: &str) -> &str {
        let address = self.ready["services"][service].as_str();
        address.unwrap_or_else(|| panic!("no {service} in {}", self.ready))
    }

    /// The addresses of a hosted experiment, by the names of its ports.
    pub(crate) fn experiment(&self, name: &str) -> &Value {
        &self.ready["experiments"][name]
    }

    /// The version of the policy of an experiment.
    pub(crate) fn policy(&self, experiment: &str) -> String {
        let version = self.ready["policies"][experiment].as_str();
        version.expect("every experiment has a policy").to_owned()
    }

    /// Everything that labs in this directory logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(log_path(&self.dir)).unwrap_or_default()
    }

    /// Asks it to end (`SIGTERM`), without waiting.
    pub(crate) fn ask_to_end(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the lab is there to be asked");
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait_for("the lab's end", PATIENCE, || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }

    /// Kills it as a power cut would, `SIGKILL`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Returns the admin port's answer, status line first.
    pub(crate) fn admin(&self, path: &str) -> String {
        groma_tests::http_get(self.address("admin"), path)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let answer = self.admin("/metrics");
        let samples: Vec<f64> = answer
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(!samples.is_empty(), "no {name} in {answer}");
        samples.iter().sum()
    }

    /// Waits until the test became a row, and gives what `groma show` says.
    pub(crate) fn row_of(&self, uuid: &str) -> Value {
        let found = wait_for(&format!("the row of {uuid}"), PATIENCE, || {
            let report = show(&self.dir, uuid)?;
            (report["stage"] == "loaded").then_some(report)
        });
        assert_eq!(found["row"]["id"], uuid, "{found}");
        found["row"].clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After its end both fail, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of the labs in {}\n{}",
                self.dir.display(),
                self.log()
            );
        }
    }
}

/// What `groma show` says; `None` where it does not know the test.
pub(crate) fn show(dir: &Path, uuid: &str) -> Option<Value> {
    let at = dir.to_str().expect("temporary folders have plain names");
    let output = run(&mut groma(["show", uuid, "--dir", at, "--json"]));
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).expect("a report is JSON")),
        Some(1) => None,
        _ => panic!("show {uuid}: {}", told(&output)),
    }
}

/// A whole test by our own client; gives what it printed.
pub(crate) fn measure(target: &str, direction: &str) -> Value {
    run_json(&mut groma([
        "measure",
        target,
        "--no-tls",
        "--direction",
        direction,
        "--accept-data-policy",
        "--json",
    ]))
}

fn log_path(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}
