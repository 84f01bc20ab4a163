//! A disk that fails, ends the program, and loses what was not made durable.
//!
//! [`Model`] defines the changes that a power cut takes back. This module decides when a step fails, and when the program ends.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use groma_disk::power::Model;
use groma_disk::{Dir, Entry, Faults, Step, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;

/// The panic that ends the program.
pub(super) struct Died;

type MayRemove = Box<dyn Fn(&str, &[u8]) + Send + Sync>;
type Between = Box<dyn FnMut(&mut StdRng) + Send>;

struct State {
    rng: StdRng,
    model: Model,
    steps: u64,
    dies_after: u64,
    may_die: bool,
    dead: bool,
    fault_chance: f64,
    /// No step before this one fails. Otherwise few runs would get beyond their beginning.
    faults_from: u64,
    faults_left: u32,
    /// Whether only syncs of the disk fail.
    only_syncs: bool,
    /// The chance that an answer of the archive is wrong, and the number of wrong answers left.
    answer_chance: f64,
    answers_left: u32,
    /// Syncs until it dies before one.
    dies_at_sync: u64,
    /// The name of a sync, and the number of calls until it ends the program or fails.
    site: Option<(String, u32)>,
    fails_at_site: bool,
    /// Syncs until one fails, soon after which it dies.
    fails_at_sync: u64,
    /// The step from which on it is due, and whether it waits for one that reads a file to bundle it.
    between: Option<(u64, bool, Between)>,
    overruled: Option<String>,
    /// The chance that the program ends soon after something was overruled.
    dies_of_it: f64,
    /// Something was overruled in this run.
    has_overruled: bool,
    seen: BTreeSet<String>,
}

pub(super) struct PowerDisk {
    claimed: PathBuf,
    /// The spool and the state directory are on different volumes.
    is_two: bool,
    state: Mutex<State>,
    /// Called with name and bytes before a claimed file is removed.
    may_remove: MayRemove,
}

impl std::fmt::Debug for PowerDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PowerDisk")
    }
}

