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
    /// The experiment's manifest.
    #[error(transparent)]
    Manifest(#[from] groma_manifest::ManifestError),
    /// The prefix of the UUIDs.
    #[error(transparent)]
    Prefix(#[from] groma_uuid::PrefixError),
    /// The experiment.
    #[error(transparent)]
    Experiment(#[from] groma_experiment::SetupError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] groma_spool::SpoolError),
    /// The measurement server.
    #[error("start the ndt7 server: {0}")]
    Server(#[from] groma_ndt7::server::StartError),
    /// The certificate of the measurement server.
    #[error(transparent)]
    Tls(#[from] groma_ndt7::server::TlsError),
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] groma_service::DescriptorError),
    /// The archive.
    #[error("open the archive: {0}")]
    Archive(#[from] groma_archive::StoreError),
    /// The publisher.
    #[error("start the publisher: {0}")]
    Publish(#[from] groma_publish::PublishError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Thread(#[source] io::Error),
}
