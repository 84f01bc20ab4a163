//! Whether any process has a file open for writing.
//!
//! The kernel grants a read lease (`F_SETLEASE`, fcntl(2)) only on a file that
//! no process has open for writing, so asking for one and giving it back at once
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
    // A writer that opens the file while we hold the lease makes the kernel send us SIGIO, which
    // would end the process; SIGURG is used instead, which is ignored unless the program handles it.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            control(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

/// `F_SETSIG` of `<fcntl.h>`, the same on every Linux architecture (asm-generic/fcntl.h).
const F_SETSIG: i32 = 10;

fn control(file: BorrowedFd<'_>, command: i32, argument: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and both
    // commands take an integer and no pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
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

    #[test]
    fn writers_that_come_and_go_while_we_ask_do_not_end_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap();
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let file = File::open(&path).unwrap();
                (0..20_000)
                    .filter(|_| has_writer(file.as_fd()).unwrap())
                    .count()
            });
            while !asking.is_finished() {
                OpenOptions::new().append(true).open(&path).unwrap();
            }
            asking.join().unwrap()
        });
        assert!(
            asked > 0,
            "no writer was ever seen, so the test proves nothing"
        );
    }
}
