//! Why a lab cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A lab that cannot start; the message says what to do next where that is known.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A directory or file of the lab.
    #[error("use lab directory {path}: {source}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another lab runs there.
    #[error("another lab is running in {root}; stop it or choose another --dir")]
    Busy {
        /// The lab's directory.
        root: PathBuf,
    },
    /// A port is taken or needs privileges.
    #[error("listen on {address}: {source}; choose another port or 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The certificate could not be made.
    #[error("make a self-signed certificate: {0}")]
    Certificate(#[source] rcgen::Error),
    /// An experiment with its sidecars and publisher.
    #[error(transparent)]
    Node(#[from] groma_compose::ComposeError),
    /// The archive.
    #[error("open the archive: {0}")]
    Archive(#[from] groma_archive::StoreError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Thread(#[source] io::Error),
}
