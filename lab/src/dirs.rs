//! The directories of a lab.

use std::path::{Path, PathBuf};

/// The folders of a lab, all below one root.
#[derive(Debug, Clone)]
pub struct LabDirs {
    root: PathBuf,
}

impl LabDirs {
    /// The layout below `root`; nothing is created.
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

    /// `uuid/prefix`: what the UUIDs of this boot begin with.
    pub fn uuid_prefix(&self) -> PathBuf {
        self.root.join("uuid/prefix")
    }

    /// `state/publish/<experiment>/`: the publisher's journal and receipts.
    pub fn publish_state(&self, experiment: &str) -> PathBuf {
        self.root.join("state/publish").join(experiment)
    }

    /// `state/tcp-info/<experiment>/`: the connection recorder's journal.
    pub fn tcp_info_state(&self, experiment: &str) -> PathBuf {
        self.root.join("state/tcp-info").join(experiment)
    }

    /// `run/tcpevents.sock`: where sidecars hear of connections that open and close.
    pub fn event_socket(&self) -> PathBuf {
        self.root.join("run/tcpevents.sock")
    }

    /// `archive/`: the object store.
    pub fn archive(&self) -> PathBuf {
        self.root.join("archive")
    }

    /// `lake/`: the tables.
    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// `tls/`: the self-signed certificate.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }
}
