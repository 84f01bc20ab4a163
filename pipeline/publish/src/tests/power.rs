//! A disk that fails, dies, and forgets what was not made durable.
//!
//! Steps are made on a real directory tree; beside it stands what of them is certain. A power cut takes back steps that
//! are not, chosen at random, which also puts those that stay in another order:
//!
//! - A step is certain when every directory that it touches was synced after it, or a later one on the same name is.
//! - The entry of a directory in its parent is made certain by syncing the parent alone: else all in it vanishes.
//! - Of a file that was not synced any beginning may be left, followed by nothing or by zeros.
//! - The removal of a directory stays only together with all that emptied it.
//! - A step on one name stays only together with those before it on that name. A move is whole or did not happen.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use groma_archive::disk::{Dir, Faults, Place, Step, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fstat, openat, renameat_with, statat};
use rustix::io::Errno;

/// What unwinds out of a life that was ended.
pub(super) struct Died;

type Key = (u64, OsString);

#[derive(Debug)]
enum Change {
    CreateDir,
    CreateFile,
    Rename {
        replaced: Option<OsString>,
    },
    /// A file or directory, kept under this name in the morgue.
    Removed {
        kept: OsString,
    },
}

#[derive(Debug)]
struct Op {
    change: Change,
    /// Its names: where it was and, after a move, where it is.
    keys: Vec<Key>,
    /// The directory that appeared.
    made: Option<u64>,
    /// The directory that went away.
    emptied: Option<u64>,
    unsynced: BTreeSet<u64>,
}

impl Op {
    /// Whether it is on a name of an earlier one, or removes the directory that the earlier one left.
    fn follows(&self, earlier: &Op) -> bool {
        earlier
            .keys
            .iter()
            .any(|key| self.keys.contains(key) || self.emptied == Some(key.0))
    }
}

#[derive(Debug)]
struct Body {
    file: File,
    durable_bytes: u64,
}

type MayRemove = Box<dyn Fn(&str, &[u8]) + Send + Sync>;
type Between = Box<dyn FnMut(&mut StdRng) + Send>;

struct State {
    rng: StdRng,
    dirs: BTreeMap<u64, OwnedFd>,
    bodies: BTreeMap<u64, Body>,
    pending: Vec<Op>,
    kept: u64,
    steps: u64,
    dies_after: u64,
    may_die: bool,
    dead: bool,
    fault_chance: f64,
    /// Until this step none fails: else hardly a life would get beyond its beginning.
    faults_from: u64,
    faults_left: u32,
    /// Whether of the disk only syncs fail.
    only_syncs: bool,
    /// How likely an answer of the archive is wrong, and how many may still be.
    answer_chance: f64,
    answers_left: u32,
    /// Syncs until it dies before one.
    dies_at_sync: u64,
    /// The name of a sync, and how often that is come by until it is what ends this life, or what fails.
    site: Option<(String, u32)>,
    fails_at_site: bool,
    /// Syncs until one fails, soon after which it dies.
    fails_at_sync: u64,
    /// The step from which on it is due, and whether it waits for one that reads a file to bundle it.
    between: Option<(u64, bool, Between)>,
    overruled: Option<String>,
    /// How likely a life ends soon when something is overruled.
    dies_of_it: f64,
    /// Something was overruled in this life.
    has_overruled: bool,
    seen: BTreeSet<String>,
}

