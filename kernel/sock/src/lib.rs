//! Reads from the kernel about one socket: its cookie, `TCP_INFO`, the state of BBR and the congestion control; and takes
//! bulk bytes out of it without copying them.
//!
//! Numbers are the kernel's own (`include/uapi/linux/tcp.h`, `include/uapi/linux/inet_diag.h`), named and typed as in
//! M-Lab's result files, so that a structure read here is a structure published.
// Three socket options have no safe wrapper anywhere (`option.rs`), nor has receiving into nowhere (`bulk.rs`).
#![allow(unsafe_code)]

mod bbr;
mod bulk;
mod option;
mod tcp_info;

pub use bbr::{BbrInfo, bbr_info};
pub use bulk::{discard, set_receive_low_water};
pub use tcp_info::{TCP_INFO_BYTES, TcpInfo, tcp_info};

use std::io;
use std::os::fd::AsFd;

/// The socket cookie (`SO_COOKIE`): never 0, and unique among all sockets of one boot of the kernel.
///
/// Errors: what `getsockopt` says, for instance `EBADF`, or `ENOPROTOOPT` on kernels before 4.12.
pub fn cookie(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::net::sockopt::socket_cookie(fd)?)
}

/// The name of the congestion control in use (`TCP_CONGESTION`), for instance `cubic`.
///
/// Errors: what `getsockopt` says; `EOPNOTSUPP` or `ENOPROTOOPT` when the socket is not TCP.
pub fn congestion_control(fd: impl AsFd) -> io::Result<String> {
    Ok(rustix::net::sockopt::tcp_congestion(fd)?)
}

/// Selects the congestion control (`TCP_CONGESTION`) by name, at any time in the life of the connection.
///
/// Errors: `ENOENT` when the kernel does not know the name, `EPERM` when it is not in
/// `net.ipv4.tcp_allowed_congestion_control` and the process has no `CAP_NET_ADMIN`.
pub fn set_congestion_control(fd: impl AsFd, name: &str) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(fd, name)?)
}
