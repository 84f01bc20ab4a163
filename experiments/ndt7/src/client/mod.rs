//! The ndt7 reference client: one test over one connection, against any ndt7 server.
//!
//! ```no_run
//! use groma_ndt7::client::{Client, ClientConfig, Event};
//!
//! # async fn run() -> Result<(), groma_ndt7::client::ClientError> {
//! let client = Client::new(ClientConfig {
//!     servers: vec!["localhost:4443".to_owned()],
//!     ..ClientConfig::default()
//! })?;
//! let summary = client
//!     .download(|event| {
//!         if let Event::Progress(app_info) = event {
//!             println!("{} bytes", app_info.num_bytes);
//!         }
//!     })
//!     .await?;
//! println!("{:.1} Mbit/s", summary.mean_mbps);
//! # Ok(())
//! # }
//! ```

mod connect;
mod describe;
mod dial;
mod error;
mod measure;
mod pilot;
mod summary;
mod target;
mod trust;

pub use error::ClientError;
pub use summary::Summary;
pub use trust::Trust;

use std::net::SocketAddr;

use groma_manifest::Description;
use tokio_rustls::TlsConnector;

use crate::protocol::load::client_payload;
use crate::protocol::{AppInfo, Direction, Measurement, query};
use target::Target;

/// The query parameter that carries a person's consent; an extension of ndt7 that other servers ignore.
const POLICY_VERSION: &str = "policy_version";

/// The configuration of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Servers, tried in this order until one accepts the test: `host`, `host:port`, or a `ws://` or `wss://` URL as M-Lab's
    /// Locate service gives it, whose query is kept. IPv6 addresses are in brackets.
    pub servers: Vec<String>,
    /// Whether servers without a scheme are spoken to through TLS.
    pub tls: bool,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Metadata that the server may store about this client: names such as `client_name` and values.
    pub metadata: Vec<(String, String)>,
    /// The congestion control of our own sending, by the kernel's name; the system's without it. One that cannot be
    /// selected fails the test.
    pub congestion_control: Option<String>,
    /// The version of the data policy that the person accepted.
    pub policy_version: Option<String>,
}

impl Default for ClientConfig {
    /// No server, TLS, the system's certificates, and this library's name and version as metadata.
    fn default() -> Self {
        let metadata = [
            ("client_library_name", env!("CARGO_PKG_NAME")),
            ("client_library_version", env!("CARGO_PKG_VERSION")),
        ];
        Self {
            servers: Vec::new(),
            tls: true,
            trust: Trust::System,
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            congestion_control: None,
            policy_version: None,
        }
    }
}

/// An event during a test.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A server accepted the test.
    Started {
        /// Its address.
        server: SocketAddr,
        /// Our end of the connection.
        client: SocketAddr,
    },
    /// Our own count of load: bytes received in a download, written in an upload; four times a second on average.
    Progress(AppInfo),
    /// The server sent a measurement.
    Measurement(Box<Measurement>),
}

/// A client of one or several servers.
#[derive(Clone)]
pub struct Client {
    targets: Vec<Target>,
    tls: Option<TlsConnector>,
    congestion_control: Option<String>,
    query: String,
}

impl Client {
    /// Checks the configuration; nothing is connected yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig {
            servers,
            tls,
            trust,
            metadata,
            congestion_control,
            policy_version,
        } = config;
        if servers.is_empty() {
            return Err(ClientError::NoServer);
        }
        let targets = servers
            .iter()
            .map(|server| Target::parse(server, tls))
            .collect::<Result<Vec<_>, _>>()?;
        let tls = targets
            .iter()
            .any(|target| target.secure)
            .then(|| trust.connector())
            .transpose()?;
        client_payload();
        let policy = policy_version.as_deref();
        let pairs = metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain(policy.map(|version| (POLICY_VERSION, version)));
        Ok(Self {
            query: query::format(pairs),
            targets,
            tls,
            congestion_control,
        })
    }

    /// Measures how fast the server sends to us.
    pub async fn download(
        &self,
        on_event: impl FnMut(Event) + Send,
    ) -> Result<Summary, ClientError> {
        self.run(Direction::Download, on_event).await
    }

    /// Measures how fast we send to the server.
    pub async fn upload(&self, on_event: impl FnMut(Event) + Send) -> Result<Summary, ClientError> {
        self.run(Direction::Upload, on_event).await
    }

    /// Asks the first server for its description, with the policy that a person sees before a test. `None` from a server that
    /// answers and publishes none.
    pub async fn describe(&self) -> Result<Option<Description>, ClientError> {
        let target = self.targets.first().ok_or(ClientError::NoServer)?;
        describe::describe(target, self.tls.as_ref()).await
    }

    async fn run(
        &self,
        direction: Direction,
        on_event: impl FnMut(Event) + Send,
    ) -> Result<Summary, ClientError> {
        let mut refusal = ClientError::NoServer;
        for target in &self.targets {
            let control = self.congestion_control.as_deref();
            let opening =
                connect::connect(target, self.tls.as_ref(), control, direction, &self.query);
            match opening.await {
                Ok(connection) => return measure::run(connection, direction, on_event).await,
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}
