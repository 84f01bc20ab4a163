//! The directories of a node.

use std::path::{Path, PathBuf};

/// The directories of a node, all below one root.
#[derive(Debug, Clone)]
pub struct Dirs {
    root: PathBuf,
}

impl Dirs {
    /// Returns the layout below `root`; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `spool/`: results that experiments closed.
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// `spool/<experiment>/`: the data directory of one experiment.
    pub fn experiment(&self, experiment: &str) -> PathBuf {
        self.spool().join(experiment)
    }

    /// `uuid/prefix`: the beginning of the UUIDs of this boot.
    pub fn uuid_prefix(&self) -> PathBuf {
        self.root.join("uuid/prefix")
    }

    /// `state/publish/<experiment>/`: the publisher's journal and receipts.
    pub fn publish_state(&self, experiment: &str) -> PathBuf {
        self.root.join("state/publish").join(experiment)
    }

    /// `state/<sidecar>/<experiment>/`: the state of a sidecar.
    pub fn sidecar_state(&self, sidecar: &str, experiment: &str) -> PathBuf {
        self.root.join("state").join(sidecar).join(experiment)
    }

    /// `run/<experiment>/`: the policy of an experiment, its event socket, and the number of its process.
    pub fn run(&self, experiment: &str) -> PathBuf {
        self.root.join("run").join(experiment)
    }

    /// `run/<experiment>/events.sock`: where connections are announced.
    pub fn event_socket(&self, experiment: &str) -> PathBuf {
        self.run(experiment).join("events.sock")
    }
}
