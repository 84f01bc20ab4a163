//! A process for each query of an untrusted client, which can be ended whatever the engine does.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::format::Format;

/// How a worker reports on standard error that there were more rows.
pub const CUT: &str = "cut after ";
/// How a worker reports on standard error how many values were not finite.
pub const NOT_FINITE: &str = "not finite: ";

/// The largest answer, in bytes.
const ANSWER_BYTES: u64 = 64 << 20;
/// The largest error message, in bytes.
const ERROR_BYTES: u64 = 16 << 10;
/// The variables that workers get: where the engine's library is.
const PASSED_ON: [&str; 2] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// How workers are started.
pub struct Workers {
    /// Lake and limits.
    pub arguments: Vec<OsString>,
    /// The longest time of a query.
    pub timeout: Duration,
    /// Threads of the engine. Together they get the processor time of one timeout each.
    pub threads: u64,
}

/// The outcome of a query.
pub enum Outcome {
    /// An answer, whether rows are missing at its end, and how many of its values were not finite numbers.
    Answer {
        body: Vec<u8>,
        is_cut: bool,
        not_finite: u64,
    },
    /// The reason for which the query is refused or failed.
    Refused(String),
    /// It took too long.
    TooLong,
    /// Its answer is too large.
    TooLarge,
}

impl Workers {
    /// Runs a query that cannot fail, to find out whether this machine can confine workers.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.run("SELECT 1", Format::Json)? {
            Outcome::Answer { .. } => Ok(()),
            Outcome::Refused(reason) => bail!("{}", reason.trim()),
            Outcome::TooLong | Outcome::TooLarge => bail!("it did not answer in time"),
        }
    }

    /// Runs a query to its end, or ends it.
    pub fn run(&self, sql: &str, format: Format) -> anyhow::Result<Outcome> {
        let format = if format == Format::Csv { "csv" } else { "json" };
        let cpu_seconds = (self.timeout.as_secs() + 1) * self.threads;
        // The path of this program may lead to a newer one by now.
        let mut child = Command::new("/proc/self/exe")
            .arg("worker")
            .args([
                "--format",
                format,
                "--cpu-seconds",
                &cpu_seconds.to_string(),
            ])
            .args(&self.arguments)
            // The query runs without the credentials of the lake's bucket.
            .env_clear()
            .envs(
                PASSED_ON
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a worker")?;
        let deadline = Instant::now() + self.timeout;
        let body = collect(child.stdout.take(), ANSWER_BYTES);
        let message = collect(child.stderr.take(), ERROR_BYTES);
        if let Some(mut stdin) = child.stdin.take() {
            // A worker that has died already reports why on its standard error.
            let _ = stdin.write_all(sql.as_bytes());
        }
        let ended = wait(&mut child, deadline)?;
        let (body, too_large) = body.join().unwrap_or_default();
        let (message, _) = message.join().unwrap_or_default();
        let message = String::from_utf8_lossy(&message).into_owned();
        Ok(match ended {
            None => Outcome::TooLong,
            Some(_) if too_large => Outcome::TooLarge,
            Some(true) => Outcome::Answer {
                body,
                is_cut: message.lines().any(|line| line.starts_with(CUT)),
                not_finite: message
                    .lines()
                    .find_map(|line| line.strip_prefix(NOT_FINITE)?.parse().ok())
                    .unwrap_or_default(),
            },
            Some(false) if message.is_empty() => {
                Outcome::Refused("the query wanted more than its limits".to_owned())
            }
            Some(false) => Outcome::Refused(message),
        })
    }
}

/// Returns whether the child succeeded, or `None` when it was killed at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<bool>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads to the end or to `most` bytes, on its own thread. A reader that stops early ends the writer.
fn collect(
    from: Option<impl Read + Send + 'static>,
    most: u64,
) -> thread::JoinHandle<(Vec<u8>, bool)> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let _ = from.take(most + 1).read_to_end(&mut bytes);
        }
        let is_more = bytes.len() as u64 > most;
        (bytes, is_more)
    })
}
