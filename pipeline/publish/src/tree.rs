//! The experiment's directory, walked without following links: an experiment may put anything there, also a symbolic link
//! where a date directory belongs, and the publisher often has more rights than the experiment.
//!
//! One link is followed: that in the place of a datatype's directory, if root or the publisher's own user created it. An
//! operator puts a datatype on another disk that way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use groma_spool::{Name, SpoolPath, Volume};
use jiff::civil::Date;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, openat2, statx,
};
use rustix::io::Errno;

use groma_disk::{Dir as DirOf, Disk, Entry, Taken};

/// Which file it is, within one run of the publisher: it changes when the file is replaced, truncated, appended to or
/// written again. Device and inode are not stable across mounts; a journal identifies its files by their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) dev: u64,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
}

/// The root of everything the publisher does in the spool.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Mutex<Arc<OwnedFd>>,
    path: PathBuf,
    disk: Disk,
    is_old_kernel: AtomicBool,
    volumes: BTreeMap<Name, Volume>,
    /// Datatypes whose directory is a link.
    links: BTreeSet<String>,
}

/// The unit of `st_blocks` (stat(2)).
pub(crate) const STAT_BLOCK_BYTES: u64 = 512;

/// How often a way is tried that changes while it is gone.
const RACES: usize = 10;

