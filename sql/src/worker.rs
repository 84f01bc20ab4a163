//! A process for each stranger's query, which can be ended whatever the engine does.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::format::Format;

/// How a worker says on standard error that there were more rows.
pub const CUT: &str = "cut after ";

/// The largest answer, in bytes.
const ANSWER_BYTES: u64 = 64 << 20;
/// The largest error message, in bytes.
const ERROR_BYTES: u64 = 16 << 10;
/// Address space beside the engine's memory: libraries, stacks, mapped files.
const OVERHEAD_BYTES: u64 = 2 << 30;

/// What workers get of the environment: where the engine's library is.
const PASSED_ON: [&str; 2] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// Bounds this process before it knows the query: memory, processor time, and no byte in any file.
pub fn confine(memory_mib: u64, cpu_seconds: u64) -> anyhow::Result<()> {
    let limits = [
        (
            Resource::As,
            (memory_mib << 20)
                .saturating_mul(2)
                .saturating_add(OVERHEAD_BYTES),
        ),
        (Resource::Cpu, cpu_seconds),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).with_context(|| format!("limit {resource:?}"))?;
    }
    Ok(())
}

/// How workers are started.
pub struct Workers {
    /// Lake and limits.
    pub arguments: Vec<OsString>,
    /// What a query may take.
    pub timeout: Duration,
    /// Threads of the engine, which together may use so much processor time.
    pub threads: u64,
}

/// What became of a query.
pub enum Outcome {
    /// An answer, and whether rows are missing at its end.
    Answer { body: Vec<u8>, is_cut: bool },
    /// What is wrong with the query, or that it wanted too much.
    Refused(String),
    /// It took too long.
    TooLong,
    /// Its answer is too large.
    TooLarge,
}

impl Workers {
    /// Runs a query to its end, or ends it.
    pub fn run(&self, sql: &str, format: Format) -> anyhow::Result<Outcome> {
        let format = if format == Format::Csv { "csv" } else { "json" };
        let cpu_seconds = (self.timeout.as_secs() + 1) * self.threads;
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("worker")
            .args([
                "--format",
                format,
                "--cpu-seconds",
                &cpu_seconds.to_string(),
            ])
            .args(&self.arguments)
            // A stranger's query runs without the credentials of the lake's bucket.
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
            // A worker that died already says why on its standard error.
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
            },
            Some(false) if message.is_empty() => {
                Outcome::Refused("the query wanted more than its limits".to_owned())
            }
            Some(false) => Outcome::Refused(message),
        })
    }
}

/// Whether the child succeeded; none when it was ended at the deadline.
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

/// Reads to the end or to `most`, in a thread of its own; a reader that stops ends the writer.
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
