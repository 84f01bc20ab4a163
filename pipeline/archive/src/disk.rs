//! The steps that change directories, and the seam at which tests make them fail, die and be forgotten.
//!
//! [`Disk`] makes each step with one system call on the real file system. Before and after it asks its [`Faults`], which
//! in production are none; so what the tests try is the code that runs.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use groma_spool::{Rivals, rename_new};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// A directory, open or by its path.
#[derive(Clone, Copy, Debug)]
pub enum Dir<'a> {
    /// Open.
    Fd(BorrowedFd<'a>),
    /// By its path.
    Path(&'a Path),
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory.
    pub dir: Dir<'a>,
    /// The name there.
    pub name: &'a OsStr,
}

/// One step, as [`Faults`] see it.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Something is looked at, opened or listed; nothing changes.
    Read,
    /// An empty directory appears.
    CreateDir(Place<'a>),
    /// A file appears, or one of the publisher's own is emptied.
    CreateFile(Place<'a>),
    /// So many bytes are appended.
    Write(&'a File, usize),
    /// The bytes of a file become durable.
    SyncFile(&'a File),
    /// The entries of a directory become durable.
    SyncDir(Dir<'a>),
    /// A name moves.
    Rename(Place<'a>, Place<'a>),
    /// A file's name goes away.
    Remove(Place<'a>),
    /// An empty directory goes away.
    RemoveDir(Place<'a>),
}

/// What is to happen instead of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The step itself.
    Go,
    /// Nothing: it was seen to. Not for [`Step::CreateFile`], which must give a file, nor for [`Step::Write`].
    Done,
    /// Of a [`Step::Write`] only so many bytes, at least one.
    Short(usize),
}

/// What may befall steps. `site` is the line that asked for the step.
pub trait Faults: Send + Sync + fmt::Debug {
    /// Comes before a step; an error becomes the step's.
    fn before(&self, step: Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict>;
    /// Comes after a step that succeeded.
    fn after(&self, step: Step<'_>);
    /// Whether the program is to believe that what it just checked holds: tests that overrule a check show that it
    /// is needed.
    fn check(&self, what: &'static str, holds: bool) -> bool;
}

/// The real file system, in tests with faults.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

/// What happens to a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is an error.
    Refuse,
    /// It is an error. No other process creates names in that directory, which the caller has locked; see
    /// [`Rivals::Excluded`].
    RefuseAlone,
    /// What has it is replaced in the same instant.
    Replace,
}

impl<'a> Place<'a> {
    /// A name in an open directory.
    pub fn at(dir: &'a OwnedFd, name: &'a str) -> Place<'a> {
        Place {
            dir: Dir::Fd(dir.as_fd()),
            name: name.as_ref(),
        }
    }

    /// The last part of a path in the directory that the rest names.
    pub fn path(path: &'a Path) -> Place<'a> {
        Place {
            dir: Dir::Path(path.parent().unwrap_or(path)),
            name: path.file_name().unwrap_or_default(),
        }
    }

    /// For calls of the `…at` family: the directory's descriptor and the name, or the whole path.
    pub fn with<T>(self, call: impl FnOnce(BorrowedFd<'_>, &Path) -> T) -> T {
        match self.dir {
            Dir::Fd(fd) => call(fd, Path::new(self.name)),
            Dir::Path(dir) => call(CWD, &dir.join(self.name)),
        }
    }
}

impl Disk {
    /// The real file system with faults, for tests.
    pub fn with_faults(faults: Arc<dyn Faults>) -> Disk {
        Disk {
            faults: Some(faults),
        }
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

    /// The instant before something is read.
    #[track_caller]
    pub fn reading(&self) -> io::Result<()> {
        self.step(Step::Read, Location::caller(), || Ok(()))
    }

    /// Gives back `holds`, which the caller goes by.
    pub fn check(&self, what: &'static str, holds: bool) -> bool {
        match &self.faults {
            None => holds,
            Some(faults) => faults.check(what, holds),
        }
    }

    /// Creates a directory with this mode, less the umask.
    #[track_caller]
    pub fn create_dir(&self, place: Place<'_>, mode: u32) -> io::Result<()> {
        self.step(Step::CreateDir(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::mkdirat(fd, name, Mode::from_raw_mode(mode)))?;
            Ok(())
        })
    }

    /// Creates a file to be written; what stands under its name is emptied, or an error if `taken` refuses.
    #[track_caller]
    pub fn create_file(
        &self,
        place: Place<'_>,
        mode: u32,
        taken: Taken,
    ) -> io::Result<WritableFile> {
        let only_new = match taken {
            Taken::Refuse | Taken::RefuseAlone => OFlags::EXCL,
            Taken::Replace => OFlags::TRUNC,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | only_new;
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

    /// Moves a name within one file system.
    #[track_caller]
    pub fn rename(&self, from: Place<'_>, to: Place<'_>, taken: Taken) -> io::Result<()> {
        self.step(Step::Rename(from, to), Location::caller(), || {
            from.with(|from_dir, from_name| {
                to.with(|to_dir, to_name| {
                    let rivals = match taken {
                        Taken::Refuse => Rivals::Possible,
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

    /// Removes a file's name.
    #[track_caller]
    pub fn remove(&self, place: Place<'_>) -> io::Result<()> {
        self.step(Step::Remove(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::unlinkat(fd, name, AtFlags::empty()))?;
            Ok(())
        })
    }

    /// Removes a directory; an error if it is not empty.
    #[track_caller]
    pub fn remove_dir(&self, place: Place<'_>) -> io::Result<()> {
        self.step(Step::RemoveDir(place), Location::caller(), || {
            place.with(|fd, name| rustix::fs::unlinkat(fd, name, AtFlags::REMOVEDIR))?;
            Ok(())
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

    /// Creates what lacks of `dir` below `base`, which must exist, and makes the whole way durable.
    #[track_caller]
    pub fn create_dirs(&self, base: &Path, dir: &Path, mode: u32) -> io::Result<()> {
        let below = dir.strip_prefix(base).map_err(io::Error::other)?;
        let mut parent = base.to_path_buf();
        for part in below.components() {
            let child = parent.join(part);
            match self.create_dir(Place::path(&child), mode) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Also of one that exists: whoever created it may have died before this.
                _ => self.sync_dir(Dir::Path(&parent))?,
            }
            parent = child;
        }
        Ok(())
    }

    /// Puts a whole file in the place of what stands there: a power cut leaves the one or the other. Two writers must
    /// not write the same name at once.
    #[track_caller]
    pub fn write_durable(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let place = Place::path(path);
        let Dir::Path(parent) = place.dir else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut name = std::ffi::OsString::from(".");
        name.push(place.name);
        name.push(".partial");
        let temporary = parent.join(name);
        let mut file = self.create_file(Place::path(&temporary), mode, Taken::Replace)?;
        file.write_all(bytes)?;
        file.sync()?;
        self.rename(Place::path(&temporary), place, Taken::Replace)?;
        self.sync_dir(place.dir)
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

    /// Appends what a file still gives; the kernel copies where it can. Answers how many bytes that were.
    pub fn copy_from(&mut self, mut source: &File) -> io::Result<u64> {
        match &self.disk.faults {
            None => io::copy(&mut source, &mut self.file),
            Some(_) => io::copy(&mut source, self),
        }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
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
