//! `getsockopt` for options of variable length, `setsockopt` for numbers.

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

/// Sets a socket-level option that is a number.
pub(crate) fn set_socket_option(
    fd: impl AsFd,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one `c_int` from `value`, which outlives the call; the descriptor is borrowed, so it stays
    // open until the call returns.
    let status = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
