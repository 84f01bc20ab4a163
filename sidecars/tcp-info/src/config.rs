//! The settings of a collector.

use std::path::PathBuf;
use std::time::Duration;

use groma_spool::ExperimentDir;

use crate::{Admission, Anonymize, Scope, Unadmitted};

/// A network namespace to record, and what of it.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// For instance `/run/netns/NAME`; `None` is that of this process. Another one needs `CAP_SYS_ADMIN`.
    ///
    /// UUIDs are made of cookies, which are unique among all namespaces only on kernels since 5.8.
    pub path: Option<PathBuf>,
    /// Which sockets are recorded.
    pub scope: Scope,
}

/// The settings of a collector.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where files go, under the datatypes `tcpinfo` and `unadmitted`; growing ones wait in its hidden folder `.tcpinfo`.
    pub spool: ExperimentDir,
    /// Where the journal is kept, outside the spool; one directory per collector. Its folder `unadmitted/addresses` has
    /// the addresses of unadmitted connections.
    pub state_dir: PathBuf,
    /// The prefix of UUIDs.
    pub prefix: groma_uuid::Prefix,
    /// At least one.
    pub namespaces: Vec<Namespace>,
    /// Where to serve events; `None` for nowhere.
    pub event_socket: Option<PathBuf>,
    /// Whether new listeners first hear of all flows that live. M-Lab's server does not do that.
    pub replay: bool,
    /// Which connections are published in full.
    pub admission: Admission,
    /// The treatment of the others.
    pub unadmitted: Unadmitted,
    /// How much of remote addresses is written to files, those of unadmitted connections included.
    pub anonymize: Anonymize,
    /// Time between polls, when the machine can hold it.
    pub interval: Duration,
    /// A connection that lives longer has several files.
    pub rotation: Duration,
    /// Connections per namespace; more are counted and not recorded. Each takes up to 50 KB.
    pub most_flows: usize,
    /// Room for last words between two polls, somewhat over 1 KB each. The kernel cuts it to `net.core.rmem_max` for
    /// the unprivileged. When it is too small the kernel drops some, which is noticed, counted and made good by polls.
    pub last_words_bytes: usize,
}

impl Config {
    /// The usual settings: 10 ms, files of 10 minutes, 20,000 connections, no events, every connection in full.
    pub fn new(
        spool: ExperimentDir,
        state_dir: impl Into<PathBuf>,
        prefix: groma_uuid::Prefix,
        namespaces: Vec<Namespace>,
    ) -> Self {
        Self {
            spool,
            state_dir: state_dir.into(),
            prefix,
            namespaces,
            event_socket: None,
            replay: false,
            admission: Admission::Everything,
            unadmitted: Unadmitted::default(),
            anonymize: Anonymize::None,
            interval: Duration::from_millis(10),
            rotation: Duration::from_mins(10),
            most_flows: 20_000,
            last_words_bytes: 16 << 20,
        }
    }
}
