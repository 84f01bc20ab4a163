//! One number of sockets: bare reads, then the recorder.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use groma_diag::{Diag, Key, enter_namespace};
use groma_spool::ExperimentDir;
use groma_tcp_info::decode::Recording;
use groma_tcp_info::record::Polls;
use groma_tcp_info::{Collector, Config, Namespace, Scope};
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};

use crate::ALLOCATOR;
use crate::load::Load;

const TICK: Duration = Duration::from_millis(10);
/// On the machines that this runs on.
const PAGE_BYTES: u64 = 4096;
/// The time in which the recorder reaches a steady state: first snapshots, growing buffers.
const WARM_UP: Duration = Duration::from_secs(15);

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// A row of the report.
pub(crate) fn row(sockets: usize, seconds: Duration) -> anyhow::Result<String> {
    let load = Load::start(sockets)?;
    let namespace = load.namespace(0);
    let dump = bare(&namespace, seconds, |diag, _| {
        Ok(diag.dump(|_| {})?.sockets)
    })?;
    let gets = bare(&namespace, seconds, |diag, keys| {
        diag.get(keys, |_, _| {})?;
        Ok(keys.len())
    })?;
    let (means, bare_us) = if dump <= gets {
        ("dump", dump)
    } else {
        ("gets", gets)
    };
    let recorded = record(&namespace, sockets, seconds)?;
    let poll_us = recorded.cpu_s * 1e6 / recorded.polls as f64;
    Ok(format!(
        "| {sockets} | {means} (dump {dump:.0}, gets {gets:.0} µs) | {bare_us:.0} µs | {poll_us:.0} µs | {:.2} | {:.1} % | {:.1} ms | {} | {} | {:.1} | {:.0} | {:.1} % | {:.2} | {:.1} KB | {:.1} µs |",
        poll_us / bare_us,
        recorded.cpu_s / recorded.wall_s * 100.0,
        recorded.wall_s * 1000.0 / recorded.polls as f64,
        recorded.file_polls.late,
        recorded.file_polls.failed,
        recorded.bytes_per_record,
        recorded.records as f64 / recorded.wall_s,
        recorded.records as f64 / recorded.wall_s / 100.0 / sockets as f64 * 100.0,
        recorded.allocations as f64 / recorded.polls as f64,
        recorded.memory_bytes as f64 / 1024.0 / sockets as f64,
        recorded.finishing_us,
    ))
}

/// Microseconds of CPU per read that looks at nothing.
fn bare(
    namespace: &Path,
    seconds: Duration,
    read: impl Fn(&mut Diag, &[Key]) -> anyhow::Result<usize> + Send,
) -> anyhow::Result<f64> {
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            enter_namespace(namespace)?;
            let mut diag = Diag::open()?;
            let mut keys = Vec::new();
            let _ = diag.dump(|record| keys.push(record.key()))?;
            let (began, cpu_before) = (Instant::now(), cpu(ClockId::ThreadCPUTime));
            let mut reads = 0_u32;
            while began.elapsed() < seconds {
                let due = Instant::now() + TICK;
                read(&mut diag, &keys)?;
                reads += 1;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let spent = cpu(ClockId::ThreadCPUTime).saturating_sub(cpu_before);
            Ok(spent.as_secs_f64() * 1e6 / f64::from(reads))
        });
        reading
            .join()
            .expect("a panic here is a fault of the bench")
    })
}

struct Recorded {
    wall_s: f64,
    cpu_s: f64,
    polls: u64,
    records: u64,
    allocations: usize,
    memory_bytes: u64,
    file_polls: Polls,
    bytes_per_record: f64,
    /// CPU per record of making complete files of those that grew.
    finishing_us: f64,
}

fn record(namespace: &Path, sockets: usize, seconds: Duration) -> anyhow::Result<Recorded> {
    let dir = tempfile::tempdir()?;
    let spool = ExperimentDir::open(dir.path().join("spool/ndt"), "ndt".parse()?)?;
    let prefix = groma_uuid::Prefix::ensure(&dir.path().join("prefix"), "bench")?;
    let scope = Scope::Whole {
        excluded_local_ports: Vec::new(),
        excluded_remotes: Vec::new(),
    };
    let namespaces = vec![Namespace {
        path: Some(namespace.to_owned()),
        scope,
    }];
    let mut config = Config::new(spool, dir.path().join("state"), prefix, namespaces);
    config.event_socket = Some(dir.path().join("events"));
    let memory_before = resident_bytes()?;
    let mut registry = Registry::default();
    let collector = Collector::start(config, &mut registry)?;
    std::thread::sleep(WARM_UP);
    let counter = |name: &str| counter(&registry, name);
    let (polls, records) = (
        counter("groma_tcpinfo_polls_total")?,
        counter("tcpinfo_snapshot_total")?,
    );
    let allocations = ALLOCATOR.stats().allocations + ALLOCATOR.stats().reallocations;
    let (began, cpu_before) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    std::thread::sleep(seconds);
    let cpu_s = cpu(ClockId::ProcessCPUTime)
        .saturating_sub(cpu_before)
        .as_secs_f64();
    let wall_s = began.elapsed().as_secs_f64();
    let allocations = ALLOCATOR.stats().allocations + ALLOCATOR.stats().reallocations - allocations;
    let polls = counter("groma_tcpinfo_polls_total")? - polls;
    let records = counter("tcpinfo_snapshot_total")? - records;
    let memory_bytes = resident_bytes()?.saturating_sub(memory_before);
    anyhow::ensure!(
        collector.totals().open as usize >= sockets,
        "not all sockets are recorded"
    );
    let all_records = counter("tcpinfo_snapshot_total")?;
    let cpu_before = cpu(ClockId::ProcessCPUTime);
    collector.stop();
    let finishing = cpu(ClockId::ProcessCPUTime).saturating_sub(cpu_before);
    let (file_polls, bytes_per_record) = files(&dir.path().join("spool/ndt/tcpinfo"))?;
    Ok(Recorded {
        wall_s,
        cpu_s,
        polls,
        records,
        allocations,
        memory_bytes,
        file_polls,
        bytes_per_record,
        finishing_us: finishing.as_secs_f64() * 1e6 / all_records as f64,
    })
}

fn counter(registry: &Registry, name: &str) -> anyhow::Result<u64> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name}"))?.parse()?)
}

fn resident_bytes() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .context("statm has a second number")?
        .parse()?;
    Ok(pages * PAGE_BYTES)
}

/// The poll log of a file, and the compressed bytes per snapshot of all.
fn files(root: &Path) -> anyhow::Result<(Polls, f64)> {
    let (mut bytes, mut records, mut polls) = (0, 0, Polls::default());
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let recording = Recording::read(&entry.path())?;
            bytes += entry.metadata()?.len();
            records += recording.records.len();
            polls = recording.polls.unwrap_or(polls);
        }
    }
    Ok((polls, bytes as f64 / records as f64))
}
