//! The errors of a node that cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of an experiment or sidecar that the caller passed in.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a node cannot start; the message names the next step if one is known.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file or a directory of the node.
    #[error("cannot use {path}: {source}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A manifest has problems.
    #[error("{path}: {source}\ncheck it with: groma manifest check {path}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Its problems.
        source: groma_manifest::ManifestError,
    },
    /// The version of the policy becomes too long.
    #[error(transparent)]
    Policy(#[from] groma_manifest::ManifestError),
    /// A manifest does not define how the experiment is started.
    #[error(
        "{path}: to be started here, an experiment needs {missing} in its manifest; docs/manifest.md describes it"
    )]
    NotRunnable {
        /// The manifest.
        path: PathBuf,
        /// The missing key.
        missing: &'static str,
    },
    /// The program of an experiment does not exist.
    #[error(
        "{path}: run.command: there is no program {program} that can be executed; build it, or correct the path"
    )]
    NoProgram {
        /// The manifest.
        path: PathBuf,
        /// The program.
        program: String,
    },
    /// Two experiments have the same name.
    #[error("two experiments have the name {0}; rename one in its manifest")]
    SameName(String),
    /// A datatype of an experiment has the same name as one of a sidecar.
    #[error(
        "{experiment}: the sidecar {sidecar} has a datatype {datatype} too; rename that of the experiment"
    )]
    SameDatatype {
        /// The experiment.
        experiment: String,
        /// The datatype.
        datatype: String,
        /// The sidecar.
        sidecar: String,
    },
    /// Two experiments use the same port.
    #[error(
        "{first} and {second} both want {transport} port {port}; choose another one with --port {second}=NUMBER"
    )]
    SamePort {
        /// One socket.
        first: String,
        /// The other, as `<experiment>/<name of the port>`.
        second: String,
        /// `TCP` or `UDP`.
        transport: &'static str,
        /// The number.
        port: u16,
    },
    /// A port of an experiment is in use or needs privileges.
    #[error(
        "{socket}: cannot listen on {address}: {source}; choose another port with --port {socket}=NUMBER"
    )]
    Listen {
        /// The socket as `<experiment>/<name of the port>`.
        socket: String,
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// A port number was chosen for a port that does not exist.
    #[error("--port {0}: no experiment here has this port")]
    NoSuchPort(String),
    /// The prefix of the UUIDs.
    #[error(transparent)]
    Prefix(#[from] groma_uuid::PrefixError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] groma_spool::SpoolError),
    /// An experiment of this process.
    #[error("cannot start the experiment {name}: {source}")]
    Experiment {
        /// Its name.
        name: String,
        /// The reason.
        source: BoxError,
    },
    /// The publisher.
    #[error("cannot start the publisher: {0}")]
    Publish(#[from] groma_publish::PublishError),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}
