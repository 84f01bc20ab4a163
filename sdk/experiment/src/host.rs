//! The host that runs an experiment, described by environment variables.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use groma_manifest::{DESCRIPTION_PATH, Manifest, ManifestError};
use groma_service::{
    Build, HttpLimits, Lifecycle, LogFormat, LogLevelError, Phase, init_logging,
    install_signal_handlers, listen_tcp, register_process_metrics, serve_admin, serve_http,
    until_signal,
};
use groma_uuid::{Prefix, PrefixError};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

use crate::{Experiment, Settings, SetupError};

/// The port of the manifest on which people find the policy of the server.
const POLICY_PORT: &str = "policy";
const POLICY_LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    connections_per_client: 8,
    request_time: Duration::from_secs(10),
    body_bytes: 0,
    connection_time: Duration::from_secs(30),
    keep_alive: false,
};
const MAX_TESTS: usize = 64;
/// The interval at which shutdown checks for running tests.
const LOOK: Duration = Duration::from_millis(20);
/// How long running tests may continue after SIGTERM. The host kills the process earlier if `run.stop_seconds` of the
/// manifest is shorter.
const GRACE: Duration = Duration::from_mins(10);

/// An experiment with the directories, ports and policy that its host assigns.
///
/// `groma up --experiment DIR` starts the program in the directory of the manifest with these variables:
///
/// | variable | value |
/// |---|---|
/// | `GROMA_MANIFEST` | the manifest; without it, `experiment.toml` in the current directory |
/// | `GROMA_DATADIR` | the directory for results, `<spool>/<experiment>` |
/// | `GROMA_UUID_PREFIX_FILE` | the prefix of this machine's UUIDs |
/// | `GROMA_EVENT_SOCKET` | the socket on which admitted tests are announced; optional |
/// | `GROMA_POLICY_VERSION`, `GROMA_POLICY_FILE` | the policy of this server, including the text of sidecars and operator; optional |
/// | `GROMA_REQUIRE_POLICY` | `1`: refuse tests of people who did not accept the policy; optional |
/// | `GROMA_MAX_TESTS` | the most tests at one time; by default 64 |
/// | `GROMA_DESCRIPTION_FILE` | the description to publish on the TCP port `policy`, if the manifest has it; optional |
/// | `GROMA_LISTEN` | the address to listen on; by default all |
/// | `GROMA_PORT_<NAME>` | the number of a port of the manifest; by default that of the manifest |
/// | `GROMA_ADMIN_ADDRESS` | the address and port of `/metrics`, `/health` and `/ready`; optional |
#[derive(Debug)]
pub struct Host {
    experiment: Experiment,
    lifecycle: Lifecycle,
    // Serves the admin port until the end.
    runtime: Runtime,
}

