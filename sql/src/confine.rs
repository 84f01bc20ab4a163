//! The limits of a process that runs one query of an untrusted client.

use std::path::Path;

use anyhow::{Context as _, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space beside the engine's memory: libraries, stacks, mapped files.
const OVERHEAD_BYTES: u64 = 2 << 30;

/// The first version that also refuses to truncate files (Linux 6.2).
const NEEDED: ABI = ABI::V3;

/// The newest version whose rights are used where the kernel has it: no TCP (6.7), no device commands (6.10), no signals to
/// and no abstract sockets of other processes (6.12).
const WANTED: ABI = ABI::V6;

/// Confines this process before it reads the query and before it has a second thread, which Landlock would not reach: memory,
/// processor time, no byte in any file, and no access to any file except reading below `lake`.
pub fn confine(lake: &Path, memory_mib: u64, cpu_seconds: u64) -> anyhow::Result<()> {
    let address_space = (memory_mib << 20)
        .saturating_mul(2)
        .saturating_add(OVERHEAD_BYTES);
    for (resource, most) in [
        (Resource::As, address_space),
        (Resource::Cpu, cpu_seconds),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).with_context(|| format!("limit {resource:?}"))?;
    }
    only_read(lake).context("confine the query with Landlock")
}

/// Where the engine looks for its share of the machine when it starts. It ends when it may not.
const OF_THE_MACHINE: [&str; 2] = ["/proc/self/cgroup", "/sys/fs/cgroup"];

/// landlock(7).
fn only_read(lake: &Path) -> anyhow::Result<()> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))
        .context(
            "this kernel cannot keep a query from writing files; untrusted clients need Linux 6.2 or later with landlock \
             in /sys/kernel/security/lsm",
        )?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rule(PathBeneath::new(
            PathFd::new(lake)?,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?;
    let of_the_machine = OF_THE_MACHINE
        .iter()
        .filter_map(|path| PathFd::new(path).ok());
    let rules = of_the_machine
        .map(|path| Ok::<_, RulesetError>(PathBeneath::new(path, AccessFs::ReadFile)));
    let status = ruleset.add_rules(rules)?.restrict_self()?;
    ensure!(
        status.ruleset != RulesetStatus::NotEnforced && status.no_new_privs,
        "the kernel did not enforce the rules"
    );
    Ok(())
}
