//! The problems of a manifest, each with its line.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

/// One problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line of the manifest, from 1. A missing key has the line of the table that needs it.
    pub line: usize,
    /// The key, for instance `client_metadata[2].pattern`; empty for a syntax error.
    pub key: String,
    /// The rule that is broken, and the next step where it is not obvious.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// All problems of a manifest in the order of their lines; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// An error of a manifest or of a sidecar's declaration.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The manifest cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The manifest breaks rules.
    #[error("experiment manifest: {0}")]
    Problems(Problems),
    /// The declaration of a sidecar is not TOML of its format; the message names line and key.
    #[error("sidecar declaration: {0}")]
    Sidecar(#[from] toml::de::Error),
    /// A value breaks a rule.
    #[error("experiment manifest: {key}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The rule.
        reason: String,
    },
}
