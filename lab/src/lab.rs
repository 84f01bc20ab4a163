//! Starting and stopping everything in the right order.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_manifest::Manifest;
use groma_ndt7::server::{Config as ServerConfig, Server, tls_from_pem};
use groma_service::{
    ADMIN_DESCRIPTORS, Build, GaveUp, Lifecycle, Registries, listen_tcp, need_descriptors,
    register_process_metrics, serve_admin,
};
use groma_spool::ExperimentDir;
use groma_tcp_info::Collector;
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::lock::Lock;
use crate::worker::Worker;
use crate::{LabConfig, LabDirs, LabError, sidecars, stages, tls};

/// A running lab.
pub struct Lab {
    dirs: LabDirs,
    manifest: Manifest,
    services: Services,
    off: Vec<Off>,
    lifecycle: Lifecycle,
    server: Server,
    tcp_info: Option<Collector>,
    publish: Worker,
    load: Worker,
    keep: Worker,
    admin: JoinHandle<()>,
    gave_up: UnboundedReceiver<GaveUp>,
    _lock: Lock,
}

/// Where the lab listens.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Services {
    /// ndt7 without TLS.
    pub ws: SocketAddr,
    /// ndt7 over TLS.
    pub wss: SocketAddr,
    /// `/metrics`, `/alive`, `/ready`.
    pub admin: SocketAddr,
}

/// A part that this machine cannot run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Off {
    /// The part.
    pub part: &'static str,
    /// The loss without it.
    pub lost: String,
    /// How to get it.
    pub remedy: String,
}

impl Lab {
    /// Starts every part inside the Tokio runtime of the caller; when this returns, tests are taken and their rows will come.
    pub fn start(config: &LabConfig) -> Result<Self, LabError> {
        let dirs = LabDirs::new(&config.dir);
        let at = |source| LabError::Directory {
            path: config.dir.clone(),
            source,
        };
        std::fs::create_dir_all(dirs.root()).map_err(at)?;
        let lock = Lock::take(dirs.root())?;
        let manifest = stages::with_recorder(stages::built_in_manifest()?)?;
        let lifecycle = Lifecycle::new();
        let mut registry = Registry::default();
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: &config.commit,
        };
        register_process_metrics(&mut registry, &lifecycle, build);
        let name = groma_uuid::machine_name().unwrap_or_else(|| "lab".to_owned());
        let prefix = Prefix::ensure(&dirs.uuid_prefix(), &name)?;
        let experiment = Experiment::new(
            manifest.clone(),
            settings(&manifest, config, &dirs, prefix.clone()),
            lifecycle.clone(),
            &mut registry,
        )?;
        let (store, archive_dir) = stages::archive(config, &dirs)?;
        let registries = Registries::default();
        let mut publisher = stages::publisher(
            &manifest,
            config,
            &dirs,
            store.clone(),
            registries.clone(),
            &lifecycle,
        )?;
        let lake = config.lake.clone().unwrap_or_else(|| dirs.lake().into());
        let loader = stages::loader(&manifest, &lake, store.clone(), archive_dir);
        let server = server(config, &dirs, experiment, &mut registry)?;
        let spool = ExperimentDir::open(
            dirs.experiment(manifest.name.as_str()),
            manifest.name.clone(),
        )?;
        let mut off = missing_parts();
        let tcp_info = sidecars::tcp_info(&spool, prefix, &server, config, &dirs, &mut registry)?
            .map_err(|part| off.push(part))
            .ok();
        let admin = listen_async(config.admin)?;
        let services = Services {
            ws: address_of(&server, false, config.ws),
            wss: address_of(&server, true, config.wss),
            admin: admin.local_addr().unwrap_or(config.admin),
        };
        registries.set("", registry);
        let (given_up, gave_up) = unbounded_channel();
        let supervised = |name| (name, &lifecycle, given_up.clone());
        let publish = {
            let (name, lifecycle, given_up) = supervised("publish");
            Worker::start(name, lifecycle, given_up, move |stop| publisher.run(stop))
        };
        let load = {
            let (name, lifecycle, given_up) = supervised("load");
            Worker::start(name, lifecycle, given_up, move |stop| {
                loader.follow(stop)?;
                stages::load_the_last(&loader)
            })
        };
        let kept_by = stages::archive_of_lake(config, &store);
        let keep = {
            let (name, lifecycle, given_up) = supervised("keep");
            Worker::start(name, lifecycle, given_up, move |stop| {
                stages::keep_lake(lake.clone(), kept_by.as_deref(), stop);
                Ok::<_, std::convert::Infallible>(())
            })
        };
        let admin = tokio::spawn(serve_admin(admin, registries, lifecycle.clone()));
        lifecycle.ready();
        Ok(Self {
            dirs,
            manifest,
            services,
            off,
            lifecycle,
            server,
            tcp_info,
            publish: publish.map_err(LabError::Thread)?,
            load: load.map_err(LabError::Thread)?,
            keep: keep.map_err(LabError::Thread)?,
            admin,
            gave_up,
            _lock: lock,
        })
    }

    /// The lab's folders.
    pub fn dirs(&self) -> &LabDirs {
        &self.dirs
    }

    /// The manifest of the experiment that runs here.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it listens.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Whether the connections of tests are recorded.
    pub fn traces(&self) -> bool {
        self.tcp_info.is_some()
    }

    /// The parts that this machine cannot run.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Waits until a part has failed for good, and returns its name and the reason. Until then failed stages are started
    /// again, and `/ready` answers 503 meanwhile.
    pub async fn failed(&mut self) -> String {
        loop {
            tokio::select! {
                Some(gave_up) = self.gave_up.recv() => return gave_up.to_string(),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            let has_ended = [
                ("the measurement server", !self.server.is_running()),
                (
                    "the connection recorder",
                    self.tcp_info.as_ref().is_some_and(|it| !it.is_running()),
                ),
                ("the admin port", self.admin.is_finished()),
            ];
            if let Some((part, _)) = has_ended.iter().find(|(_, has_ended)| *has_ended) {
                self.lifecycle.failed(part, "it ended by itself");
                return format!("{part} ended by itself");
            }
        }
    }

    /// Lets running tests end (for `grace` at most), archives everything that
    /// was closed and loads everything that was archived, then ends.
    ///
    /// `false` if tests were still running after the grace time; they are lost.
    pub async fn stop(self, grace: Duration) -> bool {
        self.lifecycle.lame_duck();
        let complete = self.server.drain(grace).await;
        if let Some(collector) = self.tcp_info {
            // It blocks until the last word on every connection is in the spool. No test is left to be announced.
            let _ = tokio::task::spawn_blocking(|| collector.finish()).await;
        }
        self.publish.finish().await;
        self.load.finish().await;
        self.keep.finish().await;
        self.lifecycle.stop();
        if let Err(error) = self.admin.await {
            tracing::warn!(%error, "the admin port panicked");
        }
        complete
    }
}

