//! An experiment that runs in the caller's process.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use groma_manifest::{Manifest, Transport};
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

use crate::{BoxError, Endpoint};

/// The environment of an experiment.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The manifest, with the policy of the attached sidecars.
    pub manifest: Manifest,
    /// Its directory in the spool.
    pub data_dir: PathBuf,
    /// The prefix of the UUIDs of this machine.
    pub prefix: Prefix,
    /// The event socket, where it announces admitted tests.
    pub event_socket: PathBuf,
    /// The state of the process.
    pub lifecycle: Lifecycle,
}

/// An experiment that runs in the caller's process.
pub trait InProcess: Send {
    /// Returns its manifest.
    fn manifest(&self) -> &Manifest;

    /// Returns the fixed ports that it will listen on, so that conflicts are found before anything starts.
    fn wanted_ports(&self) -> Vec<(String, Transport, u16)>;

    /// Starts it inside the runtime of the caller.
    fn start(
        &self,
        setup: Setup,
        registry: &mut Registry,
    ) -> Result<Box<dyn RunningExperiment>, BoxError>;
}

/// A running experiment.
pub trait RunningExperiment: Send {
    /// The addresses on which it listens.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// Returns whether the experiment is running. An experiment that ended by itself is not restarted.
    fn is_running(&self) -> bool;

    /// Refuses new tests and waits for running ones, for at most `grace`. Returns `false` if tests were still running then.
    fn drain(self: Box<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}