/// The metadata of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: FileType,
    pub(crate) links: u64,
    /// When its inode was changed last, in seconds since 1970.
    changed_s: i64,
    /// Its size on disk.
    pub(crate) disk_bytes: u64,
    pub(crate) identity: Identity,
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
// Non-blocking, because opening a FIFO for reading would otherwise wait for a writer.
const FILE_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Tree {
    /// Opens the root. The operator configured it, and may use a link for it.
    pub(crate) fn open(path: &Path, disk: Disk) -> io::Result<Tree> {
        Ok(Tree {
            root: Mutex::new(Arc::new(open_root(path)?)),
            path: path.to_path_buf(),
            disk,
            is_old_kernel: AtomicBool::new(false),
            volumes: BTreeMap::new(),
            links: BTreeSet::new(),
        })
    }

    /// Takes in the directory of a datatype: on which volume it is, and whether it is a link.
    pub(crate) fn set_volume(&mut self, datatype: &Name, volume: Volume, is_link: bool) {
        self.volumes.insert(datatype.clone(), volume);
        if is_link {
            self.links.insert(datatype.to_string());
        }
    }

    /// Returns whether the datatype's directory is a link that may be followed.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for a link of another user.
    pub(crate) fn check_link(&self, datatype: &Name) -> io::Result<bool> {
        let name = datatype.as_str();
        let root = self.root();
        match rustix::fs::statat(&*root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                open_link(&root, name).map(|_| true)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The datatypes whose directory is a link.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(String::as_str)
    }

    fn root(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the root again if another directory has its path now. Returns whether it did.
    pub(crate) fn reopen_if_replaced(&self) -> io::Result<bool> {
        let number = |stat: Stat| (stat.st_dev, stat.st_ino);
        let now = number(rustix::fs::stat(&self.path)?);
        let is_same = rustix::fs::fstat(&*self.root()).is_ok_and(|stat| number(stat) == now);
        if is_same {
            return Ok(false);
        }
        let root = Arc::new(open_root(&self.path)?);
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = root;
        Ok(true)
    }

    /// The directory of the claimed files of a datatype, below the root.
    pub(crate) fn claimed_of(&self, datatype: &Name) -> String {
        claimed_on(self.volume(datatype), datatype)
    }

    /// The directory in which claimed files of a datatype would be if it were on another volume.
    pub(crate) fn claimed_elsewhere(&self, datatype: &Name) -> String {
        claimed_on(
            match self.volume(datatype) {
                Volume::Shared => Volume::Own,
                Volume::Own => Volume::Shared,
            },
            datatype,
        )
    }

    /// The directory of the claimed files of a datatype and date, below the root.
    pub(crate) fn claimed_dir(&self, datatype: &Name, date: Date) -> String {
        format!("{}/{date}", self.claimed_of(datatype))
    }

    fn volume(&self, datatype: &Name) -> Volume {
        let volume = self.volumes.get(datatype).copied();
        volume.unwrap_or(Volume::Shared)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory by its path below the root; `NotFound` when any part is missing or is not a directory.
    pub(crate) fn dir(&self, relative: &str) -> io::Result<OwnedFd> {
        self.disk.reading()?;
        match self.below(relative) {
            Ok(dir) => Ok(dir),
            // Linux also returns ENOTDIR for a link, and ELOOP if links must not be resolved.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                Err(io::ErrorKind::NotFound.into())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory in one step where the kernel can, part by part where it is older than 5.6 or forbids it.
    fn below(&self, relative: &str) -> rustix::io::Result<OwnedFd> {
        let root = self.root();
        let (first, rest) = relative.split_once('/').unwrap_or((relative, ""));
        if !self.links.contains(first) {
            return self.open_below(&root, relative);
        }
        let linked = open_link(&root, first)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::ACCESS))?;
        if rest.is_empty() {
            return Ok(linked);
        }
        self.open_below(&linked, rest)
    }

    fn open_below(&self, root: &OwnedFd, relative: &str) -> rustix::io::Result<OwnedFd> {
        if !self.is_old_kernel.load(Ordering::Relaxed) {
            for _ in 0..RACES {
                let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                match openat2(root, relative, DIR_FLAGS, Mode::empty(), flags) {
                    // A directory on the way was renamed at this instant.
                    Err(Errno::AGAIN) => {}
                    Err(Errno::NOSYS | Errno::PERM) => {
                        self.is_old_kernel.store(true, Ordering::Relaxed);
                        break;
                    }
                    opened => return opened,
                }
            }
        }
        let mut dir = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
        for part in relative.split('/') {
            dir = rustix::fs::openat(&dir, part, DIR_FLAGS, Mode::empty())?;
        }
        Ok(dir)
    }

    /// Opens a directory and creates what is missing of it; [`Tree::sync_way`] makes that durable.
    pub(crate) fn create_dir(&self, relative: &str) -> io::Result<OwnedFd> {
        match self.dir(relative) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let (mut dir, relative) = self.enter(relative)?;
        for part in relative.split('/') {
            match self.disk.create_dir(Entry::at(&dir, part), 0o700) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            dir = rustix::fs::openat(&dir, part, DIR_FLAGS, Mode::empty())?;
        }
        Ok(dir)
    }

    /// The directory at which a path begins, and the rest of the path: the root, or the directory behind a datatype's link.
    fn enter<'a>(&self, relative: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let root = self.root();
        match relative.split_once('/') {
            Some((first, rest)) if self.links.contains(first) => {
                Ok((open_link(&root, first)?, rest))
            }
            _ => Ok((root.try_clone()?, relative)),
        }
    }

    /// Removes a directory if it is empty; answers whether it is gone.
    pub(crate) fn remove_empty_dir(&self, parent: &OwnedFd, name: &str) -> io::Result<bool> {
        match self.disk.remove_dir(Entry::at(parent, name)) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Ok(true),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// What `dir` holds under `name`, without following a link; `None` when nothing.
    pub(crate) fn look(&self, dir: &OwnedFd, name: &str) -> io::Result<Option<Found>> {
        self.disk.reading()?;
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let mut found = Found::of(&stat);
                found.ask_for_links(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                Ok(Some(found))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens what `dir` holds under `name` for reading; look at the answer of [`look_open`] before reading.
    pub(crate) fn open_file(&self, dir: &OwnedFd, name: &str) -> io::Result<File> {
        self.disk.reading()?;
        Ok(rustix::fs::openat(dir, name, FILE_FLAGS, Mode::empty())?.into())
    }

    /// Moves a name into a directory of claimed files; `AlreadyExists` when it is taken there.
    pub(crate) fn rename_new(&self, from: &OwnedFd, to: &OwnedFd, name: &str) -> io::Result<()> {
        let (from, to) = (Entry::at(from, name), Entry::at(to, name));
        self.disk.rename(from, to, Taken::RefuseAlone)
    }

    /// Removes a name.
    #[track_caller]
    pub(crate) fn unlink(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        self.disk.remove(Entry::at(dir, name))
    }

    /// Makes the entries of a directory durable.
    #[track_caller]
    pub(crate) fn sync(&self, dir: &OwnedFd) -> io::Result<()> {
        self.disk.sync_dir(DirOf::Fd(dir.as_fd()))
    }

    /// Makes the entries of all directories above one durable.
    #[track_caller]
    pub(crate) fn sync_way(&self, relative: &str) -> io::Result<()> {
        let (mut dir, relative) = self.enter(relative)?;
        for part in relative.split('/') {
            self.sync(&dir)?;
            dir = rustix::fs::openat(&dir, part, DIR_FLAGS, Mode::empty())?;
        }
        Ok(())
    }

    /// Calls `visit` with every name in a directory that is not hidden, and whether it is a directory, until `visit`
    /// answers false. A name that is not UTF-8 is given with replacement characters.
    pub(crate) fn each_entry(
        &self,
        dir: &OwnedFd,
        mut visit: impl FnMut(&str, bool) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.disk.reading()?;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Unknown => self
                    .look(dir, &name)?
                    .is_some_and(|found| found.kind == FileType::Directory),
                kind => kind == FileType::Directory,
            };
            if !visit(&name, is_dir)? {
                break;
            }
        }
        Ok(())
    }
}

/// Returns the current metadata of an open file.
pub(crate) fn look_open(file: &File) -> io::Result<Found> {
    let mut found = Found::of(&rustix::fs::fstat(file)?);
    found.ask_for_links(file, "", AtFlags::EMPTY_PATH);
    Ok(found)
}

impl Found {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the widths of these fields differ between architectures"
    )]
    fn of(stat: &Stat) -> Found {
        Found {
            kind: FileType::from_raw_mode(stat.st_mode),
            links: stat.st_nlink as u64,
            changed_s: stat.st_ctime as i64,
            disk_bytes: (stat.st_blocks as u64).saturating_mul(STAT_BLOCK_BYTES),
            identity: Identity {
                dev: stat.st_dev as u64,
                inode: stat.st_ino as u64,
                size_bytes: stat.st_size as u64,
                mtime_s: stat.st_mtime as i64,
                mtime_ns: stat.st_mtime_nsec as u32,
            },
        }
    }

    /// Whether the file has the size and the modification time that it had. Device and inode are left out: a FUSE file
    /// system may number a file again between two calls.
    pub(crate) fn holds_still(&self, before: &Found) -> bool {
        let content = |found: &Found| {
            let identity = found.identity;
            (identity.size_bytes, identity.mtime_s, identity.mtime_ns)
        };
        content(self) == content(before)
    }

    /// Asks the file system again for the number of links if it is not one: FUSE and network file systems answer with that
    /// of some seconds ago.
    fn ask_for_links(&mut self, dir: impl AsFd, name: &str, flags: AtFlags) {
        if self.kind != FileType::RegularFile || self.links <= 1 {
            return;
        }
        let flags = flags | AtFlags::STATX_FORCE_SYNC;
        if let Ok(now) = statx(dir, name, flags, StatxFlags::NLINK) {
            self.links = now.stx_nlink.into();
        }
    }

    /// Whether its writer may be naming it at this moment by a hard link, whose other name goes away at once.
    pub(crate) fn may_have_fewer_links(&self) -> bool {
        const NAMING_TAKES: Duration = Duration::from_secs(2);
        self.kind == FileType::RegularFile && self.links > 1 && since(self.changed_s) < NAMING_TAKES
    }

    /// Returns the time since its last modification; zero for a time in the future.
    pub(crate) fn age(&self) -> Duration {
        since(self.identity.mtime_s)
    }

    /// Returns the reason not to read this file.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        groma_gate::objection(self.kind, self.links)
    }
}

/// The directory of a spool file, below the experiment's directory.
pub(crate) fn spool_dir(path: &SpoolPath) -> String {
    format!("{}/{}", path.datatype, groma_spool::date_dir(path.date))
}

fn claimed_on(volume: Volume, datatype: &Name) -> String {
    match volume {
        Volume::Shared => format!(".claimed/{datatype}"),
        Volume::Own => format!("{datatype}/.claimed"),
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = DIR_FLAGS.difference(OFlags::NOFOLLOW);
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens the directory behind a link that root or this user created.
fn open_link(root: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = rustix::fs::openat(root, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&link)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(rustix::fs::openat(root, name, DIR_FLAGS, Mode::empty())?);
    }
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        let reason = "it is a symbolic link of another user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
    let flags = DIR_FLAGS.difference(OFlags::NOFOLLOW);
    Ok(rustix::fs::openat(root, target, flags, Mode::empty())?)
}

/// How long ago a time was. A time in the future is now.
fn since(seconds: i64) -> Duration {
    let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let time = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
    let elapsed = time.and_then(|time| time.elapsed().ok());
    elapsed.unwrap_or_default()
}
