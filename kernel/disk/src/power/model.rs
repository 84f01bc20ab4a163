//! A directory tree and the steps on it that are not durable yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fstat, openat, renameat_with, statat};
use rustix::io::Errno;

use crate::{Dir, Entry, Step, Taken};

/// A name in the directory with this inode.
type Key = (u64, OsString);

/// The steps that a power cut can take back. See the [module](super) for its rules.
pub struct Model {
    /// Every directory that a step has used, open, by inode.
    dirs: BTreeMap<u64, OwnedFd>,
    /// Every file that was created, by inode.
    bodies: BTreeMap<u64, Body>,
    pending: Vec<Op>,
    /// The directory of removed files, which a power cut may bring back.
    morgue: OwnedFd,
    kept: u64,
}

struct Body {
    file: File,
    durable_bytes: u64,
}

enum Change {
    Create,
    Rename {
        replaced: Option<OsString>,
    },
    /// A file or directory, which has this name in the morgue.
    Remove {
        kept: OsString,
    },
}

struct Op {
    change: Change,
    /// The old name and, after a rename, the new one.
    keys: Vec<Key>,
    /// The directory that appeared.
    made: Option<u64>,
    /// The directory that was removed.
    emptied: Option<u64>,
    /// Changed directories that were not synced since.
    unsynced: BTreeSet<u64>,
}

impl Op {
    /// Whether it uses a name of an earlier step, or removes the directory of an earlier one.
    fn follows(&self, earlier: &Op) -> bool {
        earlier
            .keys
            .iter()
            .any(|key| self.keys.contains(key) || self.emptied == Some(key.0))
    }
}

impl Model {
    /// Returns a model without steps. `morgue` must be an empty directory beside the tree, on the same file system.
    pub fn new(morgue: &Path) -> io::Result<Model> {
        Ok(Model {
            dirs: BTreeMap::new(),
            bodies: BTreeMap::new(),
            pending: Vec::new(),
            morgue: File::open(morgue)?.into(),
            kept: 0,
        })
    }

