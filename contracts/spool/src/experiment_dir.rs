//! The directory of one experiment in the spool.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::path::date_dir;
use crate::{Name, PendingFile, SpoolError, SpoolPath};

/// `<spool>/<experiment>`: what an experiment gets as its data directory.
#[derive(Debug, Clone)]
pub struct ExperimentDir {
    path: PathBuf,
    experiment: Name,
}

impl ExperimentDir {
    /// Opens the directory and creates what lacks of it, `.tmp` included.
    pub fn open(path: impl Into<PathBuf>, experiment: Name) -> Result<Self, SpoolError> {
        let path = path.into();
        fs::create_dir_all(path.join(".tmp"))
            .map_err(SpoolError::at("create spool directory", &path))?;
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
    /// published. Files of a living writer are locked and stay. Returns how many
    /// were removed.
    pub fn clear_abandoned(&self) -> Result<usize, SpoolError> {
        let dir = self.tmp_dir();
        let at = |operation| SpoolError::at(operation, &dir);
        let mut removed = 0;
        for entry in fs::read_dir(&dir).map_err(at("list"))? {
            let path = entry.map_err(at("list"))?.path();
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if file.try_lock().is_err() {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                // Its writer lived after all and has just committed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SpoolError::at("remove abandoned file", &path)(error)),
            }
        }
        Ok(removed)
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
