//! The directories of a lab.

use std::path::{Path, PathBuf};

use groma_compose::Dirs;

/// The directories of a lab, all below one root: those of a node, the archive and the lake.
#[derive(Debug, Clone)]
pub struct LabDirs {
    node: Dirs,
}

impl LabDirs {
    /// Returns the layout below `root`; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            node: Dirs::new(root),
        }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        self.node.root()
    }

    /// The directories of the experiments.
    pub fn node(&self) -> &Dirs {
        &self.node
    }

    /// `archive/`: the object store.
    pub fn archive(&self) -> PathBuf {
        self.root().join("archive")
    }

    /// `lake/`: the tables.
    pub fn lake(&self) -> PathBuf {
        self.root().join("lake")
    }

    /// `tls/`: the self-signed certificate.
    pub fn tls(&self) -> PathBuf {
        self.root().join("tls")
    }
}