/// The reason why the host cannot run the experiment.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A variable is missing.
    #[error("{0} is not set; start the server with `groma up --experiment DIR`")]
    Missing(&'static str),
    /// A variable has a value that cannot be read.
    #[error("cannot read {variable}={value:?}")]
    Value {
        /// The name of the variable.
        variable: String,
        /// Its value.
        value: OsString,
    },
    /// The manifest declares no such port.
    #[error("the manifest declares no TCP port {0:?}")]
    Port(String),
    /// A file or an address cannot be used.
    #[error("cannot {action} {object}: {source}")]
    Io {
        /// The failed action.
        action: &'static str,
        /// The file or address.
        object: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The manifest has problems.
    #[error("manifest {path}: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Its problems.
        source: ManifestError,
    },
    /// The UUID prefix cannot be used.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// `GROMA_LOG` cannot be read.
    #[error(transparent)]
    Log(#[from] LogLevelError),
    /// The experiment cannot start.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl Host {
    /// Starts logs and signal handlers, opens the experiment, and serves its admin port.
    ///
    /// # Errors
    ///
    /// The first variable, file or address that cannot be used.
    pub fn from_environment() -> Result<Self, HostError> {
        init_logging(LogFormat::Text, tracing::Level::INFO)?;
        install_signal_handlers();
        let lifecycle = Lifecycle::new();
        let mut registry = Registry::default();
        let experiment =
            Experiment::new(manifest()?, settings()?, lifecycle.clone(), &mut registry)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(io_error("start", &"the runtime"))?;
        if let Some(address) = parsed("GROMA_ADMIN_ADDRESS")? {
            let build = Build {
                version: &experiment.manifest().version,
                commit: "",
            };
            register_process_metrics(&mut registry, &lifecycle, build);
            let _inside = runtime.enter();
            let listener = listen_tcp(address).and_then(into_tokio);
            let listener = listener.map_err(io_error("listen on", &address))?;
            runtime.spawn(serve_admin(listener, registry, lifecycle.clone()));
        }
        let host = Self {
            experiment,
            lifecycle,
            runtime,
        };
        host.publish_policy()?;
        Ok(host)
    }

    /// Serves the description of the experiment, with the policy, if the manifest has a port for it.
    fn publish_policy(&self) -> Result<(), HostError> {
        let listener = match self.listen(POLICY_PORT) {
            Err(HostError::Port(_)) => return Ok(()),
            listener => listener?,
        };
        let description = match env::var_os("GROMA_DESCRIPTION_FILE") {
            Some(file) => {
                let file = Path::new(&file);
                fs::read_to_string(file).map_err(io_error("read", &file.display()))?
            }
            None => self.experiment.description().to_owned(),
        };
        let _inside = self.runtime.enter();
        let listener = into_tokio(listener).map_err(io_error("listen on", &POLICY_PORT))?;
        let page = get(move || async move { ([(CONTENT_TYPE, "application/json")], description) });
        let app = Router::new().route(DESCRIPTION_PATH, page);
        let lifecycle = self.lifecycle.clone();
        self.runtime.spawn(async move {
            let stopped = async {
                lifecycle.reached(Phase::Stopped).await;
            };
            serve_http(listener, app, POLICY_LIMITS, stopped).await;
        });
        Ok(())
    }

    /// The experiment.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// Listens on a TCP port of the manifest, on the address and with the number that the host gives it.
    ///
    /// # Errors
    ///
    /// The manifest does not declare the port, or the port is in use.
    pub fn listen(&self, port: &str) -> Result<TcpListener, HostError> {
        let ports = &self.experiment.manifest().ports;
        let declared = ports
            .iter()
            .find(|declared| declared.name.as_deref() == Some(port));
        let declared = declared.ok_or_else(|| HostError::Port(port.to_owned()))?;
        let variable = format!("GROMA_PORT_{}", port.to_ascii_uppercase());
        let number = parsed(&variable)?.unwrap_or(declared.port);
        let ip: IpAddr = parsed("GROMA_LISTEN")?.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let address = SocketAddr::new(ip, number);
        listen_tcp(address).map_err(io_error("listen on", &address))
    }

    /// Reports that the server accepts tests, waits for SIGTERM or SIGINT, then for the running tests.
    ///
    /// The caller's listeners live in its own threads, which end with the process.
    pub fn until_stopped(self) {
        self.lifecycle.ready();
        let signal = self.runtime.block_on(until_signal());
        tracing::info!(signal, "waiting for running tests");
        self.lifecycle.lame_duck();
        let all_ended = self.experiment.drain(GRACE);
        if !all_ended {
            tracing::warn!(
                tests = self.experiment.active().count(),
                "tests are still running"
            );
        }
        self.lifecycle.stop();
    }
}

impl Experiment {
    /// Refuses new tests from now on, and waits until the running ones have ended, for at most `limit`. Returns whether
    /// all of them ended.
    pub fn drain(&self, limit: Duration) -> bool {
        self.refuse_all();
        let end = Instant::now() + limit;
        while self.active().count() > 0 {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

fn manifest() -> Result<Manifest, HostError> {
    let path =
        env::var_os("GROMA_MANIFEST").map_or_else(|| "experiment.toml".into(), PathBuf::from);
    let problem = |source| HostError::Manifest {
        path: path.clone(),
        source,
    };
    let manifest = Manifest::load(&path).map_err(problem)?;
    let version: Option<String> = parsed("GROMA_POLICY_VERSION")?;
    let Some(version) = version else {
        return Ok(manifest);
    };
    let file = needed("GROMA_POLICY_FILE")?;
    let file = Path::new(&file);
    let text = fs::read_to_string(file).map_err(io_error("read", &file.display()))?;
    manifest.with_policy(&version, text).map_err(problem)
}

fn settings() -> Result<Settings, HostError> {
    let prefix = needed("GROMA_UUID_PREFIX_FILE")?;
    Ok(Settings {
        data_dir: needed("GROMA_DATADIR")?.into(),
        prefix: Prefix::read(Path::new(&prefix))?,
        require_policy: env::var_os("GROMA_REQUIRE_POLICY").is_some_and(|value| value == "1"),
        max_tests: parsed("GROMA_MAX_TESTS")?.unwrap_or(MAX_TESTS),
        event_socket: env::var_os("GROMA_EVENT_SOCKET").map(PathBuf::from),
    })
}

fn needed(variable: &'static str) -> Result<OsString, HostError> {
    env::var_os(variable).ok_or(HostError::Missing(variable))
}

/// Returns the value of a variable; `None` if it is unset or empty.
fn parsed<T: std::str::FromStr>(variable: &str) -> Result<Option<T>, HostError> {
    let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(HostError::Value {
            variable: variable.to_owned(),
            value,
        }),
    }
}

/// Inside a runtime.
fn into_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn io_error<T: ToString>(
    action: &'static str,
    object: &T,
) -> impl FnOnce(io::Error) -> HostError + use<T> {
    let object = object.to_string();
    move |source| HostError::Io {
        action,
        object,
        source,
    }
}