pub(super) struct PowerDisk {
    morgue: OwnedFd,
    claimed: PathBuf,
    /// Nothing can be moved from the spool to the state directory.
    is_two: bool,
    state: Mutex<State>,
    /// Asked with name and bytes before a claimed file is removed.
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
            morgue: File::open(morgue).unwrap().into(),
            claimed,
            is_two: rng.random_bool(0.3),
            may_remove,
            state: Mutex::new(State {
                dirs: BTreeMap::new(),
                bodies: BTreeMap::new(),
                pending: Vec::new(),
                kept: 0,
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

    /// From now on the sync or check of this name does nothing.
    pub(super) fn overrule(&self, what: Option<String>) {
        self.lock().overruled = what;
    }

    /// All syncs and checks that were come by.
    pub(super) fn seen(&self) -> BTreeSet<String> {
        self.lock().seen.clone()
    }

    /// Begins a life in which nothing goes wrong yet, or at all.
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

    /// Lets this life end after so many instants.
    pub(super) fn die_after(&self, instants: u64) {
        self.lock().dies_after = instants;
    }

    /// Lets a few steps fail, or a few syncs, from one on.
    pub(super) fn fail(&self, chance: f64, from: u64, only_syncs: bool) {
        let mut state = self.lock();
        state.fault_chance = chance;
        state.faults_from = from;
        state.faults_left = 8;
        state.only_syncs = only_syncs;
    }

    /// Lets a few answers of the archive be wrong.
    pub(super) fn answer_wrongly(&self, chance: f64) {
        let mut state = self.lock();
        state.answer_chance = chance;
        state.answers_left = 4;
    }

    /// Lets this life end right before its sync of this number, if not earlier.
    pub(super) fn die_at_sync(&self, number: u64) {
        self.lock().dies_at_sync = number;
    }

    /// Lets this life end right before one of the syncs that earlier lives came by, or lets that one fail: each is as
    /// likely, however rare it is.
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

    /// Whether this life went on without something that it should have done.
    pub(super) fn has_overruled(&self) -> bool {
        self.lock().has_overruled
    }

    /// Lets the sync of this number fail, and this life end in the middle of what is done about it.
    pub(super) fn fail_at_sync(&self, number: u64) {
        self.lock().fails_at_sync = number;
    }

    /// How the archive is to answer wrongly, if so.
    pub(super) fn wrong_answer(&self, kinds: u32) -> Option<u32> {
        let mut state = self.lock();
        let chance = state.answer_chance;
        if state.dead || state.answers_left == 0 || !state.rng.random_bool(chance) {
            return None;
        }
        state.answers_left -= 1;
        Some(state.rng.random_range(0..kinds))
    }

    /// Has something done once, by others, at a later step, or the next after it that reads a file to bundle it.
    pub(super) fn between(&self, at: u64, when_read: bool, act: Between) {
        self.lock().between = Some((at, when_read, act));
    }

    /// An instant at which a life may end, or a step of the archive or the disk may fail.
    pub(super) fn instant(&self) {
        let mut state = self.lock();
        if state.dead {
            return;
        }
        state.steps += 1;
        assert!(
            state.steps < 100_000,
            "the publisher does not come to an end"
        );
        if state.steps > state.dies_after {
            state.dead = true;
            drop(state);
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    /// Whether this call is to fail, and by which of `kinds`.
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
            // Most of what is left out is missed in the next few steps or not at all. Where it is left out often, and seldom
            // matters, dying each time would leave no life that goes as far.
            let chance = state.dies_of_it;
            if state.may_die && state.rng.random_bool(chance) {
                state.dies_after = state.soon();
            }
        }
        state.seen.insert(what);
        overruled
    }

    fn remove(&self, state: &mut State, step: Step<'_>, place: Place<'_>) -> io::Result<()> {
        let key = state.key(place)?;
        if !state.exists(&key) {
            return Err(Errno::NOENT.into());
        }
        let mut emptied = None;
        if matches!(step, Step::RemoveDir(_)) {
            let dir = openat(
                &state.dirs[&key.0],
                &key.1,
                OFlags::DIRECTORY,
                Mode::empty(),
            )?;
            if rustix::fs::Dir::read_from(&dir)?.count() > 2 {
                return Err(Errno::NOTEMPTY.into());
            }
            emptied = Some(fstat(&dir)?.st_ino);
        } else if let Dir::Fd(fd) = place.dir {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            if std::fs::read_link(path)?.starts_with(&self.claimed) {
                let bytes = state.read(&key);
                (self.may_remove)(&place.name.to_string_lossy(), &bytes);
            }
        }
        let kept = keep(state);
        rename_at(&state.dirs[&key.0], &key.1, &self.morgue, &kept);
        state.push(Change::Removed { kept }, vec![key], None, emptied);
        Ok(())
    }

    fn rename(&self, state: &mut State, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        // Of the spool's own directories none is named by a path.
        if self.is_two && matches!((from.dir, to.dir), (Dir::Fd(_), Dir::Path(_))) {
            return Err(Errno::XDEV.into());
        }
        let (from, to) = (state.key(from)?, state.key(to)?);
        if !state.exists(&from) {
            return Err(Errno::NOENT.into());
        }
        let mut replaced = None;
        if state.exists(&to) {
            // Only the publisher's own files, which come from hidden ones, replace what has the name.
            if !from.1.as_encoded_bytes().starts_with(b".") {
                return Err(Errno::EXIST.into());
            }
            let kept = keep(state);
            rename_at(&state.dirs[&to.0], &to.1, &self.morgue, &kept);
            replaced = Some(kept);
        }
        rename_at(&state.dirs[&from.0], &from.1, &state.dirs[&to.0], &to.1);
        state.push(Change::Rename { replaced }, vec![from, to], None, None);
        Ok(())
    }

    /// The power goes: takes back what is not certain.
    pub(super) fn cut(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let ops = std::mem::take(&mut state.pending);
        let mut lost: Vec<bool> = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let in_new_dir = |earlier: &Op| {
                let made = |made: u64| op.keys.iter().any(|(dir, _)| *dir == made);
                earlier.made.is_some_and(made)
            };
            let needs = |earlier: &Op| in_new_dir(earlier) || op.follows(earlier);
            let orphaned = (0..index).any(|other| lost[other] && needs(&ops[other]));
            lost.push(orphaned || state.rng.random_bool(0.5));
        }
        for (op, lost) in ops.into_iter().zip(lost).rev() {
            if lost {
                undo(state, &self.morgue, &op);
            }
        }
        for (_, body) in std::mem::take(&mut state.bodies) {
            let length = body.file.metadata().unwrap().len();
            if length > body.durable_bytes {
                let left = state.rng.random_range(body.durable_bytes..=length);
                body.file.set_len(left).unwrap();
                if state.rng.random_bool(0.5) {
                    body.file.set_len(length).unwrap();
                }
            }
        }
    }
}

const SYNC_OF_FILE: &str = "sync of a file in ";
const SYNC_OF_DIR: &str = "sync of a directory in ";

fn is_sync(what: &str) -> bool {
    what.starts_with(SYNC_OF_FILE) || what.starts_with(SYNC_OF_DIR)
}

fn keep(state: &mut State) -> OsString {
    state.kept += 1;
    state.kept.to_string().into()
}

fn rename_at(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) {
    renameat_with(from, name, to, new, RenameFlags::NOREPLACE).unwrap();
}

fn undo(state: &mut State, morgue: &OwnedFd, op: &Op) {
    let (dir, name) = &op.keys[0];
    let dir = state.dirs[dir].try_clone().unwrap();
    match &op.change {
        Change::CreateDir | Change::CreateFile => {
            let kept = keep(state);
            rename_at(&dir, name, morgue, &kept);
        }
        Change::Removed { kept } => rename_at(morgue, kept, &dir, name),
        Change::Rename { replaced } => {
            let (to, new) = &op.keys[1];
            rename_at(&state.dirs[to], new, &dir, name);
            if let Some(kept) = replaced {
                rename_at(morgue, kept, &state.dirs[to], new);
            }
        }
    }
}

impl State {
    /// One of the next steps, rather a near one.
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

