//! A spool file that is still being written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::durable::{FILE_MODE, create_dirs_durable, temporary_name};
use crate::rename::{Rivals, rename_new_path};
use crate::{ExperimentDir, Name, SpoolError, SpoolPath};

/// A file in `.tmp` that takes its name in the spool when it is committed. Dropped without that, it is removed.
#[derive(Debug)]
pub struct PendingFile {
    unnamed: Unnamed,
    path: SpoolPath,
}

impl PendingFile {
    pub(crate) fn create(dir: &ExperimentDir, path: &SpoolPath) -> Result<Self, SpoolError> {
        Ok(Self {
            unnamed: Unnamed::create(dir, &path.datatype)?,
            path: path.clone(),
        })
    }

    /// Makes the file durable and gives it its name: `fsync` of the file, a rename that replaces nothing, `fsync` of both
    /// directories. Returns the path in the spool. After that the file belongs to the publisher.
    pub fn commit(mut self) -> Result<PathBuf, SpoolError> {
        self.unnamed.commit(&self.path)
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unnamed.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unnamed.file.flush()
    }
}

/// A locked file in `.tmp`, without a name in the spool yet.
#[derive(Debug)]
pub(crate) struct Unnamed {
    pub(crate) file: File,
    temporary: PathBuf,
    dir: ExperimentDir,
    is_committed: bool,
}

impl Unnamed {
    pub(crate) fn create(dir: &ExperimentDir, datatype: &Name) -> Result<Self, SpoolError> {
        let tmp = dir.tmp_dir_of(datatype)?;
        loop {
            let name = temporary_name();
            let path = tmp.join(name.to_string_lossy().trim_start_matches('.'));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&path)
                .map_err(SpoolError::at("create spool file", &path))?;
            let made = Self {
                file,
                temporary: path,
                dir: dir.clone(),
                is_committed: false,
            };
            // The lock shows a later start of the experiment that the writer lives. A start that looked before the lock was
            // taken may hold the lock and remove the file: then another name is taken.
            match made.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(source)) => {
                    return Err(SpoolError::at("lock spool file", &made.temporary)(source));
                }
            }
            let found = made.file.metadata();
            let found = found.map_err(SpoolError::at("look at spool file", &made.temporary))?;
            if found.nlink() > 0 && made.temporary.exists() {
                return Ok(made);
            }
        }
    }

    /// Gives the file its name. After an error it may be called again.
    pub(crate) fn commit(&mut self, path: &SpoolPath) -> Result<PathBuf, SpoolError> {
        let target = self.dir.file_path(path);
        let at = |operation| SpoolError::at(operation, &target);
        self.file.sync_all().map_err(at("write spool file"))?;
        let parent = target.parent().unwrap_or(&target).to_owned();
        create_dirs_durable(self.dir.path(), &parent)
            .map_err(at("create directory of spool file"))?;
        // Opened before the file moves: where descriptors are used up, a caller may try again.
        let to = File::open(&parent).map_err(at("open directory of spool file"))?;
        let from = self.temporary.parent().unwrap_or(Path::new("."));
        let from = File::open(from).map_err(at("open temporary directory of spool file"))?;
        match rename_new_path(&self.temporary, &target, Rivals::Cooperating) {
            // The directory became a mount since the last probe, or a directory of a date is one.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.dir.forget_volume(&path.datatype);
                self.copy_to(&parent, &target)
                    .map_err(at("copy spool file"))?;
            }
            renamed => {
                renamed.map_err(at("name spool file"))?;
                self.is_committed = true;
            }
        }
        to.sync_all()
            .map_err(at("make durable the directory of spool file"))?;
        from.sync_all()
            .map_err(at("make durable the temporary directory of spool file"))?;
        Ok(target)
    }

    /// Copies the bytes to a hidden file beside the target, and renames that. The file in `.tmp` is removed by `drop`.
    fn copy_to(&mut self, parent: &Path, target: &Path) -> io::Result<()> {
        let hidden = parent.join(temporary_name());
        let mut copied = || {
            let mut copy = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&hidden)?;
            self.file.rewind()?;
            io::copy(&mut self.file, &mut copy)?;
            copy.sync_all()?;
            rename_new_path(&hidden, target, Rivals::Cooperating).map(drop)
        };
        let copied = copied();
        if copied.is_err() {
            // The first error is the one worth reporting.
            let _ = fs::remove_file(&hidden);
        }
        copied
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.is_committed {
            // The next start clears a file that stays in .tmp.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
