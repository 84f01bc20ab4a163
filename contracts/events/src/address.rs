//! Addresses of unix sockets, also of those whose path is too long for the kernel's structure.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::net::SocketAddrUnix;

/// Calls `work` with the address of the socket at `path`.
///
/// `struct sockaddr_un` takes 108 bytes (`unix(7)`). A longer path is reached through a descriptor of its directory,
/// which needs `/proc`.
pub fn with_address<T>(
    path: &Path,
    work: impl FnOnce(&SocketAddrUnix) -> io::Result<T>,
) -> io::Result<T> {
    match SocketAddrUnix::new(path) {
        Ok(address) => work(&address),
        Err(rustix::io::Errno::NAMETOOLONG) => {
            let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidFilename.into());
            };
            let dir = open(dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let short = Path::new("/proc/self/fd")
                .join(dir.as_raw_fd().to_string())
                .join(name);
            // The directory stays open until `work` is done with its name.
            work(&SocketAddrUnix::new(short)?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, connect, listen, socket};

    #[test]
    fn a_path_that_is_too_long_for_the_kernel_works() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("d".repeat(150));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("events.sock");
        let stream = || socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let server = stream();
        with_address(&path, |address| Ok(bind(&server, address)?)).unwrap();
        listen(&server, 1).unwrap();
        assert!(path.exists());
        with_address(&path, |address| Ok(connect(stream(), address)?)).unwrap();
    }
}
