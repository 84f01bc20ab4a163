//! The interface between a sidecar and the node that starts it.
//!
//! A sidecar records something about the connections of one experiment: their packets, routes or kernel counters. It
//! declares itself with a `sidecar.toml`, from which the node knows its datatypes and the policy that people see. The node
//! calls [`Sidecar::start`] once for each experiment and [`Running::finish`] after the experiment has ended.

use std::path::PathBuf;
use std::time::Duration;

use groma_manifest::{Admission, Sidecar as Declaration, Transport};
use groma_schema::Schema;
use groma_spool::{ExperimentDir, Name};
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

/// A sidecar that runs in the process of the node.
pub trait Sidecar: Send + Sync {
    /// Returns the contents of `sidecar.toml`.
    fn declaration(&self) -> &Declaration;

    /// Returns the schema of one of the declared datatypes; `None` for any other name.
    fn schema(&self, datatype: &Name) -> Option<Schema>;

    /// Starts to record an experiment, and registers the metrics.
    ///
    /// An error means that this machine cannot do it; the experiment then runs without the sidecar.
    fn start(&self, setup: Setup, registry: &mut Registry)
    -> Result<Box<dyn Running>, Unavailable>;
}

/// The experiment that a sidecar records, and where its files go.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The spool of the experiment.
    pub spool: ExperimentDir,
    /// A directory for the state of the sidecar about this experiment; outside the spool.
    pub state_dir: PathBuf,
    /// The prefix of the UUIDs of this machine.
    pub prefix: Prefix,
    /// The sockets of the experiment.
    pub ports: Vec<(Transport, u16)>,
    /// The event socket of the experiment. The sidecar whose declaration says `serves_events` listens here; the others
    /// connect.
    pub event_socket: PathBuf,
    /// How the sidecar learns which connections belong to admitted tests.
    pub admission: Admission,
    /// The most payload bytes of a connection that does not become a test.
    pub unadmitted_bytes: u64,
    /// The version of the policy that applies.
    pub policy_version: String,
    /// Files with many rows are closed at this age.
    pub flush_age: Duration,
}

/// A sidecar that records.
pub trait Running: Send {
    /// Whether it still records. One that ended by itself does not start again.
    fn is_running(&self) -> bool;

    /// Closes every file and moves it into the spool. Blocking; called after the experiment has ended.
    fn finish(self: Box<Self>);
}

/// A sidecar that this machine cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The loss without it.
    pub lost: String,
    /// How to get it.
    pub remedy: String,
}
