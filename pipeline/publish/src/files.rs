//! Small steps on the publisher's own directories.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use groma_archive::hex;
use groma_disk::{Dir, Disk, Entry, Taken};
use sha2::{Digest, Sha256};

use crate::PublishError;
use crate::seal::journal::JOURNAL_FILE;

/// The entries of a directory that are not hidden; none when it is missing or not a directory.
pub(crate) fn visible_entries(dir: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(PublishError::io("list", dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(PublishError::io("list", dir))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// Removes a directory of ours with the files in it. One that is gone is fine. Nothing is made durable: what a power cut
/// brings back is removed again, or delivered again, which changes nothing.
pub(crate) fn remove_dir(disk: &Disk, dir: &Path) -> Result<(), PublishError> {
    let failed = || PublishError::io("remove", dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed()(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed())?.path();
        disk.remove(Entry::path(&path)).map_err(failed())?;
    }
    disk.remove_dir(Entry::path(dir)).map_err(failed())
}

/// Removes the directory of a bundle that was not sealed. Its journal goes first, and durably: if that came back after a
/// power cut, its files would be in two bundles.
pub(crate) fn abandon(disk: &Disk, dir: &Path) -> Result<(), PublishError> {
    let gone_is_fine = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let journal = dir.join(JOURNAL_FILE);
    disk.remove(Entry::path(&journal))
        .or_else(gone_is_fine)
        .and_then(|()| disk.sync_dir(Dir::Path(dir)).or_else(gone_is_fine))
        .map_err(PublishError::io("abandon", dir))?;
    remove_dir(disk, dir)
}

/// Moves a directory of the publisher. If a power cut takes that back, the next start repeats it.
pub(crate) fn move_dir(disk: &Disk, from: &Path, to: &Path) -> Result<(), PublishError> {
    disk.rename(Entry::path(from), Entry::path(to), Taken::Refuse)
        .map_err(PublishError::io("move", from))
}

/// Size and SHA-256 of what a reader still gives.
pub(crate) fn digest(mut reader: impl io::Read) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((size_bytes, hex(&hasher.finalize()))),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                size_bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Size and SHA-256 of a file, `None` when it is missing.
pub(crate) fn digest_file(path: &Path) -> Result<Option<(u64, String)>, PublishError> {
    match File::open(path).and_then(digest) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PublishError::io("read", path)(error)),
    }
}