    /// Records a step that the real disk has made: [`Step::CreateDir`] or [`Step::CreateFile`].
    pub fn made(&mut self, step: Step<'_>) -> io::Result<()> {
        match step {
            Step::CreateDir(entry) => {
                let key = self.key(entry)?;
                let dir = openat(&self.dirs[&key.0], &key.1, OFlags::DIRECTORY, Mode::empty())?;
                let made = self.dir(Dir::Fd(dir.as_fd()))?;
                self.push(Change::Create, vec![key], Some(made), None);
            }
            Step::CreateFile(entry) => {
                let key = self.key(entry)?;
                let file = openat(&self.dirs[&key.0], &key.1, OFlags::RDWR, Mode::empty())?;
                let file = File::from(file);
                let inode = file.metadata()?.ino();
                let body = Body {
                    file,
                    durable_bytes: 0,
                };
                if self.bodies.insert(inode, body).is_none() {
                    self.push(Change::Create, vec![key], None, None);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes a step in place of the real disk and returns whether it did. It makes all steps except those of [`Model::made`],
    /// writes and reads.
    pub fn make(&mut self, step: Step<'_>) -> io::Result<bool> {
        match step {
            Step::SyncFile(file) => {
                let metadata = file.metadata()?;
                if let Some(body) = self.bodies.get_mut(&metadata.ino()) {
                    body.durable_bytes = metadata.len();
                }
            }
            Step::SyncDir(dir) => self.sync_dir(dir)?,
            Step::Rename(from, to, taken) => self.rename(from, to, taken)?,
            Step::Remove(entry) => self.remove(entry, false)?,
            Step::RemoveDir(entry) => self.remove(entry, true)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the content of a file.
    pub fn read(&mut self, entry: Entry<'_>) -> io::Result<Vec<u8>> {
        let key = self.key(entry)?;
        let file = openat(&self.dirs[&key.0], &key.1, OFlags::RDONLY, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Cuts the power: takes back steps that are not durable.
    pub fn cut(&mut self, rng: &mut StdRng) -> io::Result<()> {
        let ops = std::mem::take(&mut self.pending);
        let mut lost: Vec<bool> = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let in_new_dir = |earlier: &Op| {
                let made = |made: u64| op.keys.iter().any(|(dir, _)| *dir == made);
                earlier.made.is_some_and(made)
            };
            let needs = |earlier: &Op| in_new_dir(earlier) || op.follows(earlier);
            let orphaned = (0..index).any(|other| lost[other] && needs(&ops[other]));
            lost.push(orphaned || rng.random_bool(0.5));
        }
        for (op, lost) in ops.into_iter().zip(lost).rev() {
            if lost {
                self.undo(&op)?;
            }
        }
        for (_, body) in std::mem::take(&mut self.bodies) {
            let length = body.file.metadata()?.len();
            if length > body.durable_bytes {
                body.file
                    .set_len(rng.random_range(body.durable_bytes..=length))?;
                if rng.random_bool(0.5) {
                    body.file.set_len(length)?;
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, entry: Entry<'_>, is_dir: bool) -> io::Result<()> {
        let key = self.key(entry)?;
        if !self.exists(&key) {
            return Err(Errno::NOENT.into());
        }
        let mut emptied = None;
        if is_dir {
            let dir = openat(&self.dirs[&key.0], &key.1, OFlags::DIRECTORY, Mode::empty())?;
            // Besides `.` and `..`.
            if rustix::fs::Dir::read_from(&dir)?.count() > 2 {
                return Err(Errno::NOTEMPTY.into());
            }
            emptied = Some(fstat(&dir)?.st_ino);
        }
        let kept = self.keep();
        move_name(&self.dirs[&key.0], &key.1, &self.morgue, &kept)?;
        self.push(Change::Remove { kept }, vec![key], None, emptied);
        Ok(())
    }

    fn rename(&mut self, from: Entry<'_>, to: Entry<'_>, taken: Taken) -> io::Result<()> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        if !self.exists(&from) {
            return Err(Errno::NOENT.into());
        }
        let mut replaced = None;
        if self.exists(&to) {
            if taken != Taken::Replace {
                return Err(Errno::EXIST.into());
            }
            let kept = self.keep();
            move_name(&self.dirs[&to.0], &to.1, &self.morgue, &kept)?;
            replaced = Some(kept);
        }
        move_name(&self.dirs[&from.0], &from.1, &self.dirs[&to.0], &to.1)?;
        self.push(Change::Rename { replaced }, vec![from, to], None, None);
        Ok(())
    }

    fn sync_dir(&mut self, dir: Dir<'_>) -> io::Result<()> {
        let dir = self.dir(dir)?;
        for op in &mut self.pending {
            op.unsynced.remove(&dir);
        }
        // A durable step makes the earlier steps on the same name durable.
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
        Ok(())
    }

    fn undo(&mut self, op: &Op) -> io::Result<()> {
        let (dir, name) = &op.keys[0];
        match &op.change {
            Change::Create => {
                let kept = self.keep();
                move_name(&self.dirs[dir], name, &self.morgue, &kept)
            }
            Change::Remove { kept } => move_name(&self.morgue, kept, &self.dirs[dir], name),
            Change::Rename { replaced } => {
                let (to, new) = &op.keys[1];
                move_name(&self.dirs[to], new, &self.dirs[dir], name)?;
                match replaced {
                    Some(kept) => move_name(&self.morgue, kept, &self.dirs[to], new),
                    None => Ok(()),
                }
            }
        }
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

    /// Returns the inode of a directory, which stays open.
    fn dir(&mut self, dir: Dir<'_>) -> io::Result<u64> {
        let fd: OwnedFd = match dir {
            Dir::Fd(fd) => fd.try_clone_to_owned()?,
            Dir::Path(path) => File::open(path)?.into(),
        };
        let inode = fstat(&fd)?.st_ino;
        self.dirs.entry(inode).or_insert(fd);
        Ok(inode)
    }

    fn key(&mut self, entry: Entry<'_>) -> io::Result<Key> {
        Ok((self.dir(entry.dir)?, entry.name.to_owned()))
    }

    fn exists(&self, key: &Key) -> bool {
        statat(&self.dirs[&key.0], &key.1, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn keep(&mut self) -> OsString {
        self.kept += 1;
        self.kept.to_string().into()
    }
}

fn move_name(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    Ok(renameat_with(from, name, to, new, RenameFlags::NOREPLACE)?)
}
