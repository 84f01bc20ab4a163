//! The experiment's directory, walked without ever following a link: an experiment may put anything there, also a
//! symbolic link where a date directory belongs, and the publisher often has more rights than the experiment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use groma_spool::{Name, SpoolPath};
use jiff::civil::Date;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2};
use rustix::io::Errno;

use groma_archive::disk::{Dir as DirOf, Disk, Place, Taken};

use crate::journal::Identity;

/// The root of everything the publisher does in the spool.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    disk: Disk,
    is_old_kernel: AtomicBool,
}

/// The unit of `st_blocks` (stat(2)).
pub(crate) const STAT_BLOCK_BYTES: u64 = 512;

/// How often a way is tried that changes while it is gone.
const RACES: usize = 10;

/// What a directory holds under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: FileType,
    pub(crate) links: u64,
    /// What it takes of its disk.
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
    /// The root itself is configured by the operator, who may well use a link.
    pub(crate) fn open(path: &Path, disk: Disk) -> io::Result<Tree> {
        let root = rustix::fs::open(path, DIR_FLAGS.difference(OFlags::NOFOLLOW), Mode::empty())?;
        Ok(Tree {
            root,
            path: path.to_path_buf(),
            disk,
            is_old_kernel: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory by its path below the root; `NotFound` when any part is missing or is not a directory.
    pub(crate) fn dir(&self, relative: &str) -> io::Result<OwnedFd> {
        self.disk.reading()?;
        match self.below(relative) {
            Ok(dir) => Ok(dir),
            // Linux says ENOTDIR for a link, too, and ELOOP when it is told to resolve none.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                Err(io::ErrorKind::NotFound.into())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a directory in one step where the kernel can, part by part where it is older than 5.6 or forbids it.
    fn below(&self, relative: &str) -> rustix::io::Result<OwnedFd> {
        if !self.is_old_kernel.load(Ordering::Relaxed) {
            for _ in 0..RACES {
                let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                match openat2(&self.root, relative, DIR_FLAGS, Mode::empty(), flags) {
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
        let mut dir = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
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
        let mut dir = self.root.try_clone()?;
        for part in relative.split('/') {
            match self.disk.create_dir(Place::at(&dir, part), 0o755) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            dir = rustix::fs::openat(&dir, part, DIR_FLAGS, Mode::empty())?;
        }
        Ok(dir)
    }

    /// Removes a directory if it is empty; answers whether it is gone.
    pub(crate) fn remove_empty_dir(&self, parent: &OwnedFd, name: &str) -> io::Result<bool> {
        match self.disk.remove_dir(Place::at(parent, name)) {
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
            Ok(stat) => Ok(Some(Found::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens what `dir` holds under `name` for reading; look at the answer of [`look_open`] before reading.
    pub(crate) fn open_file(&self, dir: &OwnedFd, name: &str) -> io::Result<File> {
        self.disk.reading()?;
        Ok(rustix::fs::openat(dir, name, FILE_FLAGS, Mode::empty())?.into())
    }

    /// Moves a name between directories of one file system; `AlreadyExists` when it is taken there.
    pub(crate) fn rename_new(&self, from: &OwnedFd, to: &OwnedFd, name: &str) -> io::Result<()> {
        let (from, to) = (Place::at(from, name), Place::at(to, name));
        self.disk.rename(from, to, Taken::Refuse)
    }

    /// Removes a name.
    #[track_caller]
    pub(crate) fn unlink(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        self.disk.remove(Place::at(dir, name))
    }

    /// Makes the entries of a directory durable.
    #[track_caller]
    pub(crate) fn sync(&self, dir: &OwnedFd) -> io::Result<()> {
        self.disk.sync_dir(DirOf::Fd(dir.as_fd()))
    }

    /// Makes the entries of all directories above one durable.
    #[track_caller]
    pub(crate) fn sync_way(&self, relative: &str) -> io::Result<()> {
        let mut dir = self.root.try_clone()?;
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

/// What an open file is now.
pub(crate) fn look_open(file: &File) -> io::Result<Found> {
    Ok(Found::of(&rustix::fs::fstat(file)?))
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

    /// Whether it is the same file with the same content. Its blocks may be placed at any time.
    pub(crate) fn is(&self, other: &Found) -> bool {
        (self.kind, self.links, self.identity) == (other.kind, other.links, other.identity)
    }

    /// How long ago it was modified. What is from the future is as good as new.
    pub(crate) fn age(&self) -> Duration {
        let since_epoch = Duration::from_secs(u64::try_from(self.identity.mtime_s).unwrap_or(0));
        let modified = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
        modified
            .and_then(|modified| modified.elapsed().ok())
            .unwrap_or_default()
    }

    /// Why this is not to be read: only a regular file with one name is surely the experiment's own.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        match self.kind {
            FileType::RegularFile if self.links == 1 => None,
            FileType::RegularFile => Some("it has several hard links"),
            FileType::Symlink => Some("it is a symbolic link"),
            _ => Some("it is not a regular file"),
        }
    }
}

/// The directory of a spool file, below the experiment's directory.
pub(crate) fn spool_dir(path: &SpoolPath) -> String {
    format!("{}/{}", path.datatype, groma_spool::date_dir(path.date))
}

/// The directory of the claimed files of a datatype and date, below the experiment's directory.
pub(crate) fn claimed_dir(datatype: &Name, date: Date) -> String {
    format!(".claimed/{datatype}/{date}")
}
