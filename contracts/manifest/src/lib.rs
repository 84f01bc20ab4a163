//! `experiment.toml`: everything about an experiment that a machine can check.
//!
//! The manifest is what an experiment promises and what the platform holds it
//! to: its name and ports, its datatypes with their schemas, what it may keep
//! of what a client says about itself, what a person consents to, and the names
//! of its metrics. Unknown keys are refused, so that a
//! misspelt rule is never silently no rule.

mod consent;
mod metadata;
mod parse;
mod sidecar;

pub use consent::Consent;
pub use metadata::MetadataRule;
pub use parse::ManifestError;
pub use sidecar::{Sidecar, UnadmittedPolicy};

use groma_schema::Schema;
use groma_spool::Name;
use serde::Deserialize;

/// The version of the manifest format that this crate reads.
pub const FORMAT: u32 = 1;

/// One experiment, as it describes itself.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its name: the directory in the spool and the first part of every object name.
    pub name: Name,
    /// The version of the experiment's code.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// The organisation that answers for it.
    pub owner: Owner,
    /// Where its code lives and under which licences.
    pub source: Source,
    /// Sockets on which clients reach it.
    pub ports: Vec<Port>,
    /// The datatypes that it records.
    pub datatypes: Vec<Datatype>,
    /// The values that the label `result` of its run counter may take.
    pub results: Vec<String>,
    /// The client's parameters that it may keep; no others are kept.
    pub client_metadata: Vec<MetadataRule>,
    /// How a recorder learns which connections belong to admitted tests.
    pub admission: Admission,
    /// The most payload, both directions together, of a connection that does not become a test; 0 to 4096 bytes.
    /// Recorders count connections with more as unexplained.
    pub unadmitted_bytes: u64,
    /// The policy to which a person agrees before a test.
    pub consent: Consent,
    /// The names of its run counter and of the four golden signals.
    pub metrics: Metrics,
}

/// The organisation that answers for an experiment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The organisation.
    pub organization: String,
    /// An address that is read.
    pub email: String,
}

/// Where the code lives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// SPDX id of the code's licence.
    pub license: String,
    /// SPDX id of the data's licence.
    pub data_license: String,
}

/// A socket on which clients reach the experiment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The protocol, for instance `ndt7+wss`.
    pub service: String,
    /// Transport.
    pub protocol: Transport,
    /// The port number on the node.
    pub port: u16,
}

/// The transport of a [`Port`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Something that an experiment records: one file per test.
#[derive(Debug, Clone)]
pub struct Datatype {
    /// Its name: a directory in the spool and a table.
    pub name: Name,
    /// The content of a file.
    pub schema: Schema,
    /// The schema file's text, as it is published.
    pub schema_text: String,
    /// How its files are bundled for the archive.
    pub bundle: BundleForm,
}

/// How files travel to the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BundleForm {
    /// A gzipped tar archive of the files as they are.
    Tgz,
    /// Gzipped JSON lines with standard columns, and an index.
    Jsonl,
}

/// How a recorder of connections learns which of them belong to admitted tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// The experiment announces them over the event socket, as the SDK does.
    #[default]
    Announced,
    /// A connection counts as admitted from the first payload byte that its client sends. For programs that cannot
    /// announce.
    FirstPayload,
}

/// Names of metrics on the experiment's `/metrics`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Counter of runs with the label `result`.
    pub runs: String,
    /// Counter of work done.
    pub traffic: String,
    /// Counter of errors.
    pub errors: String,
    /// Histogram of how long a test takes.
    pub duration: String,
    /// Gauge of how full the service is.
    pub saturation: String,
}

impl Manifest {
    /// The rule under which a client's parameter may be kept; `None`: it may not.
    pub fn metadata_rule(&self, key: &str) -> Option<&MetadataRule> {
        self.client_metadata.iter().find(|rule| rule.key == key)
    }

    /// The datatype of that name.
    pub fn datatype(&self, name: &str) -> Option<&Datatype> {
        self.datatypes
            .iter()
            .find(|datatype| datatype.name.as_str() == name)
    }
}
