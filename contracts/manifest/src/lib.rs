//! `experiment.toml`: the properties of an experiment that a machine can check.
//!
//! The manifest states what an experiment does and what the platform holds it to: its name and ports, how its server is
//! started, its datatypes with their schemas and purposes, the metadata of clients that it may store, the policy to which a
//! person consents, and the names of its metrics. Unknown keys are errors, so that a misspelt rule is never ignored. All
//! problems of a manifest are reported at once, each with its line. `docs/manifest.md` is the reference.

mod check;
mod consent;
mod description;
mod document;
mod metadata;
mod operator;
mod parse;
mod problem;
mod read;
#[cfg(test)]
mod reference;
mod sidecar;

pub use consent::Consent;
pub use description::{
    DESCRIPTION_BYTES, DESCRIPTION_PATH, Description, DescriptionError, PublishedPolicy,
};
pub use document::{
    Admission, Allocation, BundleForm, Contacts, Egress, Embargo, Metrics, Owner, Port, Probes,
    Repository, Run, Source, Transport,
};
pub use metadata::MetadataRule;
pub use operator::Operator;
pub use problem::{ManifestError, Problem, Problems};
pub use sidecar::{Sidecar, UnadmittedPolicy};

use std::collections::BTreeMap;

use groma_schema::Schema;
use groma_spool::Name;
use jiff::civil::Date;

/// The newest version of the manifest format; this crate also reads format 1.
pub const FORMAT: u32 = 2;

/// The description of one experiment. Fields that format 1 does not have are `None` or empty there.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The format of the file.
    pub format: u32,
    /// Its name: the directory in the spool and the first part of every object name.
    pub name: Name,
    /// The version of the experiment's code.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// The web page that documents the experiment.
    pub documentation_url: Option<String>,
    /// The first day on which the experiment takes tests of the public.
    pub launch_date: Option<Date>,
    /// The largest number of bytes that one test transfers, both directions together.
    pub max_test_bytes: Option<u64>,
    /// The file with the service level objectives, relative to the manifest.
    pub objectives: Option<String>,
    /// The organisation that runs it.
    pub owner: Owner,
    /// The people to write to.
    pub contacts: Option<Contacts>,
    /// The code and its licences.
    pub source: Source,
    /// How the server is started.
    pub run: Option<Run>,
    /// How a node finds out whether the server takes tests.
    pub probes: Option<Probes>,
    /// The resources that the server may use.
    pub allocation: Option<Allocation>,
    /// The hosts that the server contacts by itself.
    pub egress: Vec<Egress>,
    /// The period in which data are not public.
    pub embargo: Option<Embargo>,
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
    operator: Option<Operator>,
}

/// A kind of files that an experiment writes: one file per test.
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
    /// The reason for storing each field, by the path of the field; empty in format 1.
    pub purposes: BTreeMap<String, String>,
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
