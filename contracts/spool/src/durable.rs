//! Steps on a directory tree that survive a power cut once they returned.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What to do if the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with `AlreadyExists`, atomically.
    Never,
    /// Put the new file in its place, atomically.
    Always,
}

/// Makes the entries of a directory durable (`fsync` on the directory).
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `dir` and what lacks above it, down from `base`, which must exist;
/// every directory that gained an entry is made durable.
pub fn create_dirs_durable(base: &Path, dir: &Path) -> io::Result<()> {
    let below = dir.strip_prefix(base).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the directory lies outside its base",
        )
    })?;
    if dir.is_dir() {
        return Ok(());
    }
    let mut parent = base.to_owned();
    for part in below.components() {
        let child = parent.join(part);
        match fs::create_dir(&child) {
            Ok(()) => sync_dir(&parent)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        parent = child;
    }
    Ok(())
}

/// Renames on one file system; with [`Replace::Never`] a taken name is an
/// `AlreadyExists` error and nothing moves. The directories are not yet durable.
pub(crate) fn rename(from: &Path, to: &Path, replace: Replace) -> io::Result<()> {
    let flags = match replace {
        Replace::Never => RenameFlags::NOREPLACE,
        Replace::Always => RenameFlags::empty(),
    };
    match renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        // Some network file systems know no RENAME_NOREPLACE; a hard link is as atomic.
        Err(rustix::io::Errno::INVAL) if replace == Replace::Never => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a whole file so that after a crash at any instant either nothing or
/// all of it stands under its name: a hidden temporary file beside it, `fsync`,
/// rename, `fsync` of the directory. The parent directory must exist.
pub fn write_durable(path: &Path, bytes: &[u8], replace: Replace) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))?;
    let temporary = parent.join(temporary_name());
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename(&temporary, path, replace)
    })();
    if written.is_err() {
        // The first error is the one worth reporting; a leftover is hidden and harmless.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_dir(parent)
}

/// A hidden file name that no other writer on this machine uses.
pub(crate) fn temporary_name() -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!(".tmp-{}-{nanos}-{serial}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durable(&path, b"one", Replace::Never).unwrap();
        let again = write_durable(&path, b"two", Replace::Never).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_durable(&path, b"three", Replace::Always).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "temporary files are left"
        );
    }

    #[test]
    fn directories_are_made_only_below_their_base() {
        let dir = tempfile::tempdir().unwrap();
        create_dirs_durable(dir.path(), &dir.path().join("a/b/c")).unwrap();
        create_dirs_durable(dir.path(), &dir.path().join("a/b/c")).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(create_dirs_durable(&dir.path().join("a"), &dir.path().join("b")).is_err());
    }
}
