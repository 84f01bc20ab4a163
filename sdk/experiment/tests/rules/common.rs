//! An experiment with its own spool, and the text of its metrics.

use std::path::PathBuf;

use groma_experiment::{Experiment, Outcome, ResultFile, Settings, SetupError};
use groma_manifest::Manifest;
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tempfile::TempDir;

const MANIFEST: &str = r#"
manifest = 1
name = "sample"
version = "0.1.0"
title = "An experiment for tests"
results = ["okay", "error"]

[owner]
organization = "Example"
email = "owner@example.org"

[source]
license = "Apache-2.0"
data_license = "CC0-1.0"

[[port]]
service = "sample"
protocol = "tcp"
port = 4443

[[datatype]]
name = "rows"
schema = "rows.json"
bundle = "jsonl"

[[client_metadata]]
key = "client_name"
max_length = 8
pattern = "[a-z]+"

[[client_metadata]]
key = "policy_version"
max_length = 32
pattern = ".*"

[consent]
policy_url = "https://example.org/policy"
policy_version = "v5"
text = "Your address and the measurement are published."

[metrics]
runs = "groma_experiment_tests_total"
traffic = "groma_experiment_bytes_total"
errors = "groma_experiment_errors_total"
duration = "groma_experiment_test_duration_seconds"
saturation = "groma_experiment_saturation_ratio"
"#;

pub(crate) const SCHEMA: &str =
    r#"[{"name": "Rate", "type": "FLOAT", "mode": "NULLABLE", "description": "Mbit/s"}]"#;

pub(crate) fn manifest() -> Manifest {
    Manifest::parse(MANIFEST, |_| Ok(SCHEMA.to_owned())).unwrap()
}

/// The outcome of a good test.
pub(crate) fn okay() -> Outcome {
    let mut lab = Lab::new();
    lab.experiment().outcome("okay").unwrap()
}

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) registry: Registry,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            lifecycle: Lifecycle::new(),
            registry: Registry::default(),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            data_dir: self.data_dir(),
            prefix: Prefix::ensure(&self.dir.path().join("prefix"), "node").unwrap(),
            require_policy: false,
            max_tests: 4,
            event_socket: None,
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("spool/sample")
    }

    pub(crate) fn open(&mut self, settings: Settings) -> Result<Experiment, SetupError> {
        let lifecycle = self.lifecycle.clone();
        Experiment::new(manifest(), settings, lifecycle, &mut self.registry)
    }

    pub(crate) fn experiment(&mut self) -> Experiment {
        let settings = self.settings();
        self.open(settings).unwrap()
    }

    /// An experiment that allows these keys of client metadata, each as `client_name`.
    pub(crate) fn experiment_with_keys(&mut self, keys: &[String]) -> Experiment {
        let mut manifest = manifest();
        let like = manifest.client_metadata.remove(0);
        manifest.client_metadata = vec![like; keys.len()];
        for (rule, key) in manifest.client_metadata.iter_mut().zip(keys) {
            rule.key.clone_from(key);
        }
        let settings = self.settings();
        let lifecycle = self.lifecycle.clone();
        Experiment::new(manifest, settings, lifecycle, &mut self.registry).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The value of a sample of this experiment, by its name and further label, or `none`.
    pub(crate) fn sample(&self, name: &str, label: &str) -> String {
        let labels = match label {
            "" => r#"{experiment="sample"}"#.to_owned(),
            label => format!(r#"{{experiment="sample",{label}}}"#),
        };
        let start = format!("groma_experiment_{name}{labels} ");
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        let number = |value: &str| value.parse::<f64>().unwrap().to_string();
        value.map_or_else(|| "none".to_owned(), number)
    }
}

pub(crate) fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

pub(crate) fn result_file(datatype: &str, name: &str, body: &[u8]) -> ResultFile {
    ResultFile {
        datatype: datatype.parse().unwrap(),
        name: name.parse().unwrap(),
        date: "2026-11-22".parse().unwrap(),
        body: body.to_vec(),
    }
}
