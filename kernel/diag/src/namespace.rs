//! Moving into another network namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Moves the calling thread, and no other, into the network namespace that `path` names (`/run/netns/NAME`,
/// `/proc/PID/ns/net`). The thread cannot return to its old namespace, so it should be a dedicated one.
///
/// Errors: those of opening the path; `EINVAL` when it is not a network namespace; `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter_namespace(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}
