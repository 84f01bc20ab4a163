//! A spool file that is still being written.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use groma_disk::{Dir, Entry, FILE_MODE, Taken, Unfinished, temporary_name};

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
    pub(crate) file: Unfinished,
    dir: ExperimentDir,
}

impl Unnamed {
    pub(crate) fn create(dir: &ExperimentDir, datatype: &Name) -> Result<Self, SpoolError> {
        let tmp = dir.tmp_dir_of(datatype)?;
        let file = Unfinished::create(dir.disk(), &tmp, "", FILE_MODE)
            .map_err(SpoolError::at("create a spool file in", &tmp))?;
        let dir = dir.clone();
        Ok(Self { file, dir })
    }

    /// Gives the file its name. After an error it may be called again.
    pub(crate) fn commit(&mut self, path: &SpoolPath) -> Result<PathBuf, SpoolError> {
        let target = self.dir.file_path(path);
        let at = |operation| SpoolError::at(operation, &target);
        let parent = target.parent().unwrap_or(&target);
        self.dir
            .create_dirs(parent)
            .map_err(at("create directory of spool file"))?;
        match self.file.commit(&target, Taken::RefuseCooperating) {
            // The directory became a mount since the last probe, or a directory of a date is one.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.dir.forget_volume(&path.datatype);
                self.copy_to(parent, &target)
                    .map_err(at("copy spool file"))?;
            }
            committed => committed.map_err(at("write spool file"))?,
        }
        Ok(target)
    }

    /// Copies the bytes to a hidden file beside the target, and renames that, durably. The file in `.tmp` is removed by `drop`.
    fn copy_to(&mut self, parent: &Path, target: &Path) -> io::Result<()> {
        let disk = self.dir.disk();
        let to = File::open(parent)?;
        let hidden = parent.join(format!(".tmp-{}", temporary_name()));
        let mut copied = || {
            let mut copy = disk.create_file(Entry::path(&hidden), FILE_MODE, Taken::Refuse)?;
            let file = self.file.file().file_mut();
            file.rewind()?;
            copy.copy_from(file)?;
            copy.sync()?;
            let (from, to) = (Entry::path(&hidden), Entry::path(target));
            disk.rename(from, to, Taken::RefuseCooperating)
        };
        let copied = copied();
        if copied.is_err() {
            // The first error is the one to report.
            let _ = disk.remove(Entry::path(&hidden));
        }
        copied?;
        disk.sync_dir(Dir::Fd(to.as_fd()))
    }
}
