//! The experiment and the sidecars that are built into the program. Nothing outside this module chooses them.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use groma_compose::{BoxError, Endpoint, InProcess, Off, RunningExperiment, Setup, attach};
use groma_experiment::{Experiment, Settings};
use groma_lab::{Certificate, self_signed_in};
use groma_manifest::{Manifest, ManifestError, Transport};
use groma_ndt7::server::{Config, Server, tls_from_pem};
use groma_service::{ADMIN_DESCRIPTORS, listen_tcp, need_descriptors};
use groma_sidecar::Sidecar;
use groma_tcp_info::TcpInfo;
use prometheus_client::registry::Registry;

/// Returns the manifest of the built-in experiment.
pub(crate) fn manifest() -> Result<Manifest, ManifestError> {
    groma_ndt7::manifest()
}

/// Returns the built-in sidecars.
pub(crate) fn sidecars() -> Vec<Box<dyn Sidecar>> {
    vec![Box::new(TcpInfo)]
}

/// Returns the manifest with the policy of an experiment that the built-in sidecars record.
pub(crate) fn recorded(manifest: Manifest) -> Result<Manifest, ManifestError> {
    attach(manifest, &sidecars())
}

/// The ndt7 server as a part of a lab.
#[derive(Debug, Clone)]
pub(crate) struct Ndt7 {
    manifest: Manifest,
    /// The address without TLS; port 0 takes a free one.
    pub(crate) ws: SocketAddr,
    /// The address with TLS.
    pub(crate) wss: SocketAddr,
    /// Certificate and key; without them, the self-signed ones in `certificate_dir`.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) certificate_dir: PathBuf,
    pub(crate) require_policy: bool,
    pub(crate) max_tests: usize,
    pub(crate) commit: String,
}

/// Descriptors of the other parts of the process, without the admin port.
const PARTS_DESCRIPTORS: usize = 200;

impl Ndt7 {
    /// The server on free ports of loopback, with the certificate in `certificate_dir`.
    pub(crate) fn new(certificate_dir: PathBuf, commit: &str) -> Result<Self, ManifestError> {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self {
            manifest: manifest()?,
            ws: loopback,
            wss: loopback,
            certificate: None,
            certificate_dir,
            require_policy: false,
            max_tests: 100,
            commit: commit.to_owned(),
        })
    }

    fn server(&self, experiment: Experiment, registry: &mut Registry) -> Result<Server, BoxError> {
        let certificate = match &self.certificate {
            Some(certificate) => certificate.clone(),
            None => self_signed_in(&self.certificate_dir)?,
        };
        let tls = tls_from_pem(&certificate.cert, &certificate.key)?;
        let mut config = Config {
            cleartext: vec![listen(self.ws)?],
            tls: Some((vec![listen(self.wss)?], tls)),
            // Connections that wait for their turn or only load a page need descriptors beside the tests.
            max_connections: self.max_tests.saturating_mul(2).saturating_add(100),
            ..Config::default()
        };
        config.build.git_short_commit.clone_from(&self.commit);
        let descriptors = config.descriptors(self.max_tests);
        need_descriptors(descriptors.saturating_add(PARTS_DESCRIPTORS + ADMIN_DESCRIPTORS) as u64)?;
        Ok(Server::start(config, experiment, registry)?)
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, BoxError> {
    listen_tcp(address).map_err(|error| {
        format!("listen on {address}: {error}; choose another port or 0 for a free one").into()
    })
}

impl InProcess for Ndt7 {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn wanted_ports(&self) -> Vec<(String, Transport, u16)> {
        [("ws", self.ws), ("wss", self.wss)]
            .map(|(name, address)| (name.to_owned(), Transport::Tcp, address.port()))
            .into()
    }

    fn start(
        &self,
        setup: Setup,
        registry: &mut Registry,
    ) -> Result<Box<dyn RunningExperiment>, BoxError> {
        let settings = Settings {
            data_dir: setup.data_dir,
            prefix: setup.prefix,
            require_policy: self.require_policy,
            max_tests: self.max_tests,
            event_socket: Some(setup.event_socket),
        };
        let experiment = Experiment::new(setup.manifest, settings, setup.lifecycle, registry)?;
        Ok(Box::new(RunningNdt7(self.server(experiment, registry)?)))
    }
}

struct RunningNdt7(Server);

impl RunningExperiment for RunningNdt7 {
    fn endpoints(&self) -> Vec<Endpoint> {
        let addresses = self.0.local_addrs().iter();
        addresses
            .map(|local| {
                let name = if local.secure { "wss" } else { "ws" };
                Endpoint {
                    name: name.to_owned(),
                    service: format!("ndt7+{name}"),
                    address: local.address,
                }
            })
            .collect()
    }

    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn drain(self: Box<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(async move { self.0.drain(grace).await })
    }
}

/// Finds the features of the kernel that this user cannot use and ndt7 wants.
pub(crate) fn missing_features() -> Option<Off> {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        .unwrap_or_default();
    if allowed.split_ascii_whitespace().any(|name| name == "bbr") {
        return None;
    }
    Some(Off {
        part: "BBR congestion control".to_owned(),
        lost: "tests run with the system's default instead, and their rows name it".to_owned(),
        remedy: "as root: modprobe tcp_bbr && sysctl net.ipv4.tcp_allowed_congestion_control='reno cubic bbr'".to_owned(),
    })
}
