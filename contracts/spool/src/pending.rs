//! A spool file that is still being written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::durable::{Replace, create_dirs_durable, rename};
use crate::{ExperimentDir, SpoolError, SpoolPath};

/// A file in `.tmp` that takes its name in the spool when it is committed.
/// Dropped without that, it vanishes.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    temporary: PathBuf,
    base: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl PendingFile {
    pub(crate) fn create(dir: &ExperimentDir, path: &SpoolPath) -> Result<Self, SpoolError> {
        let (temporary, file) = Self::temporary(dir)?;
        Ok(Self {
            file,
            temporary,
            base: dir.path().to_owned(),
            target: dir.file_path(path),
            committed: false,
        })
    }

    fn temporary(dir: &ExperimentDir) -> Result<(PathBuf, File), SpoolError> {
        loop {
            let name = crate::durable::temporary_name();
            let name = name.to_string_lossy();
            let path = dir.tmp_dir().join(name.trim_start_matches('.'));
            let file =
                File::create_new(&path).map_err(SpoolError::at("create spool file", &path))?;
            // The lock tells a later start of the experiment that the writer lives.
            file.lock()
                .map_err(SpoolError::at("lock spool file", &path))?;
            let links = file.metadata().map(|meta| meta.nlink());
            // Before the lock stood, such a start may have taken the file for abandoned.
            if links.map_err(SpoolError::at("look at spool file", &path))? > 0 {
                return Ok((path, file));
            }
        }
    }

    /// Makes the file durable and puts it under its name: `fsync` of the file,
    /// rename that replaces nothing, `fsync` of both directories. Returns the
    /// path in the spool. After that the file belongs to the publisher.
    pub fn commit(mut self) -> Result<PathBuf, SpoolError> {
        let at = |operation| SpoolError::at(operation, &self.target);
        self.file.sync_all().map_err(at("write spool file"))?;
        let parent = self.target.parent().unwrap_or(&self.base).to_owned();
        create_dirs_durable(&self.base, &parent).map_err(at("create directory of spool file"))?;
        // Opened before the file moves: where descriptors lack, a caller may simply try again.
        let to = File::open(&parent).map_err(at("open directory of spool file"))?;
        let from = self.temporary.parent().unwrap_or(Path::new("."));
        let from = File::open(from).map_err(at("open temporary directory of spool file"))?;
        rename(&self.temporary, &self.target, Replace::Never).map_err(at("name spool file"))?;
        self.committed = true;
        to.sync_all()
            .map_err(at("make durable the directory of spool file"))?;
        from.sync_all()
            .map_err(at("make durable the temporary directory of spool file"))?;
        Ok(self.target.clone())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.committed {
            // A leftover in .tmp is cleared at the next start; nothing else can be done here.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