impl PowerDisk {
    pub(super) fn new(
        root: &Path,
        claimed: PathBuf,
        seed: u64,
        may_remove: MayRemove,
    ) -> PowerDisk {
        let mut rng = StdRng::seed_from_u64(seed);
        let morgue = root.join("morgue");
        std::fs::create_dir(&morgue).unwrap();
        PowerDisk {
            claimed,
            is_two: rng.random_bool(0.3),
            may_remove,
            state: Mutex::new(State {
                model: Model::new(&morgue).unwrap(),
                steps: 0,
                dies_after: u64::MAX,
                may_die: false,
                dead: false,
                fault_chance: 0.0,
                faults_from: 0,
                faults_left: 0,
                only_syncs: false,
                answer_chance: 0.0,
                answers_left: 0,
                dies_at_sync: u64::MAX,
                site: None,
                fails_at_site: false,
                fails_at_sync: u64::MAX,
                between: None,
                overruled: None,
                dies_of_it: [0.1, 0.5, 1.0][rng.random_range(0..3)],
                has_overruled: false,
                seen: BTreeSet::new(),
                rng,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on the sync or check of this name has no effect.
    pub(super) fn overrule(&self, what: Option<String>) {
        self.lock().overruled = what;
    }

    /// Returns all syncs and checks that were made.
    pub(super) fn seen(&self) -> BTreeSet<String> {
        self.lock().seen.clone()
    }

    /// Begins a run of the program without faults.
    pub(super) fn begin(&self, may_die: bool) {
        let mut state = self.lock();
        state.may_die = may_die;
        state.steps = 0;
        state.dead = false;
        state.dies_after = u64::MAX;
        state.fault_chance = 0.0;
        state.answer_chance = 0.0;
        state.dies_at_sync = u64::MAX;
        state.site = None;
        state.fails_at_sync = u64::MAX;
        state.between = None;
        state.has_overruled = false;
    }

    /// Ends this run after this number of instants.
    pub(super) fn die_after(&self, instants: u64) {
        self.lock().dies_after = instants;
    }

    /// Makes a few steps, or only syncs, fail from this step on.
    pub(super) fn fail(&self, chance: f64, from: u64, only_syncs: bool) {
        let mut state = self.lock();
        state.fault_chance = chance;
        state.faults_from = from;
        state.faults_left = 8;
        state.only_syncs = only_syncs;
    }

    /// Makes a few answers of the archive wrong.
    pub(super) fn answer_wrongly(&self, chance: f64) {
        let mut state = self.lock();
        state.answer_chance = chance;
        state.answers_left = 4;
    }

    /// Ends this run right before its sync of this number, or earlier.
    pub(super) fn die_at_sync(&self, number: u64) {
        self.lock().dies_at_sync = number;
    }

    /// Ends this run right before one of the syncs of earlier runs, or makes that one fail. Each sync is chosen with the same
    /// chance.
    pub(super) fn die_or_fail_at_a_site(&self) {
        let mut state = self.lock();
        let seen = state.seen.iter();
        let mut sites: Vec<_> = seen.filter(|what| is_sync(what)).cloned().collect();
        if !sites.is_empty() {
            let site = sites.swap_remove(state.rng.random_range(0..sites.len()));
            state.site = Some((site, state.rng.random_range(1..3)));
            state.fails_at_site = state.rng.random();
        }
    }

    /// Whether this run left out a step or check.
    pub(super) fn has_overruled(&self) -> bool {
        self.lock().has_overruled
    }

    /// Makes the sync of this number fail, and ends this run during the recovery from that.
    pub(super) fn fail_at_sync(&self, number: u64) {
        self.lock().fails_at_sync = number;
    }

    /// Returns the kind of a wrong answer of the archive; `None` for a right one.
    pub(super) fn wrong_answer(&self, kinds: u32) -> Option<u32> {
        let mut state = self.lock();
        let chance = state.answer_chance;
        if state.dead || state.answers_left == 0 || !state.rng.random_bool(chance) {
            return None;
        }
        state.answers_left -= 1;
        Some(state.rng.random_range(0..kinds))
    }

    /// Calls `act` once at this step, or at the next step that reads a file to bundle it.
    pub(super) fn between(&self, at: u64, when_read: bool, act: Between) {
        self.lock().between = Some((at, when_read, act));
    }

    /// An instant at which a run may end, or a step of the archive or the disk may fail.
    pub(super) fn instant(&self) {
        let mut state = self.lock();
        if state.dead {
            return;
        }
        state.steps += 1;
        assert!(state.steps < 100_000, "the publisher does not end");
        if state.steps > state.dies_after {
            state.dead = true;
            drop(state);
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    /// Returns the kind of the failure of this step; `None` if it succeeds.
    pub(super) fn fault(&self, kinds: u32) -> Option<u32> {
        let mut state = self.lock();
        let chance = state.fault_chance;
        let is_early = state.steps < state.faults_from;
        if state.dead || is_early || state.faults_left == 0 || !state.rng.random_bool(chance) {
            return None;
        }
        state.faults_left -= 1;
        Some(state.rng.random_range(0..kinds))
    }

    fn is_overruled(&self, what: String) -> bool {
        let mut state = self.lock();
        let overruled = state.overruled.as_ref() == Some(&what);
        if overruled {
            state.has_overruled = true;
            // A missing sync usually matters in the next few steps or never. If one is left out often, ending the run each time
            // would let no run get far.
            let chance = state.dies_of_it;
            if state.may_die && state.rng.random_bool(chance) {
                state.dies_after = state.soon();
            }
        }
        state.seen.insert(what);
        overruled
    }

    /// Lets the test look at a claimed file before it is removed.
    fn check_removal(&self, state: &mut State, entry: Entry<'_>) -> io::Result<()> {
        let Dir::Fd(fd) = entry.dir else {
            return Ok(());
        };
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        if std::fs::read_link(path)?.starts_with(&self.claimed)
            && let Ok(bytes) = state.model.read(entry)
        {
            (self.may_remove)(&entry.name.to_string_lossy(), &bytes);
        }
        Ok(())
    }

    /// Cuts the power: takes back steps that are not durable.
    pub(super) fn cut(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.model.cut(&mut state.rng).unwrap();
    }
}

const SYNC_OF_FILE: &str = "sync of a file in ";
const SYNC_OF_DIR: &str = "sync of a directory in ";

fn is_sync(what: &str) -> bool {
    what.starts_with(SYNC_OF_FILE) || what.starts_with(SYNC_OF_DIR)
}

impl State {
    /// Returns one of the next steps, rather a near one.
    fn soon(&mut self) -> u64 {
        let within = 1 << self.rng.random_range(0..8);
        self.steps + self.rng.random_range(0..within)
    }

    fn count_site(&mut self, name: &str) {
        let Some((site, times)) = &mut self.site else {
            return;
        };
        *times -= u32::from(site == name);
        if *times == 0 {
            self.site = None;
            if self.fails_at_site {
                self.fails_at_sync = 0;
            } else {
                self.dies_at_sync = 0;
            }
        }
    }
}

impl Faults for PowerDisk {
    fn before(&self, step: Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
        if self.lock().dead {
            return Err(io::Error::other("dead"));
        }
        self.instant();
        let is_read = matches!(step, Step::Read);
        let is_content = is_read && site.file().contains("/gate/");
        let name = match step {
            Step::SyncFile(_) => format!("{SYNC_OF_FILE}{}:{}", site.file(), site.line()),
            Step::SyncDir(_) => format!("{SYNC_OF_DIR}{}:{}", site.file(), site.line()),
            _ => String::new(),
        };
        let is_sync = !name.is_empty();
        if is_sync {
            let mut state = self.lock();
            state.dies_at_sync = state.dies_at_sync.saturating_sub(1);
            state.fails_at_sync = state.fails_at_sync.saturating_sub(1);
            state.count_site(&name);
            if state.dies_at_sync == 0 {
                state.dead = true;
                drop(state);
                std::panic::resume_unwind(Box::new(Died));
            }
            if state.fails_at_sync == 0 {
                state.fails_at_sync = u64::MAX;
                // The recovery begins with one or two steps.
                let soon = state.soon() + 2;
                state.dies_after = state.dies_after.min(soon);
                return Err(Errno::IO.into());
            }
        }
        let may_fail = is_sync || !self.lock().only_syncs;
        if let Some(kind) = may_fail.then(|| self.fault(3)).flatten() {
            match (kind, step) {
                (0, Step::Write(_, bytes)) => return Ok(Verdict::Short(bytes / 2)),
                (1, step) if !is_read && !matches!(step, Step::Remove(_)) => {
                    return Err(Errno::NOSPC.into());
                }
                _ => return Err(Errno::IO.into()),
            }
        }
        let mut guard = self.lock();
        let state = &mut *guard;
        // The publisher cannot see a change between its last check and the removal.
        let due = state
            .between
            .as_ref()
            .is_some_and(|(at, when_read, _)| state.steps >= *at && (is_content || !when_read));
        if due && !matches!(step, Step::Remove(_)) {
            let (.., mut act) = state.between.take().unwrap();
            act(&mut state.rng);
        }
        if is_sync {
            drop(guard);
            if !self.is_overruled(name) {
                self.lock().model.make(step)?;
            }
            return Ok(Verdict::Done);
        }
        match step {
            Step::Remove(entry) => self.check_removal(state, entry)?,
            // The spool may be on another volume than the state directory. Its directories are never given by path.
            Step::Rename(from, to, _)
                if self.is_two && matches!((from.dir, to.dir), (Dir::Fd(_), Dir::Path(_))) =>
            {
                return Err(Errno::XDEV.into());
            }
            _ => {}
        }
        Ok(if state.model.make(step)? {
            Verdict::Done
        } else {
            Verdict::Go
        })
    }

    fn after(&self, step: Step<'_>) {
        self.lock().model.made(step).unwrap();
        self.instant();
    }

    fn check(&self, what: &'static str, holds: bool) -> bool {
        let what = format!("check that {what}");
        if holds {
            self.lock().seen.insert(what);
            return true;
        }
        self.is_overruled(what)
    }
}
