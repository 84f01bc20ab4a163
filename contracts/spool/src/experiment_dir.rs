//! The directory of one experiment in the spool.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::durable::create_dirs_durable;
use crate::path::date_dir;
use crate::{Name, PendingFile, SpoolError, SpoolPath};

/// `<spool>/<experiment>`: what an experiment gets as its data directory.
#[derive(Debug, Clone)]
pub struct ExperimentDir {
    path: PathBuf,
    experiment: Name,
}

impl ExperimentDir {
    /// Opens the directory and creates what lacks of it, `.tmp` included; both are
    /// durable when this returns.
    pub fn open(path: impl Into<PathBuf>, experiment: Name) -> Result<Self, SpoolError> {
        let path = path.into();
        make(&path).map_err(SpoolError::at("create spool directory", &path))?;
        Ok(Self { path, experiment })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose directory it is.
    pub fn experiment(&self) -> &Name {
        &self.experiment
    }

    /// The tree of one datatype.
    pub fn datatype_dir(&self, datatype: &Name) -> PathBuf {
        self.path.join(datatype.as_str())
    }

    /// Where a file stands once it is closed.
    pub fn file_path(&self, path: &SpoolPath) -> PathBuf {
        self.datatype_dir(&path.datatype)
            .join(date_dir(path.date))
            .join(path.file.as_str())
    }

    /// Files that are being written.
    pub fn tmp_dir(&self) -> PathBuf {
        self.path.join(".tmp")
    }

    /// Files that the publisher has taken.
    pub fn claimed_dir(&self) -> PathBuf {
        self.path.join(".claimed")
    }

    /// While a file of this name is there, the experiment admits no new tests: the publisher puts it there when the disk
    /// is nearly full, renews its modification time every second or so, and takes it away when there is room again. One that
    /// was not renewed for some 90 seconds is void. Its text says why.
    pub fn admission_stop_file(&self) -> PathBuf {
        self.path.join(".admission-stopped")
    }

    /// Begins a file that takes its name only when it is committed.
    pub fn create(&self, path: &SpoolPath) -> Result<PendingFile, SpoolError> {
        PendingFile::create(self, path)
    }

    /// Writes a whole file, durably and in one step. A taken name is an error.
    pub fn write(&self, path: &SpoolPath, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
        let mut file = self.create(path)?;
        file.write_all(bytes)
            .map_err(SpoolError::at("write spool file", self.file_path(path)))?;
        file.commit()
    }

    /// Removes what writers that died left in `.tmp`: never closed, so never
    /// published. Files of a living writer are locked and stay. So does, with a warning,
    /// all that no writer of ours makes: links, pipes, directories, and what may not be
    /// removed. Returns how many were removed; only a `.tmp` that cannot be listed is an error.
    pub fn clear_abandoned(&self) -> Result<usize, SpoolError> {
        let dir = self.tmp_dir();
        let at = |operation| SpoolError::at(operation, &dir);
        let (mut removed, mut strange) = (0, 0_usize);
        for entry in fs::read_dir(&dir).map_err(at("list"))? {
            let path = entry.map_err(at("list"))?.path();
            match clear_one(&path) {
                Ok(Cleared::Removed) => removed += 1,
                Ok(Cleared::Used) => {}
                Err(error) => {
                    // One line, however many somebody has put there.
                    if strange == 0 {
                        tracing::warn!(?path, %error, "this stays in the directory of unfinished files");
                    }
                    strange += 1;
                }
            }
        }
        if strange > 1 {
            tracing::warn!(?dir, strange, "in all, these stay there");
        }
        Ok(removed)
    }
}

enum Cleared {
    Removed,
    /// Its writer lives, or has just committed it.
    Used,
}

fn clear_one(path: &Path) -> io::Result<Cleared> {
    // Opening a pipe waits for its other end, and a link leads to somebody else's file.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => File::options()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(path),
        Ok(_) => return Err(io::Error::other("no regular file")),
        Err(error) => Err(error),
    };
    let removed = found.and_then(|file| match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| Cleared::Removed),
        Err(TryLockError::WouldBlock) => Ok(Cleared::Used),
        Err(TryLockError::Error(error)) => Err(error),
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Cleared::Used),
        other => other,
    }
}

