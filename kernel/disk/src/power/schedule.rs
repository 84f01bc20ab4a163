//! A power cut at each step of a piece of code.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::Model;
use crate::{Disk, Faults, Step, Verdict};

/// Power cuts at each step; each loses other steps.
const CUTS: u64 = 8;

/// Runs `work` in an empty directory on a disk whose power is cut at each of its steps and after its end, and calls `holds` on
/// what is left. The second argument of `holds` is whether `work` returned `Ok` before the cut, so that its changes must be
/// durable.
///
/// # Errors
///
/// The first error of `holds`, with the step and the number of the cut, which repeat it.
///
/// # Panics
///
/// If `work` panics, or returns an error without a power cut.
pub fn check(
    work: impl Fn(&Disk, &Path) -> io::Result<()>,
    holds: impl Fn(&Path, bool) -> Result<(), String>,
) -> Result<(), String> {
    run_all(&work, &holds, None).map(drop)
}

/// Leaves out each sync of `work`, one at a time, and returns those without which [`check`] still succeeds, by their place in
/// the source. Each of them is either not needed, or `holds` does not check what it is needed for.
///
/// # Panics
///
/// If [`check`] fails although no sync is left out, or if `work` makes no sync.
pub fn needless_syncs(
    work: impl Fn(&Disk, &Path) -> io::Result<()>,
    holds: impl Fn(&Path, bool) -> Result<(), String>,
) -> Vec<String> {
    let seen = match run_all(&work, &holds, None) {
        Ok(seen) => seen,
        Err(error) => panic!("{error}"),
    };
    assert!(!seen.is_empty(), "the work makes no sync");
    let is_needless = |sync: &String| run_all(&work, &holds, Some(sync)).is_ok();
    seen.into_iter().filter(is_needless).collect()
}

/// Returns the syncs that were made.
fn run_all(
    work: &impl Fn(&Disk, &Path) -> io::Result<()>,
    holds: &impl Fn(&Path, bool) -> Result<(), String>,
    left_out: Option<&String>,
) -> Result<BTreeSet<String>, String> {
    let (steps, seen) = run(work, holds, left_out, u64::MAX, 0)?;
    for ends_at in 1..=steps {
        for seed in 0..CUTS {
            run(work, holds, left_out, ends_at, seed)?;
        }
    }
    for seed in 1..CUTS {
        run(work, holds, left_out, u64::MAX, seed)?;
    }
    Ok(seen)
}

/// Returns the number of steps and the syncs that were made.
fn run(
    work: &impl Fn(&Disk, &Path) -> io::Result<()>,
    holds: &impl Fn(&Path, bool) -> Result<(), String>,
    left_out: Option<&String>,
    ends_at: u64,
    seed: u64,
) -> Result<(u64, BTreeSet<String>), String> {
    // In memory if possible: the code under test may also make real syncs.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let root = root.expect("a temporary directory can be created");
    let (morgue, tree) = (root.path().join("morgue"), root.path().join("tree"));
    let made = fs::create_dir(&morgue).and_then(|()| fs::create_dir(&tree));
    let model = made.and_then(|()| Model::new(&morgue));
    let machine = Arc::new(Machine(Mutex::new(State {
        model: model.expect("a temporary directory can be used"),
        steps: 0,
        ends_at,
        is_off: false,
        left_out: left_out.cloned(),
        seen: BTreeSet::new(),
    })));
    let disk = Disk::with_faults(Arc::clone(&machine) as _);
    let is_done = match catch_unwind(AssertUnwindSafe(|| work(&disk, &tree))) {
        Ok(Ok(())) => true,
        Ok(Err(error)) if ends_at == u64::MAX => panic!("the work fails: {error}"),
        Ok(Err(_)) => false,
        Err(panic) if panic.is::<PowerCut>() => false,
        Err(panic) => resume_unwind(panic),
    };
    let mut state = machine.lock();
    let cut = state.model.cut(&mut StdRng::seed_from_u64(seed));
    cut.expect("steps can be taken back");
    match holds(&tree, is_done) {
        Ok(()) => Ok((state.steps, std::mem::take(&mut state.seen))),
        Err(error) => Err(format!("cut {seed} at step {ends_at}: {error}")),
    }
}

