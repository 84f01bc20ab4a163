//! A file that appears whole, durable and only if its name is free, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use groma_spool::{create_dirs_durable, sync_dir};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Lake;
use crate::LoadError;

/// A file in the lake's `.tmp`, locked while its writer lives. Dropped without a commit, it vanishes.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    temporary: PathBuf,
    root: PathBuf,
    target: PathBuf,
}

/// What became of a [`NewFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It stands under its name.
    Created,
    /// Another one stood there and was not touched.
    Existed,
}

impl NewFile {
    pub(crate) fn create(lake: &Lake, target: PathBuf) -> Result<Self, LoadError> {
        let dir = lake.tmp_dir();
        fs::create_dir_all(&dir).map_err(LoadError::lake("create", &dir))?;
        let temporary = dir.join(temporary_name());
        let create = LoadError::lake("create", &temporary);
        let file = File::create_new(&temporary).map_err(create)?;
        file.lock().map_err(LoadError::lake("lock", &temporary))?;
        Ok(NewFile {
            file,
            temporary,
            root: lake.root().to_owned(),
            target,
        })
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name unless that is taken.
    pub(crate) fn commit(self) -> Result<Committed, LoadError> {
        self.name(|from, to| {
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                // Some network file systems know no RENAME_NOREPLACE; a hard link is as atomic.
                Err(Errno::INVAL) => fs::hard_link(from, to),
                result => Ok(result?),
            }
        })
    }

    /// Gives the file its name, in place of what has it.
    pub(crate) fn commit_over(self) -> Result<Committed, LoadError> {
        self.name(|from, to| fs::rename(from, to))
    }

    fn name(
        self,
        rename: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<Committed, LoadError> {
        let named = (|| {
            self.file.sync_all()?;
            let dir = self.target.parent().unwrap_or(&self.root);
            create_dirs_durable(&self.root, dir)?;
            let committed = match rename(&self.temporary, &self.target) {
                Ok(()) => Committed::Created,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Committed::Existed,
                Err(error) => return Err(error),
            };
            sync_dir(dir)?;
            Ok(committed)
        })();
        named.map_err(LoadError::lake("name", &self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Gone already when it was renamed; a leftover is cleared at the next start.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A name that no other loader uses, on this machine or on another that shares the lake.
fn temporary_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nanos}-{serial}", std::process::id())
}
