//! `sidecar.toml`: the data that a sidecar records of an experiment's connections, for the policy that people see.

use groma_spool::Name;
use serde::Deserialize;

use crate::ManifestError;

/// The version of the format that this crate reads.
const SIDECAR_FORMAT: u32 = 1;

/// A sidecar, as it describes itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    sidecar: u32,
    /// Its name.
    pub name: Name,
    /// Raised when it records more, or for another purpose.
    pub revision: u32,
    /// The datatypes that it writes.
    pub datatypes: Vec<Name>,
    /// The data that it stores of each test, in words that follow its name.
    pub stored: String,
    /// The reason, in words that follow `stored`.
    pub purpose: String,
    /// The data that it stores of connections that do not become a test, if any.
    #[serde(default)]
    pub unadmitted: Option<UnadmittedPolicy>,
}

/// The data that a sidecar stores of connections that do not become a test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnadmittedPolicy {
    /// The published part.
    pub published: String,
    /// The part for operators only, as the beginning of a sentence that goes on with "kept".
    pub private: String,
    /// For how long they can.
    pub hours: u32,
}

impl Sidecar {
    /// Reads the text of a `sidecar.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let sidecar: Self = toml::from_str(text)?;
        if sidecar.sidecar != SIDECAR_FORMAT {
            return Err(ManifestError::Value {
                key: "sidecar".to_owned(),
                reason: format!("this program reads format {SIDECAR_FORMAT}"),
            });
        }
        Ok(sidecar)
    }

    /// Its part of the version of a policy.
    pub fn tag(&self) -> String {
        format!("{}{}", self.name, self.revision)
    }
}
