//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

/// Connections that wait for `accept`; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens on `address`. `[::]` is every address of IPv6 and IPv4, whatever `net.ipv6.bindv6only` says, and every address
/// of IPv4 on a machine without IPv6.
pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() != Ipv6Addr::UNSPECIFIED {
        return TcpListener::bind(address);
    }
    match listen_on_both(address) {
        // Linux says EAFNOSUPPORT where IPv6 is not built in and EADDRNOTAVAIL where it is switched off.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        other => Ok(other?),
    }
}

/// `ipv6(7)`: `IPV6_V6ONLY` must be set before the socket is bound.
fn listen_on_both(address: SocketAddr) -> Result<TcpListener, Errno> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    // As the standard library does: a restart must not wait for old connections to time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_means_both_families() {
        let listener = listen_tcp((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        assert_eq!(
            std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok(),
            has_ipv6
        );
    }

    #[test]
    fn one_address_is_one_address() {
        let listener = listen_tcp((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
    }
}
