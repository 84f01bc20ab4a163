//! Small steps on the publisher's own directories.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use groma_spool::sync_dir;
use sha2::{Digest, Sha256};

use crate::PublishError;

/// The entries of a directory that are not hidden; none when the directory is missing.
pub(crate) fn visible_entries(dir: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
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

/// Removes a directory of ours with all files in it, durably. One that is gone is fine.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), PublishError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(PublishError::io("remove", dir)(error)),
    }
    let parent = dir.parent().unwrap_or(dir);
    sync_dir(parent).map_err(PublishError::io("sync", parent))
}

/// Moves a directory within one parent tree, durably at both ends.
pub(crate) fn move_dir(from: &Path, to: &Path) -> Result<(), PublishError> {
    fs::rename(from, to).map_err(PublishError::io("move", from))?;
    for parent in [to.parent(), from.parent()].into_iter().flatten() {
        sync_dir(parent).map_err(PublishError::io("sync", parent))?;
    }
    Ok(())
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

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}