/// Creates `path` and its `.tmp` below the nearest directory that is there.
fn make(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let above = path.parent().unwrap_or(&path);
    let base = above.ancestors().find(|dir| dir.is_dir());
    create_dirs_durable(base.unwrap_or(above), &path.join(".tmp"))?;
    // Through a link, files of another directory would be taken for abandoned.
    if fs::symlink_metadata(path.join(".tmp"))?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, ExperimentDir) {
        let dir = tempfile::tempdir().unwrap();
        let open = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
        (dir, open)
    }

    fn path() -> SpoolPath {
        "ndt7/2026/11/22/test.json".parse().unwrap()
    }

    #[test]
    fn a_written_file_stands_under_its_name_and_nowhere_else() {
        let (_keep, dir) = spool();
        let written = dir.write(&path(), b"{}").unwrap();
        assert_eq!(written, dir.path().join("ndt7/2026/11/22/test.json"));
        assert_eq!(fs::read(&written).unwrap(), b"{}");
        assert_eq!(fs::read_dir(dir.tmp_dir()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_is_never_written_twice() {
        let (_keep, dir) = spool();
        dir.write(&path(), b"first").unwrap();
        let error = dir.write(&path(), b"second").unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert_eq!(fs::read(dir.file_path(&path())).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.tmp_dir()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_seen_before_the_commit_and_nothing_stays_without_it() {
        let (_keep, dir) = spool();
        let mut pending = dir.create(&path()).unwrap();
        pending.write_all(b"half").unwrap();
        assert!(!dir.file_path(&path()).exists());
        drop(pending);
        assert_eq!(fs::read_dir(dir.tmp_dir()).unwrap().count(), 0);
    }

    #[test]
    fn only_files_of_dead_writers_are_cleared() {
        let (_keep, dir) = spool();
        fs::write(dir.tmp_dir().join("left-over"), b"half").unwrap();
        let alive = dir.create(&path()).unwrap();
        assert_eq!(dir.clear_abandoned().unwrap(), 1);
        alive.commit().unwrap();
        assert!(dir.file_path(&path()).exists());
    }

    #[test]
    fn what_no_writer_makes_neither_stops_clearing_nor_is_cleared() {
        let (keep, dir) = spool();
        let tmp = dir.tmp_dir();
        let outside = keep.path().join("outside");
        fs::write(&outside, b"another's").unwrap();
        std::os::unix::fs::symlink(&outside, tmp.join("a-link")).unwrap();
        std::os::unix::fs::symlink("nowhere", tmp.join("a-dangling-link")).unwrap();
        fs::create_dir(tmp.join("a-directory")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, tmp.join("a-pipe"), fifo, mode, 0).unwrap();
        fs::write(tmp.join("z-left-over"), b"half").unwrap();
        assert_eq!(dir.clear_abandoned().unwrap(), 1);
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 4);
        assert_eq!(fs::read(&outside).unwrap(), b"another's");
    }

    #[test]
    fn a_linked_directory_of_unfinished_files_is_refused() {
        let keep = tempfile::tempdir().unwrap();
        let (path, other) = (keep.path().join("ndt"), keep.path().join("other"));
        fs::create_dir(&path).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, path.join(".tmp")).unwrap();
        ExperimentDir::open(path, "ndt".parse().unwrap()).unwrap_err();
    }

    #[test]
    fn clearing_takes_nothing_from_a_writer_that_goes_on_writing() {
        let (_keep, dir) = spool();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for serial in 0..200 {
                    let path = format!("ndt7/2026/11/22/{serial}.json");
                    dir.write(&path.parse().unwrap(), b"{}").unwrap();
                }
            });
            while !writer.is_finished() {
                dir.clear_abandoned().unwrap();
            }
        });
        let written = fs::read_dir(dir.path().join("ndt7/2026/11/22")).unwrap();
        assert_eq!(written.count(), 200);
    }
}
