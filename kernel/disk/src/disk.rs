//! The steps that change a file system.
//!
//! [`Disk`] makes each step with one system call. Tests give it [`Faults`], which are called before and after each step and can
//! make it fail, end the program, or take it back later. Production code has no faults and is otherwise the same.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::{Rivals, rename_new};

/// With more files than this, [`Disk::sync_files`] syncs the whole file system: each single sync takes a disk milliseconds.
const MOST_SINGLE_SYNCS: usize = 8;

/// A directory.
#[derive(Clone, Copy, Debug)]
pub enum Dir<'a> {
    /// An open directory.
    Fd(BorrowedFd<'a>),
    /// A directory by its path.
    Path(&'a Path),
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The directory.
    pub dir: Dir<'a>,
    /// The name there.
    pub name: &'a OsStr,
}

/// A step, as [`Faults`] see it.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Something is read, opened or listed; nothing changes.
    Read,
    /// An empty directory appears.
    CreateDir(Entry<'a>),
    /// A file appears, or an existing one is truncated.
    CreateFile(Entry<'a>),
    /// This number of bytes is appended.
    Write(&'a File, usize),
    /// The bytes of a file become durable.
    SyncFile(&'a File),
    /// The entries of a directory become durable.
    SyncDir(Dir<'a>),
    /// A file moves to another name.
    Rename(Entry<'a>, Entry<'a>, Taken),
    /// A file is removed.
    Remove(Entry<'a>),
    /// An empty directory is removed.
    RemoveDir(Entry<'a>),
}

/// The decision of [`Faults`] about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make the step.
    Go,
    /// Skip the step, because the faults have made it. Not allowed for [`Step::CreateFile`] and [`Step::Write`].
    Done,
    /// Make a [`Step::Write`] with only this number of bytes, at least one.
    Short(usize),
}

/// Faults that tests inject. `site` is the source line that makes the step.
pub trait Faults: Send + Sync + fmt::Debug {
    /// Called before a step. An error becomes the result of the step.
    fn before(&self, step: Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict>;
    /// Called after a step that succeeded.
    fn after(&self, step: Step<'_>);
    /// Returns the result of a check that the program should use. Tests that override a check show that it is needed.
    fn check(&self, what: &'static str, holds: bool) -> bool;
}

/// The real file system, with faults in tests.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

/// The behaviour if a name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An error. Any program may create names in the directory; see [`Rivals::Possible`].
    Refuse,
    /// An error. Only programs that use this crate create names in the directory; see [`Rivals::Cooperating`].
    RefuseCooperating,
    /// An error. The caller has locked the directory; see [`Rivals::Excluded`].
    RefuseAlone,
    /// The file is replaced atomically.
    Replace,
}

impl<'a> Entry<'a> {
    /// Returns a name in an open directory.
    pub fn at(dir: &'a OwnedFd, name: &'a str) -> Entry<'a> {
        Entry {
            dir: Dir::Fd(dir.as_fd()),
            name: name.as_ref(),
        }
    }

    /// Returns the last component of a path, in the directory of the path.
    pub fn path(path: &'a Path) -> Entry<'a> {
        Entry {
            dir: Dir::Path(path.parent().unwrap_or(path)),
            name: path.file_name().unwrap_or_default(),
        }
    }

    /// Calls a function of the `…at` family with the descriptor of the directory and the name, or with the whole path.
    pub fn with<T>(self, call: impl FnOnce(BorrowedFd<'_>, &Path) -> T) -> T {
        match self.dir {
            Dir::Fd(fd) => call(fd, Path::new(self.name)),
            Dir::Path(dir) => call(CWD, &dir.join(self.name)),
        }
    }
}

impl Disk {
    /// Returns the real file system with faults, for tests.
    pub fn with_faults(faults: Arc<dyn Faults>) -> Disk {
        Disk {
            faults: Some(faults),
        }
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.faults.is_some()
    }

    fn step(
        &self,
        step: Step<'_>,
        site: &'static Location<'static>,
        real: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(faults) = &self.faults else {
            return real();
        };
        if faults.before(step, site)? != Verdict::Done {
            real()?;
        }
        faults.after(step);
        Ok(())
    }

    /// Reports to the faults that something is about to be read.
    #[track_caller]
    pub fn reading(&self) -> io::Result<()> {
        self.step(Step::Read, Location::caller(), || Ok(()))
    }

    /// Returns `holds`, or the result of the faults, which the caller must use.
    pub fn check(&self, what: &'static str, holds: bool) -> bool {
        match &self.faults {
            None => holds,
            Some(faults) => faults.check(what, holds),
        }
    }

    /// Creates a directory with this mode, less the umask.
    #[track_caller]
    pub fn create_dir(&self, place: Entry<'_>, mode: u32) -> io::Result<()> {
        self.step(Step::CreateDir(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::mkdirat(fd, name, Mode::from_raw_mode(mode)))?;
            Ok(())
        })
    }

    /// Creates a file for reading and writing. An existing file is truncated with [`Taken::Replace`], and an error otherwise. A
    /// symbolic link is an error.
    #[track_caller]
    pub fn create_file(
        &self,
        place: Entry<'_>,
        mode: u32,
        taken: Taken,
    ) -> io::Result<WritableFile> {
        let only_new = match taken {
            Taken::Replace => OFlags::TRUNC,
            _ => OFlags::EXCL,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | only_new;
        let mut created = None;
        self.step(Step::CreateFile(place), Location::caller(), || {
            let mode = Mode::from_raw_mode(mode);
            created = Some(place.with(|fd, name| rustix::fs::openat(fd, name, flags, mode))?);
            Ok(())
        })?;
        let file = created.ok_or(io::ErrorKind::NotFound)?;
        Ok(WritableFile {
            file: file.into(),
            disk: self.clone(),
        })
    }

    /// Renames a file within one file system. Nothing is durable yet.
    #[track_caller]
    pub fn rename(&self, from: Entry<'_>, to: Entry<'_>, taken: Taken) -> io::Result<()> {
        self.step(Step::Rename(from, to, taken), Location::caller(), || {
            from.with(|from_dir, from_name| {
                to.with(|to_dir, to_name| {
                    let rivals = match taken {
                        Taken::Refuse => Rivals::Possible,
                        Taken::RefuseCooperating => Rivals::Cooperating,
                        Taken::RefuseAlone => Rivals::Excluded,
                        Taken::Replace => {
                            let renamed =
                                rustix::fs::renameat(from_dir, from_name, to_dir, to_name);
                            return Ok(renamed?);
                        }
                    };
                    rename_new(from_dir, from_name, to_dir, to_name, rivals).map(drop)
                })
            })
        })
    }

    /// Removes a file.
    #[track_caller]
    pub fn remove(&self, place: Entry<'_>) -> io::Result<()> {
        self.step(Step::Remove(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::unlinkat(fd, name, AtFlags::empty()))?;
            Ok(())
        })
    }

    /// Removes a directory; an error if it is not empty.
    #[track_caller]
    pub fn remove_dir(&self, place: Entry<'_>) -> io::Result<()> {
        self.step(Step::RemoveDir(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::unlinkat(fd, name, AtFlags::REMOVEDIR))?;
            Ok(())
        })
    }

    /// Makes the bytes of files of one file system durable. With many files one `syncfs` replaces the single calls.
    #[track_caller]
    pub fn sync_files(&self, paths: &[&Path]) -> io::Result<()> {
        if paths.len() > MOST_SINGLE_SYNCS && !self.has_faults() {
            return Ok(rustix::fs::syncfs(File::open(paths[0])?)?);
        }
        let site = Location::caller();
        paths.iter().try_for_each(|path| {
            let file = File::open(path)?;
            self.step(Step::SyncFile(&file), site, || file.sync_all())
        })
    }

    /// Makes the entries of a directory durable.
    #[track_caller]
    pub fn sync_dir(&self, dir: Dir<'_>) -> io::Result<()> {
        self.step(Step::SyncDir(dir), Location::caller(), || match dir {
            Dir::Fd(fd) => Ok(rustix::fs::fsync(fd)?),
            Dir::Path(path) => File::open(path)?.sync_all(),
        })
    }
}

/// A file that a [`Disk`] has created.
#[derive(Debug)]
pub struct WritableFile {
    file: File,
    disk: Disk,
}

impl WritableFile {
    /// Makes its bytes durable.
    #[track_caller]
    pub fn sync(&self) -> io::Result<()> {
        let step = Step::SyncFile(&self.file);
        self.disk
            .step(step, Location::caller(), || self.file.sync_all())
    }

    /// Appends the rest of another file and returns the number of bytes. The kernel copies them if it can.
    pub fn copy_from(&mut self, mut source: &File) -> io::Result<u64> {
        match &self.disk.faults {
            None => io::copy(&mut source, &mut self.file),
            Some(_) => io::copy(&mut source, self),
        }
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the file, for reading and for other calls that need it mutable. Bytes that are written to it are not seen by
    /// faults until the next sync.
    pub fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Write for WritableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(faults) = &self.disk.faults else {
            return self.file.write(bytes);
        };
        let step = Step::Write(&self.file, bytes.len());
        let bytes = match faults.before(step, Location::caller())? {
            Verdict::Short(limit) => &bytes[..limit.clamp(1, bytes.len().max(1)).min(bytes.len())],
            _ => bytes,
        };
        let written = (&self.file).write(bytes)?;
        faults.after(Step::Write(&self.file, written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
