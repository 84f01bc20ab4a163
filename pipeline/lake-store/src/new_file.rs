//! A file that is written in pieces and appears complete, durable and only if its name is free, or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use groma_disk::{FILE_MODE, Taken, Unfinished, clear_abandoned};
use groma_lake_layout::TEMPORARY_DIR;

use crate::{Inner, LakeStore, digest, directory};

/// A file that is being written: in the lake's `.tmp`, locked while its writer lives, or in the temporary directory of this
/// machine until it is uploaded to a bucket. Dropped without a commit, it is removed.
#[derive(Debug)]
pub struct NewFile {
    store: LakeStore,
    file: Unfinished,
    target: PathBuf,
}

/// The result of committing a [`NewFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The file has its name.
    Created,
    /// Another file has the name and was not touched.
    Existed,
}

impl LakeStore {
    /// Begins a file that will be at `target`.
    pub fn new_file(&self, target: PathBuf) -> io::Result<NewFile> {
        let (dir, prefix) = match &self.inner {
            Inner::Directory(root) => {
                let dir = root.join(TEMPORARY_DIR);
                directory::create_parent(&self.disk, root, &dir.join("file"))?;
                (dir, "")
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(_) => (std::env::temp_dir(), "groma-"),
        };
        Ok(NewFile {
            store: self.clone(),
            file: Unfinished::create(&self.disk, &dir, prefix, FILE_MODE)?,
            target,
        })
    }

    /// Removes unfinished files of writers that died and returns their number. A running writer holds a lock on its own.
    pub fn clear_abandoned(&self) -> io::Result<usize> {
        if self.is_bucket() {
            return Ok(0);
        }
        let dir = self.root().join(TEMPORARY_DIR);
        directory::check(self.root(), &dir.join("file"))?;
        match clear_abandoned(&self.disk, &dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            cleared => cleared,
        }
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
        digest::stamp(self.file.file().file(), sha256)
    }

    /// Gives the file its name unless that is taken.
    pub fn commit(self) -> io::Result<Committed> {
        match self.name(Taken::Refuse) {
            Ok(()) => Ok(Committed::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Committed::Existed),
            Err(error) => Err(error),
        }
    }

    /// Gives the file its name and replaces a file that has it.
    pub fn commit_over(self) -> io::Result<()> {
        self.name(Taken::Replace)
    }

    fn name(mut self, taken: Taken) -> io::Result<()> {
        match &self.store.inner {
            Inner::Directory(root) => {
                directory::create_parent(&self.store.disk, root, &self.target)?;
                self.file.commit(&self.target, taken)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => {
                let is_over = taken == Taken::Replace;
                bucket.upload(self.file.path(), &self.target, is_over)
            }
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
