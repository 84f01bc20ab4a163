//! The configuration of a lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use groma_lake_store::LakeStore;
use groma_publish::Form;

/// How a lab is set up. [`LabConfig::new`] is a lab on loopback with free ports.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// All files of the lab are below this directory.
    pub dir: PathBuf,
    /// The path or URL of the archive; without it, it is a directory of the lab.
    pub archive: Option<String>,
    /// Where the tables are; without it, in a directory of the lab.
    pub lake: Option<LakeStore>,
    /// Whether the archive may be a bucket that overwrites objects although a request forbids it.
    pub weak_store: bool,
    /// Where the cleartext measurement server listens; port 0 takes a free one.
    pub ws: SocketAddr,
    /// Where the TLS measurement server listens.
    pub wss: SocketAddr,
    /// Where `/metrics`, `/alive` and `/ready` are served.
    pub admin: SocketAddr,
    /// Certificate and key in PEM files; without them the lab makes its own.
    pub certificate: Option<crate::Certificate>,
    /// A bundle is archived when its oldest file is this old.
    pub flush_age: Duration,
    /// A bundle is archived when it holds this many bytes.
    pub flush_bytes: u64,
    /// Bytes set aside on the disk of the spool. While less than that is free beside them, no tests are admitted. 0 is none.
    pub reserve_bytes: u64,
    /// Bundle form of every datatype; without it each has the form of its manifest.
    pub form: Option<Form>,
    /// Whether a test needs the version of the policy that the person accepted.
    pub require_policy: bool,
    /// The most tests at one time.
    pub max_tests: usize,
    /// The commit that the program was built from, as results and metrics show it.
    pub commit: String,
}

impl LabConfig {
    /// A lab below `dir`, reachable from this machine only, on free ports,
    /// which archives after two seconds.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            dir: dir.into(),
            archive: None,
            lake: None,
            weak_store: false,
            ws: loopback,
            wss: loopback,
            admin: loopback,
            certificate: None,
            flush_age: Duration::from_secs(2),
            flush_bytes: 50_000_000,
            reserve_bytes: 0,
            form: None,
            require_policy: false,
            max_tests: 100,
            commit: "unknown".to_owned(),
        }
    }
}
