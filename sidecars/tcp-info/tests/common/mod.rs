//! Tools of the live tests: a collector in a folder of its own, its events, its files, and networks to record.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use groma_events::{
    Admission as Announcement, Announced, Announcer, Backoff, Client, Event, Notice,
};
use groma_spool::ExperimentDir;
use groma_tcp_info::decode::Recording;
use groma_tcp_info::{Admission, Collector, Config, Namespace, Scope};
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

/// A folder with spool, state and event socket.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) prefix: Prefix,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(dir: tempfile::TempDir) -> Self {
        let prefix = Prefix::ensure(&dir.path().join("prefix"), "test").unwrap();
        Self { dir, prefix }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("events.sock")
    }

    pub(crate) fn config(&self, namespaces: Vec<Namespace>) -> Config {
        let spool = ExperimentDir::open(self.dir.path().join("spool/ndt"), "ndt".parse().unwrap());
        let state = self.dir.path().join("state");
        let mut config = Config::new(spool.unwrap(), state, self.prefix.clone(), namespaces);
        config.event_socket = Some(self.socket());
        config
    }

    /// A recorder to which connections are announced. Nothing waits longer than it must.
    pub(crate) fn announced(&self, namespaces: Vec<Namespace>) -> Config {
        let mut config = self.config(namespaces);
        config.admission = Admission::Announced;
        config.unadmitted.grace = Duration::from_millis(500);
        config.unadmitted.batch_age = Duration::ZERO;
        config
    }

    pub(crate) fn announcer(&self) -> Announcer {
        let announcer = Announcer::start(self.socket()).unwrap();
        wait_until("the announcer is connected", || announcer.is_connected());
        announcer
    }

    /// Announces a connection of a test.
    pub(crate) fn announce(&self, announcer: &Announcer, cookie: u64) -> Announced {
        announcer.announce(Announcement {
            timestamp: jiff::Timestamp::now(),
            uuid: self.prefix.uuid(cookie),
            test_id: self.prefix.uuid(cookie),
            policy_version: "2".to_owned(),
        })
    }

    /// All rows about unadmitted connections in the spool.
    pub(crate) fn rows(&self) -> Vec<serde_json::Value> {
        let files = walk(&self.dir.path().join("spool/ndt/unadmitted"));
        let mut rows = Vec::new();
        for file in files {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                rows.push(serde_json::from_str(line).unwrap());
            }
        }
        rows
    }

    /// All lines of the operators' store.
    pub(crate) fn addresses(&self) -> Vec<serde_json::Value> {
        let files = walk(&self.dir.path().join("state/unadmitted/addresses"));
        let files = files.iter().filter(|path| path.extension().is_some());
        files
            .flat_map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
                lines.collect::<Vec<_>>()
            })
            .collect()
    }

    /// All files in the spool by UUID and sequence; fails on any that is not readable.
    pub(crate) fn files(&self) -> BTreeMap<(String, u32), Recording> {
        let mut found = BTreeMap::new();
        let root = self.dir.path().join("spool/ndt/tcpinfo");
        for path in walk(&root) {
            let recording = Recording::read(&path).unwrap();
            let metadata = recording.metadata.clone().unwrap();
            let name = format!("{}.{:05}.jsonl.zst", metadata.uuid, metadata.sequence);
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), name);
            let times: Vec<_> = recording
                .records
                .iter()
                .map(|record| record.timestamp)
                .collect();
            assert!(times.is_sorted(), "{name}");
            assert!(recording.end.is_some(), "{name}");
            let old = found.insert((metadata.uuid, metadata.sequence), recording);
            assert!(old.is_none(), "{name} is there twice");
        }
        found
    }

    /// Files that are not in the spool yet, or will never be.
    pub(crate) fn waiting(&self) -> usize {
        walk(&self.dir.path().join("spool/ndt/.tcpinfo")).len()
    }

    pub(crate) fn uuid(&self, cookie: u64) -> String {
        self.prefix.uuid(cookie).to_string()
    }
}

pub(crate) fn start(config: Config) -> Collector {
    Collector::start(config, &mut Registry::default()).unwrap()
}

pub(crate) fn walk(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// This namespace, these local ports.
pub(crate) fn ports(ports: &[u16]) -> Vec<Namespace> {
    vec![Namespace {
        path: None,
        scope: Scope::Ports(ports.to_vec()),
    }]
}

/// A namespace of its own, all of it.
pub(crate) fn whole(path: &Path) -> Namespace {
    Namespace {
        path: Some(path.to_owned()),
        scope: Scope::Whole {
            excluded_local_ports: Vec::new(),
            excluded_remotes: Vec::new(),
        },
    }
}

/// Waits until something holds; a test that waits in vain fails.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A listener that notes every event.
pub(crate) struct Ear {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Event>>,
}

impl Ear {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self::listen(socket, false)
    }

    /// One that stays when the server goes, until it is asked.
    pub(crate) fn patient(socket: PathBuf) -> Self {
        Self::listen(socket, true)
    }

    fn listen(socket: PathBuf, patient: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let backoff = Backoff {
            shortest: Duration::from_millis(1),
            longest: Duration::from_millis(5),
        };
        let mut client = Client::new(socket, backoff, stop.clone());
        assert_eq!(client.next_notice(), Some(Notice::Connected));
        // A listener hears from when the server knows it, a moment after it is connected.
        std::thread::sleep(Duration::from_millis(100));
        let thread = std::thread::spawn(move || {
            let mut events = Vec::new();
            while let Some(notice) = client.next_notice() {
                match notice {
                    Notice::Event(event) => events.push(event),
                    Notice::Connected => {}
                    Notice::Lost if patient => {}
                    Notice::Lost => break,
                }
            }
            events
        });
        Self { stop, thread }
    }

    /// Everything until now.
    pub(crate) fn so_far(self) -> Vec<Event> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }

    /// Everything until the server closed.
    pub(crate) fn all(self) -> Vec<Event> {
        let events = self.thread.join().unwrap();
        self.stop.store(true, Ordering::Relaxed);
        events
    }
}

/// Two network namespaces, joined by a cable: `10.77.0.1` and `.2`, `fd77::1` and `::2`.
pub(crate) struct Cable {
    names: [String; 2],
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

impl Cable {
    /// `None`, after saying why, where namespaces cannot be made.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !groma_tests::root() {
            return None;
        }
        if Command::new("ip").arg("-V").output().is_err() {
            groma_tests::skip("this test needs ip (iproute2)");
            return None;
        }
        let names = ["a", "b"].map(|end| format!("groma-{name}-{}-{end}", std::process::id()));
        let cable = Self { names };
        let [a, b] = &cable.names;
        for name in [a, b] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!(
            "-n {a} link add eth0 type veth peer name eth0 netns {b}"
        ));
        for (name, number) in [(a, 1), (b, 2)] {
            ip(&format!(
                "-n {name} address add 10.77.0.{number}/24 dev eth0"
            ));
            ip(&format!(
                "-n {name} address add fd77::{number}/64 dev eth0 nodad"
            ));
            ip(&format!("-n {name} link set eth0 up"));
        }
        Some(cable)
    }

    pub(crate) fn path(&self, end: usize) -> PathBuf {
        Path::new("/run/netns").join(&self.names[end])
    }

    /// Runs something in one of the namespaces, on a thread of its own.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        end: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = self.path(end);
        std::thread::spawn(move || {
            groma_diag::enter_namespace(&path).unwrap();
            work()
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
