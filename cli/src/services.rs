//! The addresses of a lab, for people and for programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use groma_compose::{Endpoint, Off};
use groma_lab::Lab;
use serde::Serialize;

use crate::builtin;
use crate::output::say;

/// The addresses of a lab, and the parts that this machine cannot run.
#[derive(Debug, Serialize)]
pub(crate) struct Services {
    /// The addresses of the built-in experiment by the names of its ports, and `admin`.
    services: BTreeMap<String, SocketAddr>,
    /// For each hosted experiment, the addresses by the names of its ports, and `admin`.
    experiments: BTreeMap<String, BTreeMap<String, SocketAddr>>,
    /// The version of the policy of each experiment, which a client sends after the person agreed.
    policies: BTreeMap<String, String>,
    off: Vec<Off>,
    #[serde(skip)]
    built_in: Vec<Endpoint>,
}

impl Services {
    /// `built_in` names the experiments that are a part of this process.
    pub(crate) fn of(lab: &Lab, built_in: &[String]) -> Self {
        let mut off = lab.off().to_vec();
        let mut services = BTreeMap::from([("admin".to_owned(), lab.admin())]);
        let mut experiments = BTreeMap::new();
        let mut policies = BTreeMap::new();
        let mut own = Vec::new();
        for manifest in lab.manifests() {
            let name = manifest.name.to_string();
            let version = manifest.consent.policy_version.clone();
            policies.insert(name.clone(), version);
            let endpoints = lab.endpoints(&name);
            let by_name = endpoints.iter().map(|it| (it.name.clone(), it.address));
            if built_in.contains(&name) {
                services.extend(by_name);
                own.extend_from_slice(endpoints);
                off.extend(builtin::missing_features());
            } else {
                experiments.insert(name, by_name.collect());
            }
        }
        Self {
            services,
            experiments,
            policies,
            off,
            built_in: own,
        }
    }

    /// The address of a port of the built-in experiment.
    pub(crate) fn built_in(&self, port: &str) -> Option<SocketAddr> {
        let found = self.built_in.iter().find(|it| it.name == port);
        found.map(|it| it.address)
    }

    /// Prints one line for each address and for each part that is off.
    pub(crate) fn print(&self) {
        say!("Services");
        if let Some(address) = self.built_in("ws") {
            say!("  ndt7 without TLS   ws://{address}/ndt/v7/download");
        }
        if let Some(address) = self.built_in("wss") {
            say!("  ndt7 over TLS      wss://{address}/ndt/v7/download (self-signed certificate)");
        }
        for (experiment, ports) in &self.experiments {
            let ports: Vec<String> = ports
                .iter()
                .map(|(name, address)| format!("{name} {address}"))
                .collect();
            let policy = self.policies.get(experiment);
            let policy = policy.map_or("", String::as_str);
            say!(
                "  {experiment:<18} {}; policy {policy}; not isolated",
                ports.join(", ")
            );
        }
        if let Some(admin) = self.services.get("admin") {
            say!("  metrics, health    http://{admin}/metrics");
        }
        say!("  publisher, archive, loader: running");
        for off in &self.off {
            say!(
                "  off: {}: {}. To get it: {}",
                off.part,
                off.lost,
                off.remedy
            );
        }
    }
}
