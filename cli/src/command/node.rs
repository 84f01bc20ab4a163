//! Arguments and tools of the commands that run one part of a node.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use groma_manifest::Manifest;
use groma_service::{
    Access, Build, Lifecycle, Page, Registries, install_signal_handlers, listen_tcp,
    register_process_metrics, serve_admin_with, until_signal,
};
use groma_spool::ExperimentDir;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::listen::Listen;

/// Which experiment this is about.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestArgs {
    /// The experiment's manifest; without it, that of the ndt7 experiment that is built in.
    #[arg(long, env = "GROMA_MANIFEST", value_name = "experiment.toml")]
    manifest: Option<PathBuf>,
}

impl ManifestArgs {
    pub(crate) fn read(&self) -> anyhow::Result<Manifest> {
        match &self.manifest {
            Some(path) => Ok(Manifest::load(path)?),
            None => Ok(crate::builtin::manifest()?),
        }
    }
}

/// Which experiment a part serves beside the experiment itself, and where that leaves its files.
#[derive(Debug, clap::Args)]
pub(crate) struct ExperimentArgs {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The experiment's directory in the spool.
    #[arg(
        long,
        env = "DIRECTORY",
        value_name = "DIR",
        default_value = "/var/spool/ndt"
    )]
    directory: PathBuf,
}

impl ExperimentArgs {
    /// The manifest that was given; `None` where the built-in one would apply.
    pub(crate) fn given_manifest(&self) -> anyhow::Result<Option<Manifest>> {
        let given = self.manifest.manifest.as_deref();
        Ok(given.map(Manifest::load).transpose()?)
    }

    /// Returns the manifest, and the directory of the experiment that it names.
    pub(crate) fn open(&self) -> anyhow::Result<(Manifest, ExperimentDir)> {
        let manifest = self.manifest.read()?;
        let spool = open_spool(&self.directory, &manifest)?;
        Ok((manifest, spool))
    }
}

/// Opens an experiment's directory in the spool (`--directory`).
///
/// # Errors
///
/// If the directory does not exist: the experiment creates it, and a part with a mistyped path would wait for results in vain.
pub(crate) fn open_spool(directory: &Path, manifest: &Manifest) -> anyhow::Result<ExperimentDir> {
    anyhow::ensure!(
        directory.is_dir(),
        "cannot open the spool directory {}: it does not exist; start the experiment first, or correct --directory",
        directory.display()
    );
    Ok(ExperimentDir::open(directory, manifest.name.clone())?)
}

/// Which file holds the UUIDs' prefix.
#[derive(Debug, clap::Args)]
pub(crate) struct PrefixArgs {
    /// The file that holds what the UUIDs of this boot begin with. All processes of a node must be given the same.
    #[arg(
        long = "uuid-prefix-file",
        env = "UUID_PREFIX_FILE",
        value_name = "FILE"
    )]
    pub(crate) uuid_prefix_file: Option<PathBuf>,
}

/// Where a service of the lake has its admin port.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// Where /metrics, /alive, /health and /ready are served while the command runs as a service, or off. Port 0 takes a
    /// free one, which the log names.
    #[arg(
        long = "prometheusx.listen-address",
        env = "PROMETHEUSX_LISTEN_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:0"
    )]
    admin: Listen,
}

impl AdminArgs {
    /// Serves the admin port, unless it is off.
    pub(crate) fn start(
        &self,
        registry: Registry,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Option<Admin>> {
        match self.admin {
            Listen::Off => Ok(None),
            Listen::On(address) => Admin::start(address, registry, lifecycle).map(Some),
        }
    }
}

/// Returns a flag that is set when the process is asked to end.
pub(crate) fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    install_signal_handlers();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(until_signal());
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// The admin port of a part, on a runtime of its own beside blocking work.
pub(crate) struct Admin {
    /// Until the end.
    runtime: Option<Runtime>,
}

/// A page that is still being made does not hold up the end of the process.
const CLOSING_TIME: Duration = Duration::from_secs(1);

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(CLOSING_TIME);
        }
    }
}

impl Admin {
    /// Serves metrics and health, and says where.
    pub(crate) fn start(
        address: SocketAddr,
        registry: Registry,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let (pages, access) = (Vec::new(), Access::default());
        Self::start_with(address, registry.into(), lifecycle, pages, access)
    }

    /// The same with additional pages, which `access` opens.
    pub(crate) fn start_with(
        address: SocketAddr,
        registries: Registries,
        lifecycle: &Lifecycle,
        pages: Vec<Page>,
        access: Access,
    ) -> anyhow::Result<Self> {
        install_signal_handlers();
        let mut registry = Registry::default();
        register_process_metrics(&mut registry, lifecycle, build());
        registries.set("process", registry);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the runtime")?;
        let listener = {
            let _inside = runtime.enter();
            listen(address)
        }
        .with_context(|| format!("listen on {address} for /metrics; choose another address"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics and health");
        let lifecycle = lifecycle.clone();
        runtime.spawn(serve_admin_with(
            listener, registries, lifecycle, pages, access,
        ));
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Runs `act` each time that the process gets SIGUSR1.
    pub(crate) fn on_user_signal(&self, act: impl Fn() + Send + 'static) {
        self.spawn(async move {
            match signal(SignalKind::user_defined1()) {
                Ok(mut signals) => {
                    while signals.recv().await.is_some() {
                        act();
                    }
                }
                Err(error) => tracing::error!(%error, "install the handler of SIGUSR1"),
            }
        });
    }

    /// Runs `act` once when the process is asked to end.
    pub(crate) fn on_signal(&self, act: impl FnOnce() + Send + 'static) {
        self.spawn(async move {
            let signal = until_signal().await;
            tracing::info!(signal, "stopping");
            act();
        });
    }
}

/// A listening socket of the runtime that is entered.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = listen_tcp(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The commit that the program was built from, or `unknown`.
pub(crate) const COMMIT: &str = env!("GROMA_COMMIT");

/// Version and commit for `groma_build_info`.
pub(crate) fn build() -> Build<'static> {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
    }
}
