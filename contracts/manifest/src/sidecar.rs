//! `sidecar.toml`: what a sidecar records of an experiment's connections, for the node and for the policy that people see.

use groma_spool::Name;
use serde::Deserialize;

use crate::{BundleForm, ManifestError, Transport};

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
    /// How its files are bundled for the archive.
    #[serde(default = "tgz")]
    pub bundle: BundleForm,
    /// The transports of the ports that it records. An experiment without such a port runs without the sidecar.
    #[serde(default = "every_transport")]
    pub transports: Vec<Transport>,
    /// The directory of its state below `state/` of a node; without it, its name.
    #[serde(default)]
    pub state_dir: Option<String>,
    /// Whether it serves the event socket, where experiments announce admitted connections.
    #[serde(default)]
    pub serves_events: bool,
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

fn tgz() -> BundleForm {
    BundleForm::Tgz
}

fn every_transport() -> Vec<Transport> {
    vec![Transport::Tcp, Transport::Udp]
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
