//! Reading and checking `experiment.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use groma_schema::{Pattern, Schema, SchemaError};
use groma_spool::Name;
use serde::Deserialize;

use crate::consent::ConsentEntry;
use crate::{
    Admission, BundleForm, Consent, Datatype, FORMAT, Manifest, MetadataRule, Metrics, Owner, Port,
    Source,
};

/// The most payload that a connection may declare to carry without becoming a test.
const MOST_UNADMITTED_BYTES: u64 = 4096;

/// A manifest that cannot be used, with the place.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// The manifest or a schema file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It is not TOML of this format; the message names line and key.
    #[error("experiment manifest: {0}")]
    Toml(#[from] toml::de::Error),
    /// A schema file is wrong.
    #[error("experiment manifest: datatype {datatype}: schema {path}: {source}")]
    Schema {
        /// Whose schema.
        datatype: Name,
        /// The file as named in the manifest.
        path: String,
        /// The defect.
        source: SchemaError,
    },
    /// A value breaks a rule.
    #[error("experiment manifest: {key}: {reason}")]
    Value {
        /// Where, for instance `client_metadata[2].pattern`.
        key: String,
        /// The rule.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    manifest: u32,
    name: Name,
    version: String,
    title: String,
    owner: Owner,
    source: Source,
    results: Vec<String>,
    #[serde(rename = "port")]
    ports: Vec<Port>,
    #[serde(rename = "datatype")]
    datatypes: Vec<DatatypeEntry>,
    #[serde(default)]
    client_metadata: Vec<RuleEntry>,
    #[serde(default)]
    admission: Admission,
    #[serde(default = "most_unadmitted_bytes")]
    unadmitted_bytes: u64,
    consent: ConsentEntry,
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatatypeEntry {
    name: Name,
    schema: String,
    bundle: BundleForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    key: String,
    max_length: usize,
    pattern: String,
}

impl Manifest {
    /// Reads `experiment.toml` and the schema files that it names, with paths
    /// relative to it.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let failed = |path: PathBuf| move |source| ManifestError::Read { path, source };
        let text = fs::read_to_string(path).map_err(failed(path.to_owned()))?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, |name| fs::read_to_string(dir.join(name)))
    }

    /// Reads a manifest from text; `read_schema` gives the text of a schema file.
    pub fn parse(
        text: &str,
        read_schema: impl Fn(&str) -> io::Result<String>,
    ) -> Result<Self, ManifestError> {
        let document: Document = toml::from_str(text)?;
        if document.manifest != FORMAT {
            return Err(wrong(
                "manifest",
                format!("this program reads format {FORMAT}"),
            ));
        }
        check_results(&document.results)?;
        if document.unadmitted_bytes > MOST_UNADMITTED_BYTES {
            let reason = format!("at most {MOST_UNADMITTED_BYTES}");
            return Err(wrong("unadmitted_bytes", reason));
        }
        let datatypes = document
            .datatypes
            .into_iter()
            .map(|entry| read_datatype(entry, &read_schema))
            .collect::<Result<Vec<_>, _>>()?;
        unique(
            "datatype.name",
            datatypes.iter().map(|datatype| datatype.name.as_str()),
        )?;
        let client_metadata = read_rules(document.client_metadata)?;
        let manifest = Self {
            name: document.name,
            version: document.version,
            title: document.title,
            owner: document.owner,
            source: document.source,
            ports: document.ports,
            datatypes,
            results: document.results,
            client_metadata,
            admission: document.admission,
            unadmitted_bytes: document.unadmitted_bytes,
            consent: Consent::new(document.consent)?,
            metrics: document.metrics,
        };
        manifest.attach(&[])
    }
}

fn most_unadmitted_bytes() -> u64 {
    MOST_UNADMITTED_BYTES
}

fn read_datatype(
    entry: DatatypeEntry,
    read_schema: &impl Fn(&str) -> io::Result<String>,
) -> Result<Datatype, ManifestError> {
    let schema_text = read_schema(&entry.schema).map_err(|source| ManifestError::Read {
        path: PathBuf::from(&entry.schema),
        source,
    })?;
    let schema = Schema::parse(&schema_text).map_err(|source| ManifestError::Schema {
        datatype: entry.name.clone(),
        path: entry.schema,
        source,
    })?;
    Ok(Datatype {
        name: entry.name,
        schema,
        schema_text,
        bundle: entry.bundle,
    })
}

fn read_rules(entries: Vec<RuleEntry>) -> Result<Vec<MetadataRule>, ManifestError> {
    unique(
        "client_metadata.key",
        entries.iter().map(|entry| entry.key.as_str()),
    )?;
    entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| {
            let place = |key: &str| format!("client_metadata[{index}].{key}");
            // A bearer token in a public row would let anyone who reads it act as the client.
            if entry.key == "access_token" || entry.key.starts_with("server_") {
                return Err(wrong(
                    place("key"),
                    format!("{} can never be kept", entry.key),
                ));
            }
            if !(1..=512).contains(&entry.max_length) {
                return Err(wrong(place("max_length"), "1 to 512 bytes".into()));
            }
            let pattern = Pattern::new(&entry.pattern)
                .map_err(|error| wrong(place("pattern"), error.to_string()))?;
            Ok(MetadataRule::new(entry.key, entry.max_length, pattern))
        })
        .collect()
}

fn check_results(results: &[String]) -> Result<(), ManifestError> {
    if results.is_empty() || results.len() > 20 {
        return Err(wrong(
            "results",
            "1 to 20 values of the run counter's label".into(),
        ));
    }
    unique("results", results.iter().map(String::as_str))
}

fn unique<'a>(key: &str, values: impl Iterator<Item = &'a str>) -> Result<(), ManifestError> {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value) {
            return Err(wrong(key, format!("{value} stands there twice")));
        }
    }
    Ok(())
}

fn wrong(key: impl Into<String>, reason: String) -> ManifestError {
    ManifestError::Value {
        key: key.into(),
        reason,
    }
}