/// The panic that ends the work at a power cut.
struct PowerCut;

struct Machine(Mutex<State>);

struct State {
    model: Model,
    steps: u64,
    ends_at: u64,
    is_off: bool,
    left_out: Option<String>,
    seen: BTreeSet<String>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether a sync is left out.
    fn leaves_out(&mut self, kind: &str, site: &Location<'_>) -> bool {
        let name = format!("sync of a {kind} in {}:{}", site.file(), site.line());
        let is_left_out = self.left_out.as_ref() == Some(&name);
        self.seen.insert(name);
        is_left_out
    }
}

impl Faults for Machine {
    fn before(&self, step: Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
        let mut state = self.lock();
        if state.is_off {
            return Err(io::Error::other("the power is cut"));
        }
        state.steps += 1;
        if state.steps >= state.ends_at {
            state.is_off = true;
            drop(state);
            resume_unwind(Box::new(PowerCut));
        }
        let is_left_out = match step {
            Step::SyncFile(_) => state.leaves_out("file", site),
            Step::SyncDir(_) => state.leaves_out("directory", site),
            _ => false,
        };
        if is_left_out || state.model.make(step)? {
            Ok(Verdict::Done)
        } else {
            Ok(Verdict::Go)
        }
    }

    fn after(&self, step: Step<'_>) {
        let made = self.lock().model.made(step);
        made.expect("a step that was made can be recorded");
    }

    fn check(&self, _: &'static str, holds: bool) -> bool {
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Replace, Taken, Unfinished};
    use std::io::Write as _;

    fn whole_or_absent(path: &Path, is_done: bool, expected: &[u8]) -> Result<(), String> {
        match fs::read(path) {
            Ok(found) if found == expected => Ok(()),
            Ok(found) => Err(format!("{} of {} bytes", found.len(), expected.len())),
            Err(_) if is_done => Err("the file is lost".to_owned()),
            Err(_) => Ok(()),
        }
    }

    #[test]
    fn a_file_is_whole_or_absent_and_every_sync_is_needed() {
        let body = vec![7; 10_000];
        let work = |disk: &Disk, root: &Path| {
            let (tmp, dir) = (root.join("tmp"), root.join("a/b"));
            fs::create_dir(&tmp)?;
            disk.create_dirs(root, &dir, 0o755)?;
            let mut file = Unfinished::create(disk, &tmp, "", 0o644)?;
            file.write_all(&body)?;
            file.commit(&dir.join("file"), Taken::Refuse)
        };
        let holds = |root: &Path, is_done| whole_or_absent(&root.join("a/b/file"), is_done, &body);
        check(work, holds).unwrap();
        assert_eq!(needless_syncs(work, holds), [""; 0]);
    }

    #[test]
    fn a_rewritten_file_has_its_old_content_or_the_new_one() {
        let path = |root: &Path| root.join("file");
        for has_one_writer in [true, false] {
            let work = |disk: &Disk, root: &Path| {
                fs::write(path(root), "old")?;
                if has_one_writer {
                    disk.rewrite_durable(&path(root), b"new", 0o644)
                } else {
                    disk.write_durable(&path(root), b"new", 0o644, Replace::Always)
                }
            };
            let holds = |root: &Path, is_done: bool| match fs::read(path(root)) {
                Ok(found) if found == b"new" || (found == b"old" && !is_done) => Ok(()),
                found => Err(format!("{found:?}")),
            };
            check(work, holds).unwrap();
            assert_eq!(needless_syncs(work, holds), [""; 0]);
        }
    }

    #[test]
    fn a_file_without_syncs_is_found_out() {
        let work = |disk: &Disk, root: &Path| {
            let path = root.join("file");
            let entry = crate::Entry::path(&path);
            let mut file = disk.create_file(entry, 0o644, Taken::Refuse)?;
            file.write_all(b"bytes")
        };
        let holds = |root: &Path, is_done| whole_or_absent(&root.join("file"), is_done, b"bytes");
        assert!(check(work, holds).is_err());
    }
}
