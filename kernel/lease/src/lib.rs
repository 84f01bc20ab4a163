//! Whether any process has a file open for writing.
//!
//! The kernel grants a read lease (`F_SETLEASE`, fcntl(2)) only on a file that
//! nobody has open for writing, so asking for one and giving it back at once
//! answers the question without looking into other processes.
#![allow(
    unsafe_code,
    reason = "fcntl(F_SETLEASE) has no safe wrapper; kernel/ is where such calls live"
)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Whether some process has this file open for writing. `file` must be a
/// regular file opened read-only.
///
/// Errors: `EACCES` if the caller neither owns the file nor has `CAP_LEASE`,
/// `EINVAL` if the file system knows no leases; then nothing is known.
pub fn has_writer(file: BorrowedFd<'_>) -> io::Result<bool> {
    match set_lease(file, libc::F_RDLCK) {
        Ok(()) => {
            set_lease(file, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

fn set_lease(file: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and
    // F_SETLEASE takes an integer and no pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_writer_is_seen_and_a_reader_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let writer = File::create(&path).unwrap();
        let file = File::open(&path).unwrap();
        assert!(has_writer(file.as_fd()).unwrap());
        drop(writer);
        let _reader = File::open(&path).unwrap();
        assert!(!has_writer(file.as_fd()).unwrap());
        // The lease was given back: a writer does not wait for us.
        OpenOptions::new().append(true).open(&path).unwrap();
    }
}
