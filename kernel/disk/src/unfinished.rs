//! Files that are being written. Their writer holds a lock on them, so that [`clear_abandoned`] can recognise the files of dead
//! writers.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::{Dir, Disk, Entry, RENAME_LOCK, Taken, WritableFile};

/// A locked file without its final name. Dropped before it has one, it is removed.
#[derive(Debug)]
pub struct Unfinished {
    file: WritableFile,
    path: PathBuf,
    disk: Disk,
    is_named: bool,
}

impl Unfinished {
    /// Creates a file in `dir` with this mode, less the umask. Its name begins with `prefix` and is unique among all processes
    /// that share the directory.
    pub fn create(disk: &Disk, dir: &Path, prefix: &str, mode: u32) -> io::Result<Unfinished> {
        loop {
            let path = dir.join(format!("{prefix}{}", temporary_name()));
            let file = disk.create_file(Entry::path(&path), mode, Taken::Refuse)?;
            let made = Unfinished {
                file,
                path,
                disk: disk.clone(),
                is_named: false,
            };
            // Another process may clear the file between its creation and the lock. Then a new one is created.
            match made.file.file().try_lock() {
                Ok(()) if made.file.file().metadata()?.nlink() > 0 && made.path.exists() => {
                    return Ok(made);
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Returns the path that it has until it gets its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file, which can be read and written.
    pub fn file(&mut self) -> &mut WritableFile {
        &mut self.file
    }

    /// Makes the bytes durable and gives the file its name, durably: `fsync` of the file, rename, `fsync` of both directories.
    /// After an error the caller may call again with the same target.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the name is taken. The name that another writer gave is durable then.
    pub fn commit(&mut self, target: &Path, taken: Taken) -> io::Result<()> {
        self.file.sync()?;
        let (Some(from_dir), Some(to_dir)) = (self.path.parent(), target.parent()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // Opened before the file moves: if the process has no descriptor left, the caller may try again.
        let to = File::open(to_dir)?;
        let from = File::open(from_dir)?;
        if !self.is_named {
            let name = Entry::path(target).name;
            let entry = Entry {
                dir: Dir::Fd(to.as_fd()),
                name,
            };
            match self.disk.rename(Entry::path(&self.path), entry, taken) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // The writer that named the file may have died before it synced the directory.
                    self.disk.sync_dir(Dir::Fd(to.as_fd()))?;
                    return Err(error);
                }
                renamed => renamed?,
            }
            self.is_named = true;
        }
        self.disk.sync_dir(Dir::Fd(to.as_fd()))?;
        self.disk.sync_dir(Dir::Fd(from.as_fd()))
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_named {
            // A file that stays is cleared at the next start.
            let _ = self.disk.remove(Entry::path(&self.path));
        }
    }
}

/// Returns a file name that no other process uses, on this machine or on another that shares the directory.
pub fn temporary_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nanos}-{serial}", std::process::id())
}

/// Removes the files that dead writers left in a directory, and returns their number. Files of a living writer are locked and
/// stay. Links, pipes, directories and files that cannot be removed stay too, with a warning.
///
/// # Errors
///
/// Only a directory that cannot be listed is an error.
pub fn clear_abandoned(disk: &Disk, dir: &Path) -> io::Result<usize> {
    let (mut removed, mut failed) = (0, 0_usize);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // No process holds the lock of renames between two of them.
        if path.file_name().is_some_and(|name| name == RENAME_LOCK) {
            continue;
        }
        match clear_one(disk, &path) {
            Ok(is_removed) => removed += usize::from(is_removed),
            Err(error) => {
                // One line for the first, one for the number of the others.
                if failed == 0 {
                    tracing::warn!(?path, %error, "cannot clear an unfinished file");
                }
                failed += 1;
            }
        }
    }
    if failed > 1 {
        tracing::warn!(?dir, files = failed, "cannot clear these unfinished files");
    }
    Ok(removed)
}

/// Returns whether the file was removed; `false` if its writer lives or has just named it.
pub(crate) fn clear_one(disk: &Disk, path: &Path) -> io::Result<bool> {
    // A pipe would block until its other end is opened, and a link may lead to a file of another program.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => File::options()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(path),
        Ok(_) => return Err(io::Error::other("it is not a regular file")),
        Err(error) => Err(error),
    };
    let removed = found.and_then(|file| match file.try_lock() {
        Ok(()) => disk.remove(Entry::path(path)).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(dir: &Path) -> Unfinished {
        Unfinished::create(&Disk::default(), dir, "", 0o644).unwrap()
    }

    #[test]
    fn only_files_of_dead_writers_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("left-over"), b"half").unwrap();
        let mut alive = create(dir.path());
        assert_eq!(clear_abandoned(&Disk::default(), dir.path()).unwrap(), 1);
        let target = dir.path().join("named");
        alive.commit(&target, Taken::Refuse).unwrap();
        drop(alive);
        assert!(target.exists());
    }

    #[test]
    fn special_files_are_not_cleared_and_do_not_stop_clearing() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a-link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a-dangling-link")).unwrap();
        fs::create_dir(dir.path().join("a-directory")).unwrap();
        fs::write(dir.path().join(RENAME_LOCK), "").unwrap();
        fs::write(dir.path().join("z-left-over"), b"half").unwrap();
        assert_eq!(clear_abandoned(&Disk::default(), dir.path()).unwrap(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        assert!(outside.path().exists());
    }

    #[test]
    fn a_taken_name_stays_as_it_is_and_the_file_is_removed() {
        let (tmp, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = dir.path().join("file");
        fs::write(&target, "first").unwrap();
        let mut second = create(tmp.path());
        second.write_all(b"second").unwrap();
        let refused = second.commit(&target, Taken::Refuse).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"first");
        second.commit(&target, Taken::Replace).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"second");
        drop(second);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }
}
