//! Renaming without replacing, on every file system.
//!
//! Linux offers `RENAME_NOREPLACE` (renameat2(2)), but not every file system implements it: NFS, most FUSE file systems and
//! some container sandboxes refuse it. Two other methods are left:
//!
//! - A hard link. `linkat` fails on every taken name. But a watch of the directory sees a link appear, not a
//!   finished file, and FUSE file systems report a stale link count for about a second after the old name is removed.
//! - A check of the new name and a plain rename, both under a lock. Every program that uses this module takes the lock. A
//!   program that does not could create the name between the check and the rename, and lose its file.
//!
//! [`Rivals`] says which of them fits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Whether other processes may create the new name at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rivals {
    /// Any program may. A hard link replaces `RENAME_NOREPLACE` where that is missing, and a checked rename replaces the
    /// hard link where that is missing too.
    Possible,
    /// Only programs that rename with this module. A checked rename replaces `RENAME_NOREPLACE`, because a watch of the
    /// new directory must see a finished file arrive.
    Cooperating,
    /// The caller holds a lock on the directory of the new name, so that no other process creates names there. Hard links are
    /// not used: FUSE file systems report a stale link count for about a second after the old name is gone.
    Excluded,
}

/// How a file was renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `renameat2` with `RENAME_NOREPLACE`.
    NoReplace,
    /// `linkat`, then `unlinkat` of the old name.
    Link,
    /// A look at the new name, then `renameat`, under a lock.
    Checked,
}

impl Method {
    /// Returns the method in the words of a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoReplace => "rename without replacing",
            Self::Link => "hard link and unlink",
            Self::Checked => "checked rename under a lock",
        }
    }
}

/// The lock file of [`Method::Checked`], in the directory of the old name.
pub const RENAME_LOCK: &str = ".rename-lock";

/// Renames a file within one file system. A taken name is an `AlreadyExists` error, and nothing moves. `CrossesDevices`
/// means that the directories are on different volumes. Nothing is made durable.
///
/// # Errors
///
/// The error of the last method that was tried.
pub fn rename_new(
    from_dir: impl AsFd,
    from: &Path,
    to_dir: impl AsFd,
    to: &Path,
    rivals: Rivals,
) -> io::Result<Method> {
    let (from_dir, to_dir) = (from_dir.as_fd(), to_dir.as_fd());
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Err(error) if is_unsupported(error) => {}
        renamed => return Ok(renamed.map(|()| Method::NoReplace)?),
    }
    if rivals == Rivals::Possible {
        match rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty()) {
            Err(error) if is_unsupported(error) || error == Errno::MLINK => {}
            linked => {
                linked?;
                rustix::fs::unlinkat(from_dir, from, AtFlags::empty())?;
                return Ok(Method::Link);
            }
        }
    }
    checked(from_dir, from, to_dir, to, rivals).map(|()| Method::Checked)
}

/// Renames by paths; as [`rename_new`].
///
/// # Errors
///
/// As [`rename_new`].
pub fn rename_new_path(from: &Path, to: &Path, rivals: Rivals) -> io::Result<Method> {
    rename_new(CWD, from, CWD, to, rivals)
}

/// Reports whether a file system or sandbox does not implement a call. `EPERM` may also be a real refusal, which the next method
/// then repeats.
fn is_unsupported(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM
    )
}

fn checked(
    from_dir: BorrowedFd<'_>,
    from: &Path,
    to_dir: BorrowedFd<'_>,
    to: &Path,
    rivals: Rivals,
) -> io::Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _lock = match rivals {
        Rivals::Possible | Rivals::Cooperating => Some(lock_beside(from_dir, from)?),
        Rivals::Excluded => None,
    };
    match rustix::fs::statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?),
        Err(error) => Err(error.into()),
    }
}

/// Locks [`RENAME_LOCK`] beside a file. Only its owner may open it, so that no other user can hold it.
fn lock_beside(dir: BorrowedFd<'_>, file: &Path) -> io::Result<OwnedFd> {
    let path = file.with_file_name(RENAME_LOCK);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(dir, &path, flags, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
        // Without file locks there is still the lock of this process.
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(lock),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn no_method_replaces_a_taken_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for rivals in [Rivals::Possible, Rivals::Cooperating, Rivals::Excluded] {
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            for refused in [
                rename_new_path(&from, &to, rivals).map(drop),
                checked(CWD.as_fd(), &from, CWD.as_fd(), &to, rivals),
            ] {
                assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            }
            assert_eq!(fs::read(&to).unwrap(), b"old");
            fs::remove_file(&to).unwrap();
            checked(CWD.as_fd(), &from, CWD.as_fd(), &to, rivals).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            assert!(!from.exists());
        }
    }

    #[test]
    fn only_the_owner_may_open_the_lock_of_a_checked_rename() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        checked(CWD.as_fd(), &from, CWD.as_fd(), &to, Rivals::Possible).unwrap();
        let lock = fs::metadata(dir.path().join(RENAME_LOCK)).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
    }
}
