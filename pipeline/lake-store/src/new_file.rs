//! A file that is written bit by bit and appears whole, durable and only if its name is free, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use groma_lake_layout::TEMPORARY_DIR;
use groma_spool::{RENAME_LOCK, sync_dir};

use crate::{Inner, LakeStore, digest, directory};

/// A file that is being written: in the lake's `.tmp`, locked while its writer lives, or in this machine's temporary
/// directory until a bucket gets it. Dropped without a commit, it vanishes.
#[derive(Debug)]
pub struct NewFile {
    store: LakeStore,
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

/// The result of committing a [`NewFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The file has its name.
    Created,
    /// Another one stood there and was not touched.
    Existed,
}

impl LakeStore {
    /// Begins a file that will be at `target`.
    pub fn new_file(&self, target: PathBuf) -> io::Result<NewFile> {
        let temporary = match &self.0 {
            Inner::Directory(root) => {
                let temporary = root.join(TEMPORARY_DIR).join(temporary_name());
                directory::create_parent(root, &temporary)?;
                temporary
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(_) => std::env::temp_dir().join(format!("groma-{}", temporary_name())),
        };
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.lock()?;
        Ok(NewFile {
            store: self.clone(),
            file,
            temporary,
            target,
        })
    }

    /// Removes unfinished files of writers that died and returns how many; a living one holds a lock on its own.
    pub fn clear_abandoned(&self) -> io::Result<usize> {
        if self.is_bucket() {
            return Ok(0);
        }
        let dir = self.root().join(TEMPORARY_DIR);
        let mut cleared = 0;
        for name in directory::list(self.root(), &dir)? {
            // Another loader may be about to lock it.
            if name == RENAME_LOCK {
                continue;
            }
            let path = dir.join(name);
            // A writer that finishes meanwhile takes its file away.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}

impl NewFile {
    /// Returns the path that it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes the checksum of a finished table file into it. `sha256` is the one of its bytes with
    /// [`NO_SHA256`](crate::NO_SHA256) under the key [`FILE_SHA256`](crate::FILE_SHA256).
    pub fn stamp(&mut self, sha256: &[u8; 32]) -> io::Result<()> {
        self.file.flush()?;
        digest::stamp(&self.file, sha256)
    }

    /// Gives the file its name unless that is taken.
    pub fn commit(self) -> io::Result<Committed> {
        match self.name(false) {
            Ok(()) => Ok(Committed::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Committed::Existed),
            Err(error) => Err(error),
        }
    }

    /// Gives the file its name, in place of what has it.
    pub fn commit_over(self) -> io::Result<()> {
        self.name(true)
    }

    fn name(&self, over: bool) -> io::Result<()> {
        match &self.store.0 {
            Inner::Directory(root) => {
                self.file.sync_all()?;
                directory::create_parent(root, &self.target)?;
                let renamed = if over {
                    fs::rename(&self.temporary, &self.target)
                } else {
                    directory::rename_new(&self.temporary, &self.target)
                };
                match renamed {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    // Also for a file that exists: its writer may have died before this.
                    result => {
                        sync_dir(self.target.parent().unwrap_or(root))?;
                        result
                    }
                }
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.upload(&self.temporary, &self.target, over),
        }
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

/// A name that no other writer uses, on this machine or on another that shares the lake.
fn temporary_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nanos}-{serial}", std::process::id())
}
