//! The directory of one experiment in the spool.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use groma_disk::{DIR_MODE, Disk, Method, Rivals, clear_abandoned};
use jiff::civil::Date;

use crate::path::date_dir;
use crate::volume::{Volume, probe};
use crate::{Name, PendingFile, Reservation, SpoolError, SpoolPath};

const TMP: &str = ".tmp";

/// `<spool>/<experiment>`: the data directory of an experiment. Clones share what the probes of its volumes found.
#[derive(Debug, Clone)]
pub struct ExperimentDir {
    path: PathBuf,
    experiment: Name,
    volumes: Arc<Mutex<BTreeMap<Name, Volume>>>,
    disk: Disk,
}

impl ExperimentDir {
    /// Opens the directory, and creates it and its `.tmp` if they are missing. The directory is durable when this returns.
    pub fn open(path: impl Into<PathBuf>, experiment: Name) -> Result<Self, SpoolError> {
        Self::open_on(Disk::default(), path, experiment)
    }

    /// As [`ExperimentDir::open`], on a disk with faults, for tests.
    pub fn open_on(
        disk: Disk,
        path: impl Into<PathBuf>,
        experiment: Name,
    ) -> Result<Self, SpoolError> {
        let path = path.into();
        make(&disk, &path).map_err(SpoolError::at("create spool directory", &path))?;
        Ok(Self {
            path,
            experiment,
            volumes: Arc::default(),
            disk,
        })
    }

    /// Tries every step of a result file in a datatype's directory: create, write, sync, rename without replacing, remove.
    /// Creates missing directories, also the experiment's own. Returns the method that renames there, and whether the
    /// datatype has a volume of its own. Later files of the datatype are written on the volume that this found.
    pub fn probe(&self, datatype: &Name) -> Result<(Volume, Method), SpoolError> {
        let dir = self.datatype_dir(datatype);
        make(&self.disk, &self.path)
            .and_then(|()| self.create_dirs(&dir))
            .map_err(SpoolError::at("create datatype directory", &dir))?;
        let found = probe(
            &self.path,
            datatype.as_str(),
            TMP,
            Rivals::Cooperating,
            true,
        );
        let (volume, method) =
            found.map_err(|(at, source)| SpoolError::at("write a file into", at)(source))?;
        self.volumes().insert(datatype.clone(), volume);
        Ok((volume, method))
    }

