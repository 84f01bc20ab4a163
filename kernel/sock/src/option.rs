//! `getsockopt` for options of variable length.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Reads a TCP-level option into `buffer` and returns the part of it that the kernel filled.
pub(crate) fn tcp_option(
    fd: impl AsFd,
    option: libc::c_int,
    buffer: &mut [u8],
) -> io::Result<&[u8]> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: `buffer` is writable for `length` bytes and the kernel writes no more than that; `length` outlives the
    // call; the descriptor is borrowed, so it stays open until the call returns.
    let status = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let filled = buffer.len().min(length as usize);
    Ok(&buffer[..filled])
}
