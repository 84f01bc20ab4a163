//! Bulk bytes out of a TCP socket without a copy, and without being woken for each packet.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::option::set_socket_option;

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

/// Calls a socket readable only when `bytes` have arrived, or nothing more will (`SO_RCVLOWAT`, socket(7)). The kernel
/// limits it to half of the receive buffer, enlarges the buffer to hold it, and looks at once whether enough is there.
///
/// Errors: what `setsockopt` says.
pub fn set_receive_low_water(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_socket_option(socket, libc::SO_RCVLOWAT, bytes)
}