/// How often parts without a supervisor are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

fn settings(manifest: &Manifest, config: &LabConfig, dirs: &LabDirs, prefix: Prefix) -> Settings {
    Settings {
        data_dir: dirs.experiment(manifest.name.as_str()),
        prefix,
        require_policy: config.require_policy,
        max_tests: config.max_tests,
        event_socket: Some(dirs.event_socket()),
    }
}

fn server(
    config: &LabConfig,
    dirs: &LabDirs,
    experiment: Experiment,
    registry: &mut Registry,
) -> Result<Server, LabError> {
    let certificate = match &config.certificate {
        Some(certificate) => certificate.clone(),
        None => tls::ensure(&dirs.tls())?,
    };
    let tls = tls_from_pem(&certificate.cert, &certificate.key)?;
    let mut server = ServerConfig {
        cleartext: vec![listen(config.ws)?],
        tls: Some((vec![listen(config.wss)?], tls)),
        // Connections that wait for their turn or only look at a page need room beside the tests.
        max_connections: config.max_tests.saturating_mul(2).saturating_add(100),
        ..ServerConfig::default()
    };
    server.build.git_short_commit.clone_from(&config.commit);
    let descriptors = server.descriptors(config.max_tests);
    need_descriptors(descriptors.saturating_add(PARTS_DESCRIPTORS + ADMIN_DESCRIPTORS) as u64)?;
    Ok(Server::start(server, experiment, registry)?)
}

/// Descriptors of all parts of the lab except the measurement server and the admin port.
const PARTS_DESCRIPTORS: usize = 200;

fn listen(address: SocketAddr) -> Result<TcpListener, LabError> {
    listen_tcp(address).map_err(|source| LabError::Listen { address, source })
}

fn listen_async(address: SocketAddr) -> Result<tokio::net::TcpListener, LabError> {
    let failed = |source| LabError::Listen { address, source };
    let listener = listen(address)?;
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}

fn address_of(server: &Server, secure: bool, asked: SocketAddr) -> SocketAddr {
    server
        .local_addrs()
        .iter()
        .find(|local| local.secure == secure)
        .map_or(asked, |local| local.address)
}

/// Finds the parts that the kernel of this machine does not offer to this user.
fn missing_parts() -> Vec<Off> {
    let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        .unwrap_or_default();
    let mut off = Vec::new();
    if !allowed.split_ascii_whitespace().any(|name| name == "bbr") {
        off.push(Off {
            part: "BBR congestion control",
            lost: "tests run with the system's default instead, and say so in their rows".to_owned(),
            remedy: "as root: modprobe tcp_bbr && sysctl net.ipv4.tcp_allowed_congestion_control='reno cubic bbr'".to_owned(),
        });
    }
    off
}
