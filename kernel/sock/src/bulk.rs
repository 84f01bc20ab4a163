//! Bulk bytes in and out of a TCP socket without a copy in user space.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create, sendfile};
use rustix::net::{SendFlags, send};

/// Bytes in memory that can never change, from which sockets can send by reference (`memfd_create(2)`, sealed).
///
/// The seals are what makes sending by reference exact: a page that waits in a send queue, or to be sent again, is still
/// what it was.
#[derive(Debug)]
pub struct SealedBytes(File);

impl SealedBytes {
    /// Keeps a copy of `bytes`. `name` is for people who look at `/proc/PID/maps`.
    ///
    /// Errors: `ENOMEM`, `EMFILE`, or `ENOSYS` before Linux 3.17.
    pub fn new(name: &str, bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(
            name,
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?);
        file.write_all(bytes)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&file, seals)?;
        Ok(Self(file))
    }

    /// Sends up to `length_bytes` from `offset_bytes` on, and returns how many were taken into the send queue
    /// (`sendfile(2)`).
    ///
    /// Errors: what the socket says; `WouldBlock` when it is non-blocking and has no room.
    pub fn send(
        &self,
        socket: impl AsFd,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> io::Result<usize> {
        let mut offset = offset_bytes;
        Ok(sendfile(socket, &self.0, Some(&mut offset), length_bytes)?)
    }
}

/// Sends bytes that belong before those of the next call: the kernel may wait for these before it makes a segment
/// (`MSG_MORE`). Returns how many it took.
///
/// Errors: what the socket says; `WouldBlock` when it is non-blocking and has no room.
pub fn send_more(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
}

/// Throws away up to `most_bytes` of what a TCP socket has received, and returns how many; 0 is the end of the stream.
/// The kernel drops them where they lie (`MSG_TRUNC`, tcp(7)).
///
/// Errors: what the socket says; `WouldBlock` when it is non-blocking and has nothing; `EFAULT` when it is not TCP.
pub fn discard(socket: impl AsFd, most_bytes: usize) -> io::Result<usize> {
    // SAFETY: with MSG_TRUNC the kernel writes nothing for a TCP socket; for any other it would find that a null
    // pointer is not writable and fail with EFAULT. The descriptor is borrowed, so it stays open until the call returns.
    let received = unsafe {
        libc::recv(
            socket.as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            most_bytes,
            libc::MSG_TRUNC,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}
