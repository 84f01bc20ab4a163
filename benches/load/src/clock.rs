//! CPU time and memory of this process.

use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// A moment in the CPU time of this process, the kernel's work in its name included.
#[derive(Clone, Copy)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    /// The CPU time of the process until now.
    pub(crate) fn now() -> CpuTime {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        CpuTime(Duration::new(
            spent.tv_sec.unsigned_abs(),
            u32::try_from(spent.tv_nsec).unwrap_or_default(),
        ))
    }

    /// The CPU time since.
    pub(crate) fn elapsed(self) -> Duration {
        CpuTime::now().0.saturating_sub(self.0)
    }
}

/// Begins a new peak of memory.
pub(crate) fn forget_peak() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("reset the peak of memory")
}

/// Peak of resident memory since [`forget_peak`], in bytes.
pub(crate) fn peak_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
