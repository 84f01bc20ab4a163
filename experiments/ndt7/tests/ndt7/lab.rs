//! One server with its spool, for one test.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_ndt7::server::{Config, Server, tls_from_pem};
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The server that a test wants.
pub(crate) struct Wishes {
    pub(crate) runtime: Duration,
    pub(crate) handshake_wait: Duration,
    pub(crate) require_policy: bool,
    pub(crate) max_tests: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_tests_per_client: usize,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            runtime: Duration::from_millis(700),
            handshake_wait: Duration::from_secs(10),
            require_policy: false,
            max_tests: 100,
            max_connections: 100,
            max_tests_per_client: 100,
        }
    }
}

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    registry: Registry,
}

impl Lab {
    pub(crate) fn start(wishes: &Wishes) -> Self {
        let sockets = vec![listener("127.0.0.1:0"), listener("[::1]:0")];
        Self::listening(wishes, sockets, true)
    }

    /// A server of these cleartext sockets, and of one with TLS or none.
    pub(crate) fn listening(wishes: &Wishes, cleartext: Vec<TcpListener>, secure: bool) -> Self {
        let dir = TempDir::new().unwrap();
        let mut registry = Registry::default();
        let lifecycle = Lifecycle::new();
        lifecycle.ready();
        let settings = Settings {
            data_dir: dir.path().join("spool/ndt"),
            prefix: Prefix::fallback(),
            require_policy: wishes.require_policy,
            max_tests: wishes.max_tests,
            event_socket: None,
        };
        let manifest = groma_ndt7::manifest().unwrap();
        let experiment = Experiment::new(manifest, settings, lifecycle, &mut registry).unwrap();
        let (certificate, key) = certificate(dir.path());
        let config = Config {
            cleartext,
            tls: secure.then(|| {
                (
                    vec![listener("127.0.0.1:0")],
                    tls_from_pem(&certificate, &key).unwrap(),
                )
            }),
            runtime: wishes.runtime,
            handshake_wait: wishes.handshake_wait,
            max_connections: wishes.max_connections,
            max_tests_per_client: wishes.max_tests_per_client,
            ..Config::default()
        };
        let server = Server::start(config, experiment, &mut registry).unwrap();
        Self {
            dir,
            server,
            registry,
        }
    }

    /// The cleartext socket over IPv4.
    pub(crate) fn ws(&self) -> SocketAddr {
        self.server.local_addrs()[0].address
    }

    /// The cleartext socket over IPv6.
    pub(crate) fn ws6(&self) -> SocketAddr {
        self.server.local_addrs()[1].address
    }

    /// The TLS socket.
    pub(crate) fn wss(&self) -> SocketAddr {
        self.server.local_addrs()[2].address
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Waits until the spool holds this many results, checks each against the schema, and returns them by name.
    pub(crate) async fn results(&self, count: usize) -> Vec<(String, Value)> {
        let root = self.dir.path().join("spool/ndt/ndt7");
        eventually("results in the spool", || files(&root).len() >= count).await;
        let manifest = groma_ndt7::manifest().unwrap();
        let schema = &manifest.datatype(groma_ndt7::DATATYPE).unwrap().schema;
        let mut results: Vec<(String, Value)> = files(&root)
            .into_iter()
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(!text.ends_with('\n'));
                let result: Value = serde_json::from_str(&text).unwrap();
                schema.validate(&result).unwrap();
                (
                    path.file_name().unwrap().to_str().unwrap().to_owned(),
                    result,
                )
            })
            .collect();
        results.sort_by(|left, right| left.0.cmp(&right.0));
        assert_eq!(results.len(), count, "one file per test");
        assert_eq!(
            files(&self.dir.path().join("spool/ndt/.tmp")),
            [] as [PathBuf; 0]
        );
        results
    }

    /// The only result, as its half for the direction.
    pub(crate) async fn result(&self, direction: &str) -> Value {
        self.results(1).await[0].1[direction].clone()
    }

    /// Drains the server; which results are there then, and whether all tests had ended.
    pub(crate) async fn drain(self, grace: Duration) -> (Vec<PathBuf>, bool) {
        let drained = self.server.drain(grace).await;
        (files(&self.dir.path().join("spool/ndt/ndt7")), drained)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the metrics have a line.
    pub(crate) async fn metric(&self, line: &str) {
        eventually(line, || self.metrics().lines().any(|found| found == line)).await;
    }
}

pub(crate) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come"));
}

fn listener(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
