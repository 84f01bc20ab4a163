//! One experiment in one process, and the admission of its tests.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use groma_events::Announcer;
use groma_manifest::Manifest;
use groma_service::{Active, Lifecycle, Phase};
use groma_spool::{ExperimentDir, SpoolError};
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::datatypes::write_schemas;
use crate::disk::Disk;
use crate::metadata::{Consent, Dropped, allows_token, client_metadata};
use crate::metrics::{Load, Metrics};
use crate::{Outcome, Test, UndeclaredOutcome};

/// The settings of one installation of an experiment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `<spool>/<experiment>`: where results go. The schema files go to `<spool>/datatypes`.
    pub data_dir: PathBuf,
    /// The prefix of this machine's connection UUIDs.
    pub prefix: Prefix,
    /// Whether the experiment refuses clients that do not send the manifest's `policy_version` as accepted.
    pub require_policy: bool,
    /// The most tests at one time; at least 1.
    pub max_tests: usize,
    /// The event socket of the connection recorder (`groma tcp-info`), where the experiment announces the connections
    /// of admitted tests; `None` if nothing records connections. The recorder publishes only announced connections
    /// in full. The socket does not need to exist yet.
    pub event_socket: Option<PathBuf>,
}

/// Why an experiment cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The spool directory cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A schema file or its directory cannot be written.
    #[error("write datatype schema {path}: {source}")]
    Schema {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The data directory has no directory above it.
    #[error("data directory {0}: it must be <spool>/<experiment>")]
    NoSpool(PathBuf),
    /// The manifest would publish access tokens.
    #[error("manifest of {0}: client metadata must not allow access_token")]
    TokenAllowed(String),
    /// The thread that announces admitted tests could not be started.
    #[error("start the announcer of admitted tests: {0}")]
    Announcer(#[source] io::Error),
    /// `max_tests` is 0.
    #[error("max_tests is 0: no test could ever run")]
    NoTests,
}

/// Why a test is not admitted. Display is a sentence for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The experiment [drains](Experiment::drain), or the process is in its last phase, [`Phase::Stopped`]. A lame duck
    /// does not refuse.
    #[error("the server has stopped")]
    Draining,
    /// The operator requires consent, and the client did not send the `policy_version`
    /// of the manifest.
    #[error("the policy_version of the manifest was not sent as accepted")]
    PolicyNotAccepted,
    /// `max_tests` tests are running.
    #[error("as many tests as are allowed are going on")]
    Busy,
    /// A result did not fit on the disk, and no write has succeeded since; or the publisher reports that the disk is
    /// nearly full.
    #[error("the disk is full")]
    DiskFull,
    /// A result could not be written for another reason, and no write has succeeded since.
    #[error("results cannot be written into the spool")]
    SpoolFailed,
}

impl Refusal {
    pub(crate) const ALL: [Self; 5] = [
        Self::Draining,
        Self::PolicyNotAccepted,
        Self::Busy,
        Self::DiskFull,
        Self::SpoolFailed,
    ];

    /// The HTTP status to refuse with: 403 for the policy, else 503, on which M-Lab's
    /// clients try the next server.
    pub fn http_status(self) -> u16 {
        match self {
            Self::PolicyNotAccepted => 403,
            Self::Draining | Self::Busy | Self::DiskFull | Self::SpoolFailed => 503,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::PolicyNotAccepted => "policy",
            Self::Busy => "busy",
            Self::DiskFull => "disk_full",
            Self::SpoolFailed => "spool_failed",
        }
    }
}

/// One experiment in one process; clones are the same experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    shared: Arc<Shared>,
}

/// State that an experiment and its tests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) manifest: Manifest,
    description: String,
    pub(crate) dir: ExperimentDir,
    pub(crate) prefix: Prefix,
    pub(crate) metrics: Metrics,
    pub(crate) disk: Arc<Disk>,
    pub(crate) announcer: Option<Arc<Announcer>>,
    clock: Clock,
    active: Active,
    lifecycle: Lifecycle,
    require_policy: bool,
    max_tests: usize,
    refuses_all: AtomicBool,
}

