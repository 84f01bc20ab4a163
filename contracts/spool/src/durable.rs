//! Steps on a directory tree that survive a power cut once they returned.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::rename::{Rivals, rename_new_path};

/// The mode of files in the spool, less the umask.
pub(crate) const FILE_MODE: u32 = 0o644;
/// The mode of directories in the spool, less the umask.
const DIR_MODE: u32 = 0o755;

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

/// Creates `dir` and the missing directories between it and `base`, which must exist, and makes every entry on the way
/// durable. New directories have mode 0755, less the umask.
///
/// Existing directories are synced too: another writer may have created them a moment ago and not have synced them yet.
/// The function remembers the directories that this process has synced, so that a writer of many files syncs each once.
pub fn create_dirs_durable(base: &Path, dir: &Path) -> io::Result<()> {
    static DURABLE: Memo = Memo::new();
    create_dirs(base, dir, &DURABLE, sync_dir)
}

fn create_dirs(
    base: &Path,
    dir: &Path,
    durable: &Memo,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let below = dir.strip_prefix(base).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the directory lies outside its base",
        )
    })?;
    let mut parent = base.to_owned();
    for part in below.components() {
        let child = parent.join(part);
        if !durable.holds(&child) {
            let made = create_dir_durable(&parent, &child, &sync)?;
            durable.remember(&child, &made);
        }
        parent = child;
    }
    Ok(())
}

/// Returns what was found at `child` before the sync: a directory that takes its place
/// later is not the durable one.
fn create_dir_durable(
    parent: &Path,
    child: &Path,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<fs::Metadata> {
    let made = match DirBuilder::new().mode(DIR_MODE).create(child) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let found = fs::metadata(child)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    match sync(parent) {
        // Where we may not even read, an operator made our directory and answers for it.
        Err(error) if !made && error.kind() == io::ErrorKind::PermissionDenied => Ok(found),
        synced => synced.map(|()| found),
    }
}

/// Creates a directory that only its owner may use, unless it exists. A link in its place is an error: through it, the
/// files of another directory would look abandoned.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    if fs::symlink_metadata(dir)?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// Which directory it is: device, inode and time of birth. Inode numbers come again,
/// soon after a directory was removed, but not with the same birth.
type Identity = (u64, u64, SystemTime);

/// Directories whose entry in the directory above is durable.
struct Memo(Mutex<Option<HashMap<PathBuf, Identity>>>);

impl Memo {
    /// A spool has a few directories per day; beyond this the old ones are forgotten.
    const MOST: usize = 4096;

    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn identity(found: &fs::Metadata) -> Option<Identity> {
        // A file system that tells no birth is synced every time.
        Some((found.dev(), found.ino(), found.created().ok()?))
    }

    fn holds(&self, dir: &Path) -> bool {
        let Some(now) = fs::metadata(dir).ok().as_ref().and_then(Self::identity) else {
            return false;
        };
        let known = self.0.lock().expect("nothing panics while it is locked");
        known.as_ref().and_then(|known| known.get(dir)) == Some(&now)
    }

    fn remember(&self, dir: &Path, found: &fs::Metadata) {
        let Some(identity) = Self::identity(found) else {
            return;
        };
        let mut known = self.0.lock().expect("nothing panics while it is locked");
        let known = known.get_or_insert_default();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(dir.to_owned(), identity);
    }
}

/// Writes a whole file so that after a crash at any instant its name holds either nothing new or all of it: a hidden
/// temporary file beside it, `fsync`, rename, `fsync` of the directory. The parent directory must exist. The file has mode
/// 0644, less the umask.
pub fn write_durable(path: &Path, bytes: &[u8], replace: Replace) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))?;
    let temporary = parent.join(temporary_name());
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match replace {
            Replace::Never => rename_new_path(&temporary, path, Rivals::Possible).map(drop),
            Replace::Always => fs::rename(&temporary, path),
        }
    })();
    if written.is_err() {
        // The first error is the one worth reporting; a leftover is hidden and harmless.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_dir(parent)
}

/// Returns a hidden file name that no other writer on this machine uses.
pub(crate) fn temporary_name() -> PathBuf {
    hidden_name(".tmp-")
}

/// As [`temporary_name`], with another beginning than `.tmp-`.
pub(crate) fn hidden_name(beginning: &str) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!(
        "{beginning}{}-{nanos}-{serial}",
        std::process::id()
    ))
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
        fs::write(dir.path().join("a/file"), "").unwrap();
        let error = create_dirs_durable(dir.path(), &dir.path().join("a/file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_directory_of_another_writer_is_made_durable_too_but_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let (base, leaf) = (dir.path(), dir.path().join("a/b"));
        let memo = Memo::new();
        let synced = || {
            let synced = std::cell::RefCell::new(Vec::new());
            let sync = |dir: &Path| {
                synced.borrow_mut().push(dir.to_owned());
                Ok(())
            };
            create_dirs(base, &leaf, &memo, sync).unwrap();
            synced.into_inner()
        };
        fs::create_dir_all(&leaf).unwrap();
        assert_eq!(synced(), [base.to_owned(), base.join("a")]);
        assert_eq!(synced(), [] as [PathBuf; 0]);
        fs::remove_dir(&leaf).unwrap();
        fs::create_dir(&leaf).unwrap();
        assert_eq!(synced(), [base.join("a")], "it is another one now");
        fs::remove_dir(&leaf).unwrap();
        assert_eq!(synced(), [base.join("a")]);
        assert!(leaf.is_dir());
    }
}
