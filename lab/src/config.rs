//! The configuration of a lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use groma_compose::{Hosted, InProcess, PortChoice};
use groma_lake_store::LakeStore;
use groma_manifest::Operator;
use groma_publish::Form;
use groma_sidecar::Sidecar;

/// The settings of a lab. [`LabConfig::new`] is a lab on loopback with free ports.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// All files of the lab are below this directory.
    pub dir: PathBuf,
    /// The path or URL of the archive; without it, it is a directory of the lab.
    pub archive: Option<String>,
    /// The tables; without it, in a directory of the lab.
    pub lake: Option<LakeStore>,
    /// Whether the archive may be a bucket that overwrites objects although a request forbids it.
    pub weak_store: bool,
    /// The address of `/metrics`, `/alive` and `/ready`.
    pub admin: SocketAddr,
    /// The address on which hosted experiments listen.
    pub listen: IpAddr,
    /// Numbers of ports of hosted experiments, instead of those in their manifests.
    pub ports: Vec<PortChoice>,
    /// The operator, whose policy adds to those of the manifests.
    pub operator: Option<Operator>,
    /// A bundle is archived when its oldest file is this old.
    pub flush_age: Duration,
    /// A bundle is archived when it holds this many bytes.
    pub flush_bytes: u64,
    /// Bytes set aside on the disk of the spool, for all experiments together. While less than that is free beside them, no
    /// tests are admitted. 0 sets nothing aside.
    pub reserve_bytes: u64,
    /// Bundle form of every datatype; without it each has the form of its manifest.
    pub form: Option<Form>,
    /// Whether hosted experiments must refuse tests without the version of the accepted policy.
    pub require_policy: bool,
    /// The largest number of tests at one time of each hosted experiment.
    pub max_tests: usize,
    /// The commit that the program was built from, as metrics show it.
    pub commit: String,
}

impl LabConfig {
    /// A lab below `dir`, reachable from this machine only, on free ports,
    /// which archives after two seconds.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            dir: dir.into(),
            archive: None,
            lake: None,
            weak_store: false,
            admin: SocketAddr::new(loopback, 0),
            listen: loopback,
            ports: Vec::new(),
            operator: None,
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

/// The experiments of a lab, and the sidecars that record them.
#[derive(Default)]
pub struct Parts {
    /// Experiments that are a part of this process.
    pub in_process: Vec<Box<dyn InProcess>>,
    /// Experiments with a program of their own.
    pub hosted: Vec<Hosted>,
    /// The sidecars.
    pub sidecars: Vec<Box<dyn Sidecar>>,
}