impl Experiment {
    /// Opens the data directory, removes incomplete files that a crash left, writes the
    /// schema files that changed, and registers the metrics `groma_experiment_*`.
    ///
    /// Blocking. One experiment per registry: a second one would repeat the metrics' names.
    pub fn new(
        manifest: Manifest,
        settings: Settings,
        lifecycle: Lifecycle,
        registry: &mut Registry,
    ) -> Result<Self, SetupError> {
        if settings.max_tests == 0 {
            return Err(SetupError::NoTests);
        }
        if allows_token(&manifest) {
            return Err(SetupError::TokenAllowed(manifest.name.to_string()));
        }
        let dir = ExperimentDir::open(settings.data_dir, manifest.name.clone())?;
        let clock = Clock::open(&dir);
        let abandoned = dir.clear_abandoned()?;
        if abandoned > 0 {
            tracing::warn!(abandoned, "removed results that a crash left half-written");
        }
        write_schemas(dir.path(), &manifest.datatypes)?;
        let active = Active::new();
        let datatypes = manifest.datatypes.iter();
        let datatypes = datatypes.map(|datatype| datatype.name.clone()).collect();
        let disk = Disk::open(&dir, datatypes, lifecycle.clone())?;
        let announcer = settings.event_socket.map(Announcer::start).transpose();
        let announcer = announcer.map_err(SetupError::Announcer)?.map(Arc::new);
        let load = Load {
            active: active.clone(),
            max_tests: settings.max_tests,
            disk: Arc::clone(&disk),
            announcer: announcer.as_ref().map(Arc::downgrade),
        };
        let metrics = Metrics::register(registry, &manifest, load);
        let shared = Shared {
            description: manifest.description().to_json(),
            manifest,
            dir,
            prefix: settings.prefix,
            metrics,
            disk,
            announcer,
            clock,
            active,
            lifecycle,
            require_policy: settings.require_policy,
            max_tests: settings.max_tests,
            refuses_all: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Admits a test, or returns the reason for which it is refused. `query` holds the decoded parameters of the
    /// client, in their order. Creates a file, which takes a few system calls.
    ///
    /// A lame duck still admits tests, as M-Lab's servers do, because clients may already have been directed to this
    /// server; [`drain`](Experiment::drain) refuses them with [`Refusal::Draining`], and so does a stopped process.
    /// Every refusal is counted.
    pub fn admit(&self, query: &[(String, String)]) -> Result<Test, Refusal> {
        self.check(query).inspect_err(|refusal| {
            self.shared.metrics.refused(refusal.reason());
        })
    }

    fn check(&self, query: &[(String, String)]) -> Result<Test, Refusal> {
        let shared = &self.shared;
        if shared.refuses_all.load(Ordering::Relaxed) || shared.lifecycle.phase() == Phase::Stopped
        {
            return Err(Refusal::Draining);
        }
        if let Some(refusal) = shared.disk.refusal() {
            return Err(refusal);
        }
        let consent = Consent::of(query, &shared.manifest);
        if shared.require_policy && consent != Consent::Given {
            return Err(Refusal::PolicyNotAccepted);
        }
        // Last, so that a refused test never takes a permit, not even briefly.
        let place = shared.active.try_enter(shared.max_tests);
        let place = place.ok_or(Refusal::Busy)?;
        let rooms = shared.disk.reserve()?;
        let client = client_metadata(query, &shared.manifest, |reason| {
            shared.metrics.metadata_dropped(reason);
        });
        if consent == Consent::Other {
            shared.metrics.metadata_dropped(Dropped::Policy);
        }
        let mut server = vec![consent.entry(&shared.manifest)];
        server.extend(shared.clock.mark());
        Ok(Test::new(Arc::clone(shared), place, rooms, client, server))
    }

    pub(crate) fn refuse_all(&self) {
        self.shared.refuses_all.store(true, Ordering::Relaxed);
    }

    /// Returns the outcome that the manifest declares under this name.
    ///
    /// # Errors
    ///
    /// The manifest declares no such result.
    pub fn outcome(&self, name: &str) -> Result<Outcome, UndeclaredOutcome> {
        Outcome::declared(&self.shared.manifest, name)
    }

    /// Returns the count of running tests.
    pub fn active(&self) -> &Active {
        &self.shared.active
    }

    /// Returns the JSON that a server publishes at [`DESCRIPTION_PATH`](groma_manifest::DESCRIPTION_PATH), so that people
    /// see the policy of this server before a test.
    pub fn description(&self) -> &str {
        &self.shared.description
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }
}