    /// The inode of a directory, which stays open from now on.
    fn dir(&mut self, dir: Dir<'_>) -> io::Result<u64> {
        let fd: OwnedFd = match dir {
            Dir::Fd(fd) => fd.try_clone_to_owned()?,
            Dir::Path(path) => File::open(path)?.into(),
        };
        let inode = fstat(&fd)?.st_ino;
        self.dirs.entry(inode).or_insert(fd);
        Ok(inode)
    }

    fn key(&mut self, place: Place<'_>) -> io::Result<Key> {
        Ok((self.dir(place.dir)?, place.name.to_owned()))
    }

    fn exists(&self, key: &Key) -> bool {
        statat(&self.dirs[&key.0], &key.1, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// A file's content, the directory of a claimed one known.
    fn read(&self, key: &Key) -> Vec<u8> {
        let file = openat(&self.dirs[&key.0], &key.1, OFlags::RDONLY, Mode::empty()).unwrap();
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut File::from(file), &mut bytes).unwrap();
        bytes
    }

    fn push(&mut self, change: Change, keys: Vec<Key>, made: Option<u64>, emptied: Option<u64>) {
        let unsynced = keys.iter().map(|(dir, _)| *dir).collect();
        self.pending.push(Op {
            change,
            keys,
            made,
            emptied,
            unsynced,
        });
    }

    fn sync_dir(&mut self, dir: u64) {
        for op in &mut self.pending {
            op.unsynced.remove(&dir);
        }
        // What is certain makes certain what came before it on the same name.
        for index in (0..self.pending.len()).rev() {
            if self.pending[index].unsynced.is_empty() {
                let (before, rest) = self.pending.split_at_mut(index);
                for earlier in before {
                    if rest[0].follows(earlier) {
                        earlier.unsynced.clear();
                    }
                }
            }
        }
        self.pending.retain(|op| !op.unsynced.is_empty());
    }

    fn created_file(&mut self, place: Place<'_>) -> io::Result<()> {
        let key = self.key(place)?;
        let file: File = openat(&self.dirs[&key.0], &key.1, OFlags::RDWR, Mode::empty())?.into();
        let inode = file.metadata()?.ino();
        let body = Body {
            file,
            durable_bytes: 0,
        };
        if self.bodies.insert(inode, body).is_none() {
            self.push(Change::CreateFile, vec![key], None, None);
        }
        Ok(())
    }
}

impl Faults for PowerDisk {
    fn before(&self, step: Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
        if self.lock().dead {
            return Err(io::Error::other("dead"));
        }
        self.instant();
        let is_read = matches!(step, Step::Read);
        let is_content = is_read && site.file().contains("/seal/");
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
                // What is done about it begins with a step or two.
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
        // Between the last check and the removal nobody could see another change.
        let due = state
            .between
            .as_ref()
            .is_some_and(|(at, when_read, _)| state.steps >= *at && (is_content || !when_read));
        if due && !matches!(step, Step::Remove(_)) {
            let (.., mut act) = state.between.take().unwrap();
            act(&mut state.rng);
        }
        match step {
            Step::SyncFile(file) => {
                drop(guard);
                if !self.is_overruled(name) {
                    let metadata = file.metadata()?;
                    if let Some(body) = self.lock().bodies.get_mut(&metadata.ino()) {
                        body.durable_bytes = metadata.len();
                    }
                }
                Ok(Verdict::Done)
            }
            Step::SyncDir(dir) => {
                drop(guard);
                if !self.is_overruled(name) {
                    let mut state = self.lock();
                    let dir = state.dir(dir)?;
                    state.sync_dir(dir);
                }
                Ok(Verdict::Done)
            }
            Step::Remove(place) | Step::RemoveDir(place) => {
                self.remove(state, step, place).map(|()| Verdict::Done)
            }
            Step::Rename(from, to) => self.rename(state, from, to).map(|()| Verdict::Done),
            _ => Ok(Verdict::Go),
        }
    }

    fn after(&self, step: Step<'_>) {
        let mut state = self.lock();
        match step {
            Step::CreateDir(place) => {
                let key = state.key(place).unwrap();
                let dir = openat(
                    &state.dirs[&key.0],
                    &key.1,
                    OFlags::DIRECTORY,
                    Mode::empty(),
                );
                let made = state.dir(Dir::Fd(dir.unwrap().as_fd())).unwrap();
                state.push(Change::CreateDir, vec![key], Some(made), None);
            }
            Step::CreateFile(place) => state.created_file(place).unwrap(),
            _ => {}
        }
        drop(state);
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
