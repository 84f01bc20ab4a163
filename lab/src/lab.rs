//! Starts and stops everything in the right order.

use std::net::SocketAddr;
use std::time::Duration;

use groma_compose::{Config, Endpoint, Node, Off, Worker};
use groma_manifest::{Manifest, Transport};
use groma_service::{
    Build, GaveUp, Lifecycle, Registries, RestartPolicy, listen_tcp, register_process_metrics,
    serve_admin,
};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::lock::Lock;
use crate::{LabConfig, LabDirs, LabError, Parts, pipeline};

/// A running lab.
pub struct Lab {
    dirs: LabDirs,
    node: Node,
    admin_address: SocketAddr,
    lifecycle: Lifecycle,
    load: Worker,
    keep: Worker,
    admin: JoinHandle<()>,
    gave_up: UnboundedReceiver<GaveUp>,
    _lock: Lock,
}

impl Lab {
    /// Starts every part inside the Tokio runtime of the caller. When it returns, the experiments of this process take tests,
    /// and hosted ones have been started; see [`Lab::settled`].
    pub fn start(config: &LabConfig, parts: &Parts) -> Result<Self, LabError> {
        let at = |source| LabError::Directory {
            path: config.dir.clone(),
            source,
        };
        // Hosted experiments run in directories of their own.
        let dirs = LabDirs::new(std::path::absolute(&config.dir).map_err(at)?);
        std::fs::create_dir_all(dirs.root()).map_err(at)?;
        let lock = Lock::take(dirs.root())?;
        let lifecycle = Lifecycle::new();
        let registries = Registries::default();
        registries.set("process", process_metrics(config, &lifecycle));
        let (store, archive_dir) = pipeline::archive(config, &dirs)?;
        let admin = listen_async(config.admin)?;
        let (given_up, gave_up) = unbounded_channel();
        let node_config = Config {
            dirs: dirs.node().clone(),
            store: store.clone(),
            organization: "lab".to_owned(),
            form: config.form,
            flush_age: config.flush_age,
            flush_bytes: config.flush_bytes,
            reserve_bytes: config.reserve_bytes,
            listen: config.listen,
            ports: config.ports.clone(),
            taken: vec![(
                "the admin port".to_owned(),
                Transport::Tcp,
                config.admin.port(),
            )],
            require_policy: config.require_policy,
            max_tests: config.max_tests,
            operator: config.operator.clone(),
        };
        let node = Node::start(
            &node_config,
            &parts.in_process,
            &parts.hosted,
            &parts.sidecars,
            &registries,
            &lifecycle,
            &given_up,
        )?;
        let lake = config.lake.clone().unwrap_or_else(|| dirs.lake().into());
        let loader = pipeline::loader(
            node.manifests(),
            &parts.sidecars,
            &lake,
            store.clone(),
            archive_dir,
        );
        let load = worker("load", &lifecycle, &given_up, move |stop| {
            loader.follow(stop)?;
            pipeline::load_the_last(&loader)
        })?;
        let kept_by = pipeline::archive_of_lake(config, &store);
        let keep = worker("keep", &lifecycle, &given_up, move |stop| {
            pipeline::keep_lake(lake.clone(), kept_by.as_deref(), stop);
            Ok::<_, std::convert::Infallible>(())
        })?;
        let admin_address = admin.local_addr().unwrap_or(config.admin);
        let admin = tokio::spawn(serve_admin(admin, registries, lifecycle.clone()));
        lifecycle.ready();
        Ok(Self {
            dirs,
            node,
            admin_address,
            lifecycle,
            load,
            keep,
            admin,
            gave_up,
            _lock: lock,
        })
    }

    /// The lab's directories.
    pub fn dirs(&self) -> &LabDirs {
        &self.dirs
    }

    /// The manifests of the experiments, with the policies of the attached sidecars.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.node.manifests()
    }

    /// The addresses of an experiment.
    pub fn endpoints(&self, experiment: &str) -> &[Endpoint] {
        self.node.endpoints(experiment)
    }

    /// The address of `/metrics`, `/alive` and `/ready`.
    pub fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// Whether the connections of an experiment are recorded.
    pub fn traces(&self, experiment: &str) -> bool {
        self.node.is_recorded(experiment)
    }

    /// The parts that this machine cannot run.
    pub fn off(&self) -> &[Off] {
        self.node.off()
    }

    /// Returns when every hosted experiment takes tests, or has used up the time for its start.
    pub async fn settled(&self) {
        self.node.settled().await;
    }

    /// Waits until a part has failed for good, and returns its name and the reason. Until then failed stages are started
    /// again, and `/ready` answers 503 meanwhile.
    pub async fn failed(&mut self) -> String {
        loop {
            tokio::select! {
                Some(gave_up) = self.gave_up.recv() => return gave_up.to_string(),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            if let Some(part) = self.node.ended_part() {
                return format!("{part} ended by itself");
            }
            if self.admin.is_finished() {
                return "the admin port ended by itself".to_owned();
            }
        }
    }

    /// Lets running tests end (for `grace` at most), archives everything that
    /// was closed and loads everything that was archived, then ends.
    ///
    /// `false` if tests were still running after the grace time; they are lost.
    pub async fn stop(self, grace: Duration) -> bool {
        self.lifecycle.lame_duck();
        let complete = self.node.stop(grace).await;
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

fn process_metrics(config: &LabConfig, lifecycle: &Lifecycle) -> Registry {
    let mut registry = Registry::default();
    let build = Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: &config.commit,
    };
    register_process_metrics(&mut registry, lifecycle, build);
    registry
}

fn worker<E: std::fmt::Display>(
    name: &str,
    lifecycle: &Lifecycle,
    given_up: &UnboundedSender<GaveUp>,
    stage: impl FnMut(&std::sync::Arc<std::sync::atomic::AtomicBool>) -> Result<(), E> + Send + 'static,
) -> Result<Worker, LabError> {
    let policy = RestartPolicy::default();
    Worker::start(name, lifecycle, given_up.clone(), policy, stage).map_err(LabError::Thread)
}

fn listen_async(address: SocketAddr) -> Result<tokio::net::TcpListener, LabError> {
    let failed = |source| LabError::Listen { address, source };
    let listener = listen_tcp(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}
