//! Directories whose entries are durable.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::{DIR_MODE, Dir, Disk, Entry, PRIVATE_DIR_MODE};

/// As [`Disk::sync_dir`] on the real disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    Disk::default().sync_dir(Dir::Path(dir))
}

/// As [`Disk::create_dirs`] on the real disk, with mode 0755, less the umask.
pub fn create_dirs_durable(base: &Path, dir: &Path) -> io::Result<()> {
    Disk::default().create_dirs(base, dir, DIR_MODE)
}

/// As [`Disk::create_private_dir`] on the real disk.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    Disk::default().create_private_dir(dir)
}

impl Disk {
    /// Creates `dir` and the missing directories between it and `base`, which must exist, and makes all their entries durable.
    /// New directories have this mode, less the umask.
    ///
    /// Existing directories are synced too, because another writer may have created them and not synced them yet. The function
    /// remembers the directories that this process has synced, so that a writer of many files syncs each once. With faults it
    /// syncs all of them each time.
    #[track_caller]
    pub fn create_dirs(&self, base: &Path, dir: &Path, mode: u32) -> io::Result<()> {
        static DURABLE: Memo = Memo::new();
        let durable = (!self.has_faults()).then_some(&DURABLE);
        create_dirs(self, base, dir, mode, durable)
    }

    /// Creates a directory that only its owner may use, unless it exists. A symbolic link in its place is an error: the files of
    /// another directory would look abandoned. The entry is not durable yet.
    #[track_caller]
    pub fn create_private_dir(&self, dir: &Path) -> io::Result<()> {
        match self.create_dir(Entry::path(dir), PRIVATE_DIR_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
        if fs::symlink_metadata(dir)?.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }
}

#[track_caller]
fn create_dirs(
    disk: &Disk,
    base: &Path,
    dir: &Path,
    mode: u32,
    durable: Option<&Memo>,
) -> io::Result<()> {
    let below = dir.strip_prefix(base).map_err(|_| {
        let reason = "the directory is not below its base";
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    })?;
    let mut parent = base.to_owned();
    for part in below.components() {
        let child = parent.join(part);
        if !durable.is_some_and(|durable| durable.holds(&child)) {
            let made = create_dir_durable(disk, &parent, &child, mode)?;
            if let Some(durable) = durable {
                durable.remember(&child, &made);
            }
        }
        parent = child;
    }
    Ok(())
}

/// Returns the metadata of `child` from before the sync: a directory that replaces it later is not durable.
#[track_caller]
fn create_dir_durable(
    disk: &Disk,
    parent: &Path,
    child: &Path,
    mode: u32,
) -> io::Result<fs::Metadata> {
    let made = match disk.create_dir(Entry::path(child), mode) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let found = fs::metadata(child)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    match disk.sync_dir(Dir::Path(parent)) {
        // In a directory that this process may not read, the operator has created the child.
        Err(error) if !made && error.kind() == io::ErrorKind::PermissionDenied => Ok(found),
        synced => synced.map(|()| found),
    }
}

/// The identity of a directory: device, inode and time of birth. A file system soon reuses the inode number of a removed
/// directory, but not with the same time of birth.
type Identity = (u64, u64, SystemTime);

/// Directories whose entry in the directory above is durable.
struct Memo(Mutex<Option<HashMap<PathBuf, Identity>>>);

impl Memo {
    /// A spool has a few directories per day. With more than this number, all are forgotten.
    const MOST: usize = 4096;

    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn identity(found: &fs::Metadata) -> Option<Identity> {
        // Without a time of birth, the directory is synced every time.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Faults, Step, Verdict};
    use std::panic::Location;
    use std::sync::Arc;

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

    #[derive(Debug, Default)]
    struct Synced(Mutex<Vec<PathBuf>>);

    impl Faults for Synced {
        fn before(&self, step: Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
            if let Step::SyncDir(Dir::Path(dir)) = step {
                self.0.lock().unwrap().push(dir.to_owned());
            }
            Ok(Verdict::Go)
        }

        fn after(&self, _: Step<'_>) {}

        fn check(&self, _: &'static str, holds: bool) -> bool {
            holds
        }
    }

    #[test]
    fn a_directory_of_another_writer_is_made_durable_too_but_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let (base, leaf) = (dir.path(), dir.path().join("a/b"));
        let memo = Memo::new();
        let synced = || {
            let synced = Arc::new(Synced::default());
            let disk = Disk::with_faults(Arc::clone(&synced) as _);
            create_dirs(&disk, base, &leaf, DIR_MODE, Some(&memo)).unwrap();
            std::mem::take(&mut *synced.0.lock().unwrap())
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
