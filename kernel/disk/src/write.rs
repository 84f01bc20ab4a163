//! Whole files: written under a hidden name, synced, renamed.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;

use crate::{Dir, Disk, Entry, FILE_MODE, Taken, temporary_name};

/// The behaviour if the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fails with `AlreadyExists`, atomically.
    Never,
    /// Replaces the file, atomically.
    Always,
}

/// As [`Disk::write_durable`] on the real disk, with mode 0644, less the umask.
#[track_caller]
pub fn write_durable(path: &Path, bytes: &[u8], replace: Replace) -> io::Result<()> {
    Disk::default().write_durable(path, bytes, FILE_MODE, replace)
}

impl Disk {
    /// Writes a whole file durably. After a power cut at any time, the name has its previous content or all of the new one. The
    /// parent directory must exist. Several processes may write the same name. A crash may leave a hidden file beside it.
    #[track_caller]
    pub fn write_durable(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        replace: Replace,
    ) -> io::Result<()> {
        let temporary = parent(path)?.join(format!(".tmp-{}", temporary_name()));
        let taken = match replace {
            Replace::Never => Taken::Refuse,
            Replace::Always => Taken::Replace,
        };
        let written = self.write_by(&temporary, path, bytes, mode, taken);
        if written.is_err() {
            // The first error is the one to report.
            let _ = self.remove(Entry::path(&temporary));
        }
        written
    }

    /// As [`Disk::write_durable`] with [`Replace::Always`], for a file that only one writer writes at a time. The hidden file
    /// has the fixed name `.<name>.partial`, so that the next write replaces one that a crash left.
    #[track_caller]
    pub fn rewrite_durable(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".partial");
        let temporary = parent(path)?.join(name);
        self.write_by(&temporary, path, bytes, mode, Taken::Replace)
    }

    #[track_caller]
    fn write_by(
        &self,
        temporary: &Path,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        taken: Taken,
    ) -> io::Result<()> {
        let place = Entry::path(path);
        // The unique name of a temporary file is never taken; a fixed one may be left from a crash.
        let mut file = self.create_file(Entry::path(temporary), mode, Taken::Replace)?;
        file.write_all(bytes)?;
        file.sync()?;
        self.rename(Entry::path(temporary), place, taken)?;
        self.sync_dir(Dir::Path(parent(path)?))
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durable(&path, b"one", Replace::Never).unwrap();
        let again = write_durable(&path, b"two", Replace::Never).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_durable(&path, b"three", Replace::Always).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        Disk::default()
            .rewrite_durable(&path, b"four", FILE_MODE)
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "temporary files are left");
    }
}