    /// Tries to rename a file into the directory of a date, which it creates where it is missing.
    pub fn probe_date(&self, datatype: &Name, date: Date) -> Result<(), SpoolError> {
        self.create_date_dirs(datatype, &[date])?;
        let dir = self.datatype_dir(datatype).join(date_dir(date));
        let tmp = self.tmp_dir_of(datatype)?;
        match groma_disk::probe(&tmp, &dir, Rivals::Cooperating) {
            // A commit copies there.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                groma_disk::probe(&dir, &dir.join("."), Rivals::Cooperating)
            }
            tried => tried,
        }
        .map(drop)
        .map_err(SpoolError::at("write a file into", &dir))
    }

    /// Creates the directories of dates, durably.
    pub fn create_date_dirs(&self, datatype: &Name, dates: &[Date]) -> Result<(), SpoolError> {
        for date in dates {
            let dir = self.datatype_dir(datatype).join(date_dir(*date));
            self.create_dirs(&dir)
                .map_err(SpoolError::at("create directory", &dir))?;
        }
        Ok(())
    }

    /// Returns the volume of a datatype's directory, which it probes on the first call.
    pub fn volume(&self, datatype: &Name) -> Result<Volume, SpoolError> {
        let known = self.volumes().get(datatype).copied();
        match known {
            Some(volume) => Ok(volume),
            None => Ok(self.probe(datatype)?.0),
        }
    }

    fn volumes(&self) -> MutexGuard<'_, BTreeMap<Name, Volume>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the directory for unfinished files of a datatype, which is on the volume of the datatype's directory.
    pub(crate) fn tmp_dir_of(&self, datatype: &Name) -> Result<PathBuf, SpoolError> {
        let volume = self.volume(datatype)?;
        Ok(volume.place(&self.path, datatype.as_str(), TMP))
    }

    /// Forgets the volume of a datatype, because a rename showed that it is another one now.
    pub(crate) fn forget_volume(&self, datatype: &Name) {
        self.volumes().remove(datatype);
    }

    /// Creates `dir` below the experiment's directory, durably.
    pub fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dirs(&self.path, dir, DIR_MODE)
    }

    /// Returns the disk on which the directory is.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the experiment.
    pub fn experiment(&self) -> &Name {
        &self.experiment
    }

    /// Returns the directory of one datatype.
    pub fn datatype_dir(&self, datatype: &Name) -> PathBuf {
        self.path.join(datatype.as_str())
    }

    /// Returns the path of a file after it is closed.
    pub fn file_path(&self, path: &SpoolPath) -> PathBuf {
        self.datatype_dir(&path.datatype)
            .join(date_dir(path.date))
            .join(path.file.as_str())
    }

    /// Returns the directory of unfinished files. Datatypes on volumes of their own have another one.
    pub fn tmp_dir(&self) -> PathBuf {
        self.path.join(TMP)
    }

    /// Returns the directory of files that the publisher has taken. Datatypes on volumes of their own have another one.
    pub fn claimed_dir(&self) -> PathBuf {
        self.path.join(".claimed")
    }

    /// Returns the path of the file that stops admission: while it exists, the experiment admits no new tests. The publisher
    /// creates it when the disk is nearly full, renews its modification time about once a second, and removes it when there
    /// is room again. Experiments ignore a file that was not renewed for 90 seconds. Its text gives the reason.
    pub fn admission_stop_file(&self) -> PathBuf {
        self.path.join(".admission-stopped")
    }

    /// Begins a file that takes its name only when it is committed.
    pub fn create(&self, path: &SpoolPath) -> Result<PendingFile, SpoolError> {
        PendingFile::create(self, path)
    }

    /// Takes room on the datatype's volume for a file of `size_bytes` that will be written later: its blocks and its inode.
    pub fn reserve(&self, datatype: &Name, size_bytes: u64) -> Result<Reservation, SpoolError> {
        Reservation::take(self, datatype, size_bytes)
    }

    /// Writes a whole file, durably and in one step. A taken name is an error.
    pub fn write(&self, path: &SpoolPath, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
        let mut file = self.create(path)?;
        file.write_all(bytes)
            .map_err(SpoolError::at("write spool file", self.file_path(path)))?;
        file.commit()
    }

    /// Removes the files that dead writers left in `.tmp`, also in those of datatypes with a volume of their own. Files of
    /// a living writer are locked and stay. Links, pipes, directories and files that cannot be removed stay too, with a
    /// warning. Returns the number of removed files. Only a `.tmp` that cannot be listed is an error.
    pub fn clear_abandoned(&self) -> Result<usize, SpoolError> {
        let clear =
            |dir: &Path| clear_abandoned(&self.disk, dir).map_err(SpoolError::at("list", dir));
        let mut removed = clear(&self.tmp_dir())?;
        let at = |operation| SpoolError::at(operation, &self.path);
        for entry in fs::read_dir(&self.path).map_err(at("list"))? {
            let dir = entry.map_err(at("list"))?.path().join(TMP);
            if dir.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                removed += clear(&dir)?;
            }
        }
        Ok(removed)
    }
}

/// Creates `path` below its nearest existing ancestor, and `.tmp` in it.
fn make(disk: &Disk, path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let above = path.parent().unwrap_or(&path);
    let base = above.ancestors().find(|dir| dir.is_dir());
    disk.create_dirs(base.unwrap_or(above), &path, DIR_MODE)?;
    disk.create_private_dir(&path.join(TMP))
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
