//! The ndt7 server: cleartext and TLS listeners, one task per connection, one result file per test.

mod accept;
mod http;
mod metrics;
mod outcome;
mod pilot;
mod record;
mod sampler;
mod test;
mod tls;

pub use tls::{TlsError, tls_from_pem};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use groma_experiment::{ClientLimit, Experiment, UndeclaredOutcome};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::protocol::RUNTIME;
use crate::protocol::load::Prepared;
use crate::result::Build;
use metrics::Metrics;

/// As long as the most patient of M-Lab's clients.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How often [`Server::until_idle`] counts the open connections.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The configuration of a server.
#[derive(Debug)]
pub struct Config {
    /// Listening sockets without TLS; any address family.
    pub cleartext: Vec<std::net::TcpListener>,
    /// Listening sockets with TLS, and its configuration (see [`tls_from_pem`]).
    pub tls: Option<(Vec<std::net::TcpListener>, Arc<rustls::ServerConfig>)>,
    /// How long the load lasts; anything but [`RUNTIME`] is for tests of the server itself.
    pub runtime: Duration,
    /// How long a client may take for the TLS handshake, and again for the head of its request.
    pub handshake_wait: Duration,
    /// Most TCP connections open at one time, tests or not; more are closed at once.
    pub max_connections: usize,
    /// Most tests of one client at one time, where a client is an IPv4 address or an IPv6 /64; more are answered with 429.
    /// A client may have twice as many connections and ten; more are closed at once.
    pub max_tests_per_client: usize,
    /// The program that results name as their origin.
    pub build: Build,
}

impl Default for Config {
    /// No sockets, the nominal runtime, 10 s for a handshake, 1000 connections of which one client may have all, and this crate's version.
    fn default() -> Self {
        Self {
            cleartext: Vec::new(),
            tls: None,
            runtime: RUNTIME,
            handshake_wait: HANDSHAKE_WAIT,
            max_connections: 1000,
            max_tests_per_client: usize::MAX,
            build: Build {
                version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
                git_short_commit: String::new(),
            },
        }
    }
}

impl Config {
    /// Returns how many file descriptors the server may have open at one time with `max_tests`: one per connection, and for each test
    /// a second one of its socket and its result file.
    pub fn descriptors(&self, max_tests: usize) -> usize {
        self.max_connections
            .saturating_add(max_tests.saturating_mul(2))
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be used.
    #[error("use listening socket: {0}")]
    Socket(#[from] io::Error),
    /// The manifest does not declare a result that a test may have.
    #[error(transparent)]
    Outcome(#[from] UndeclaredOutcome),
}

/// A socket that a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddr {
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Address and port.
    pub address: SocketAddr,
}

/// A running server. Dropped, it stops at once, and running tests are lost; see [`Server::drain`].
#[derive(Debug)]
pub struct Server {
    local_addrs: Vec<LocalAddr>,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
    accepting: Vec<AbortHandle>,
    connections: Arc<Semaphore>,
    max_connections: usize,
}

/// The state that all connections share.
pub(crate) struct Shared {
    experiment: Experiment,
    metrics: Metrics,
    prepared: Arc<Prepared>,
    connections: Arc<Semaphore>,
    client_connections: Arc<ClientLimit>,
    client_tests: Arc<ClientLimit>,
    runtime: Duration,
    handshake_wait: Duration,
    build: Build,
}

/// A client that runs one test after the other opens the next connection before it closes the last, and may load a page.
fn connections_of(tests: usize) -> usize {
    tests.saturating_mul(2).saturating_add(10)
}

impl Server {
    /// Starts serving on the sockets of `config`, inside the Tokio runtime of the caller, and registers the metrics.
    pub fn start(
        config: Config,
        experiment: Experiment,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        for result in metrics::RESULTS {
            experiment.outcome(result)?;
        }
        let max_connections = config.max_connections;
        let shared = Arc::new(Shared {
            experiment,
            metrics: Metrics::register(registry),
            prepared: Arc::new(Prepared::new()),
            connections: Arc::new(Semaphore::new(max_connections)),
            client_connections: ClientLimit::new(connections_of(config.max_tests_per_client)),
            client_tests: ClientLimit::new(config.max_tests_per_client),
            runtime: config.runtime,
            handshake_wait: config.handshake_wait,
            build: config.build,
        });
        let (secure_sockets, tls) = config
            .tls
            .map(|(sockets, tls)| (sockets, TlsAcceptor::from(tls)))
            .unzip();
        let cleartext = config.cleartext.into_iter().map(|socket| (socket, None));
        let secure = secure_sockets
            .into_iter()
            .flatten()
            .map(|socket| (socket, tls.clone()));

        let (stop, stopped) = watch::channel(false);
        let (mut local_addrs, mut loops) = (Vec::new(), JoinSet::new());
        let mut accepting = Vec::new();
        for (socket, tls) in cleartext.chain(secure) {
            socket.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(socket)?;
            local_addrs.push(LocalAddr {
                secure: tls.is_some(),
                address: listener.local_addr()?,
            });
            let accept = accept::accept_loop(Arc::clone(&shared), listener, tls, stopped.clone());
            accepting.push(loops.spawn(accept));
        }
        Ok(Self {
            local_addrs,
            stop,
            loops,
            accepting,
            connections: Arc::clone(&shared.connections),
            max_connections,
        })
    }

    /// The sockets it listens on, cleartext first, each kind in the order of the configuration.
    pub fn local_addrs(&self) -> &[LocalAddr] {
        &self.local_addrs
    }

    /// Returns whether every socket is still served; an accept loop ends by itself only when it panics.
    pub fn is_running(&self) -> bool {
        !self.accepting.iter().any(AbortHandle::is_finished)
    }

    /// Returns as soon as no connection is open.
    pub async fn until_idle(&self) {
        while self.connections.available_permits() < self.max_connections {
            tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
        }
    }

    /// Closes the listening sockets, lets running tests end for at most `grace`, and returns true when they all did.
    /// A test takes 13 s at most, so a grace of 30 s loses none.
    pub async fn drain(mut self, grace: Duration) -> bool {
        self.stop.send_replace(true);
        let ended = async { while self.loops.join_next().await.is_some() {} };
        timeout(grace, ended).await.is_ok()
    }
}
