//! The resource usage of child processes.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

/// CPU time (user and system, of all children that ended meanwhile) and time, in seconds.
pub(crate) struct Spent {
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
}

impl Spent {
    pub(crate) fn by(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Spent> {
        let (cpu, begin) = (children_cpu_s()?, Instant::now());
        work()?;
        Ok(Spent {
            wall_s: begin.elapsed().as_secs_f64(),
            cpu_s: children_cpu_s()? - cpu,
        })
    }
}

/// Clock ticks per second of proc(5), on every architecture of Linux but Alpha.
const USER_HZ: f64 = 100.0;

/// `cutime` and `cstime` of proc(5), in clock ticks.
fn children_cpu_s() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("/proc/self/stat is strange")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = fields[13].parse::<u64>()? + fields[14].parse::<u64>()?;
    Ok(ticks as f64 / USER_HZ)
}

/// Peak resident memory of this process in MB, `VmHWM` of proc(5).
pub(crate) fn peak_memory_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// How many system calls a command makes, all its threads together.
pub(crate) fn syscalls(command: &Command) -> anyhow::Result<u64> {
    let output = Command::new("strace")
        .args(["-f", "-c", "-q"])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .context("run strace")?;
    let table = String::from_utf8_lossy(&output.stderr);
    let total = table
        .lines()
        .find(|line| line.ends_with(" total"))
        .with_context(|| format!("strace printed no total: {table}"))?;
    // % time, seconds, usecs/call, calls, errors, syscall
    let calls = total
        .split_whitespace()
        .nth(3)
        .context("no number of calls")?;
    Ok(calls.parse()?)
}
