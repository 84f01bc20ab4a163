//! The metrics of a publisher. `spooled = published + pending + blocked + quarantined + dropped` holds at every scrape, except
//! for files that change their state at that moment.

pub(crate) mod ages;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::events::Breach;
use crate::metrics::ages::Ages;
use crate::pick_up::blocked::Reason;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Datatype {
    datatype: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct FileState {
    datatype: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct BlockedFor {
    datatype: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Operation {
    datatype: String,
    operation: &'static str,
}

/// The label that M-Lab's pusher gives its retries.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Function {
    function: &'static str,
}

/// Around the second within which a closed file is to be claimed.
const CLAIM_BUCKETS_S: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0];

type Histograms = Family<Datatype, Histogram, fn() -> Histogram>;

/// All metrics of one publisher.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    files: Family<FileState, Counter>,
    pending: Family<Datatype, Gauge>,
    blocked: Family<BlockedFor, Gauge>,
    blocked_dirs: Family<Datatype, Gauge>,
    oldest_blocked: Family<Datatype, Gauge>,
    undeclared: Gauge,
    violations: Family<Kind, Counter>,
    bundles: Family<Datatype, Counter>,
    oldest: Ages,
    errors: Family<Operation, Counter>,
    conflicts: Family<Datatype, Gauge>,
    quarantine_full: Family<Datatype, Gauge>,
    reserve: Gauge,
    admission_stopped: Gauge,
    claim_delay: Histogram,
    mtime_lower_bound: Family<Datatype, Gauge>,
    retries: Family<Function, Counter>,
    files_added: Family<Datatype, Counter>,
    uploads: Family<Datatype, Counter>,
    tarfile_bytes: Histograms,
    jsonl_bytes: Histograms,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        // The buckets of M-Lab's pusher and jostler.
        let tarfile_bytes: Histograms =
            Family::new_with_constructor(|| Histogram::new((3..=9).map(|n| 10f64.powi(n))));
        let jsonl_bytes: Histograms =
            Family::new_with_constructor(|| Histogram::new((2..=8).map(|n| 10f64.powi(n))));
        let metrics = Metrics {
            files: Family::default(),
            pending: Family::default(),
            blocked: Family::default(),
            blocked_dirs: Family::default(),
            oldest_blocked: Family::default(),
            undeclared: Gauge::default(),
            violations: Family::default(),
            bundles: Family::default(),
            oldest: Ages::default(),
            errors: Family::default(),
            conflicts: Family::default(),
            quarantine_full: Family::default(),
            reserve: Gauge::default(),
            admission_stopped: Gauge::default(),
            claim_delay: Histogram::new(CLAIM_BUCKETS_S),
            mtime_lower_bound: Family::default(),
            retries: Family::default(),
            files_added: Family::default(),
            uploads: Family::default(),
            tarfile_bytes,
            jsonl_bytes,
        };
        let m = &metrics;
        registry.register(
            "groma_publish_files",
            "Closed files, and what became of them",
            m.files.clone(),
        );
        registry.register(
            "groma_publish_pending_files",
            "Files picked up and not yet published",
            m.pending.clone(),
        );
        registry.register(
            "groma_publish_violations",
            "Breaches of the spool's contract",
            m.violations.clone(),
        );
        registry.register(
            "groma_publish_bundles",
            "Bundles that the archive has",
            m.bundles.clone(),
        );
        registry.register_collector(Box::new(m.oldest.clone()));
        registry.register(
            "groma_publish_errors",
            "Failed operations, all tried again",
            m.errors.clone(),
        );
        registry.register(
            "groma_publish_conflicts",
            "Bundles set aside because their name was taken",
            m.conflicts.clone(),
        );
        registry.register(
            "groma_publish_quarantine_full",
            "Whether the datatype waits because the quarantine has no room for a file of it",
            m.quarantine_full.clone(),
        );
        registry.register(
            "groma_publish_reserve_held",
            "Whether the room that is set aside for a full disk is there",
            m.reserve.clone(),
        );
        registry.register(
            "groma_publish_admission_stopped",
            "Whether the experiment is told to admit no tests because the disk is nearly full",
            m.admission_stopped.clone(),
        );
        registry.register(
            "groma_publish_claim_delay_seconds",
            "From the last modification of a file whose closing was seen to its claim",
            m.claim_delay.clone(),
        );
        metrics.register_blocked(registry);
        metrics.register_those_of_mlab(registry);
        metrics.begin_at_zero();
        metrics
    }

    /// Files that nothing happens to.
    fn register_blocked(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "groma_publish_blocked_files",
            "Closed files that cannot be claimed, by reason",
            m.blocked.clone(),
        );
        registry.register(
            "groma_publish_blocked_directories",
            "Directories that cannot be read",
            m.blocked_dirs.clone(),
        );
        registry.register(
            "groma_publish_oldest_blocked_seconds",
            "Since the oldest blocked file",
            m.oldest_blocked.clone(),
        );
        registry.register(
            "groma_publish_undeclared_directories",
            "Directories beside the datatypes that are not configured, so that their files are not published",
            m.undeclared.clone(),
        );
    }

    /// The names that M-Lab's alerts ask for.
    fn register_those_of_mlab(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "pusher_finder_mtime_lower_bound",
            "Seconds since 1970 at which the oldest pending file was picked up, or now",
            m.mtime_lower_bound.clone(),
        );
        registry.register(
            "pusher_retries",
            "Deliveries that failed",
            m.retries.clone(),
        );
        registry.register(
            "pusher_files_added",
            "Files added to a tarfile",
            m.files_added.clone(),
        );
        registry.register(
            "pusher_tarfiles_successful_uploads",
            "Tarfiles that the archive has",
            m.uploads.clone(),
        );
        registry.register(
            "pusher_bytes_per_tarfile",
            "Size of tarfiles in bytes",
            m.tarfile_bytes.clone(),
        );
        registry.register(
            "jostler_bytes_per_bundle",
            "Compressed size of bundles in bytes",
            m.jsonl_bytes.clone(),
        );
    }

    pub(crate) fn show_reserve(&self, is_held: bool, is_stopped: bool) {
        self.reserve.set(is_held.into());
        self.admission_stopped.set(is_stopped.into());
    }

    pub(crate) fn undeclared(&self, directories: usize) {
        self.undeclared.set(directories as i64);
    }

    pub(crate) fn claimed_after(&self, delay: Duration) {
        self.claim_delay.observe(delay.as_secs_f64());
    }

    pub(crate) fn for_datatype(&self, datatype: &str) -> DatatypeMetrics {
        let metrics = DatatypeMetrics {
            all: self.clone(),
            datatype: datatype.to_owned(),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A rate over a counter needs its zero, so every series exists from the start.
    fn begin_at_zero(&self) {
        for kind in Breach::ALL.map(Breach::as_str) {
            drop(self.violations.get_or_create(&Kind { kind }));
        }
        drop(self.retries.get_or_create(&UPLOAD));
    }

    /// A breach of the spool's contract.
    pub(crate) fn violation(&self, kind: &'static str) {
        self.violations.get_or_create(&Kind { kind }).inc();
    }
}

/// The metrics of one datatype.
#[derive(Clone, Debug)]
pub(crate) struct DatatypeMetrics {
    all: Metrics,
    datatype: String,
}

/// How a file ends, or that it was found.
const FILE_STATES: [&str; 4] = ["spooled", "published", "quarantined", "dropped"];

/// The operations that are tried again.
const OPERATIONS: [&str; 6] = ["scan", "claim", "quarantine", "seal", "deliver", "table"];

const UPLOAD: Function = Function { function: "upload" };

impl DatatypeMetrics {
    fn begin_at_zero(&self) {
        let (all, label) = (&self.all, self.label());
        for state in FILE_STATES {
            let datatype = self.datatype.clone();
            drop(all.files.get_or_create(&FileState { datatype, state }));
        }
        for operation in OPERATIONS {
            let datatype = self.datatype.clone();
            drop(all.errors.get_or_create(&Operation {
                datatype,
                operation,
            }));
        }
        for reason in Reason::ALL.map(Reason::as_str) {
            drop(all.blocked.get_or_create(&self.blocked_for(reason)));
        }
        for gauge in [&all.pending, &all.conflicts, &all.quarantine_full] {
            drop(gauge.get_or_create(&label));
        }
        for counter in [&all.bundles, &all.files_added, &all.uploads] {
            drop(counter.get_or_create(&label));
        }
        for histogram in [&all.tarfile_bytes, &all.jsonl_bytes] {
            drop(histogram.get_or_create(&label));
        }
    }

    fn label(&self) -> Datatype {
        Datatype {
            datatype: self.datatype.clone(),
        }
    }

    fn file(&self, state: &'static str) {
        self.all
            .files
            .get_or_create(&FileState {
                datatype: self.datatype.clone(),
                state,
            })
            .inc();
    }

    /// Counts a closed file that is not counted yet.
    pub(crate) fn found(&self) {
        self.file("spooled");
    }

    /// A file was claimed that was found before.
    pub(crate) fn claimed(&self) {
        self.all.pending.get_or_create(&self.label()).inc();
    }

    /// A claimed file was found.
    pub(crate) fn spooled(&self) {
        self.found();
        self.claimed();
    }

    pub(crate) fn blocked(&self, reason: &'static str) {
        self.all
            .blocked
            .get_or_create(&self.blocked_for(reason))
            .inc();
    }

    pub(crate) fn unblocked(&self, reason: &'static str) {
        self.all
            .blocked
            .get_or_create(&self.blocked_for(reason))
            .dec();
    }

    fn blocked_for(&self, reason: &'static str) -> BlockedFor {
        BlockedFor {
            datatype: self.datatype.clone(),
            reason,
        }
    }

    pub(crate) fn oldest_blocked(&self, seconds: u64, dirs: usize) {
        let label = self.label();
        self.all
            .oldest_blocked
            .get_or_create(&label)
            .set(seconds as i64);
        self.all.blocked_dirs.get_or_create(&label).set(dirs as i64);
    }

    /// Somebody else took a blocked file away.
    pub(crate) fn dropped_unclaimed(&self) {
        self.file("dropped");
    }

    pub(crate) fn published(&self) {
        self.file("published");
        self.all.pending.get_or_create(&self.label()).dec();
    }

    pub(crate) fn quarantined(&self) {
        self.file("quarantined");
        self.all.pending.get_or_create(&self.label()).dec();
    }

    /// Returns the number of claimed files that are not archived.
    pub(crate) fn pending(&self) -> u64 {
        let pending = self.all.pending.get_or_create(&self.label()).get();
        pending.try_into().unwrap_or_default()
    }

    /// Somebody else took a claimed file away.
    pub(crate) fn dropped(&self) {
        self.file("dropped");
        self.all.pending.get_or_create(&self.label()).dec();
    }

    pub(crate) fn error(&self, operation: &'static str) {
        let operation = Operation {
            datatype: self.datatype.clone(),
            operation,
        };
        self.all.errors.get_or_create(&operation).inc();
    }

    pub(crate) fn retry(&self) {
        self.all.retries.get_or_create(&UPLOAD).inc();
    }

    pub(crate) fn oldest_pending(&self, seconds: u64) {
        let since = jiff::Timestamp::now().as_second() - seconds as i64;
        self.all
            .mtime_lower_bound
            .get_or_create(&self.label())
            .set(since);
        self.all.oldest.set(&self.datatype, seconds);
    }

    pub(crate) fn conflicts(&self, count: usize) {
        self.all
            .conflicts
            .get_or_create(&self.label())
            .set(count as i64);
    }

    pub(crate) fn quarantine_full(&self, is_full: bool) {
        self.all
            .quarantine_full
            .get_or_create(&self.label())
            .set(is_full.into());
    }

    pub(crate) fn tarfile_delivered(&self, files: usize, bytes: u64) {
        let label = self.label();
        self.all.bundles.get_or_create(&label).inc();
        self.all.uploads.get_or_create(&label).inc();
        self.all
            .files_added
            .get_or_create(&label)
            .inc_by(files as u64);
        self.all
            .tarfile_bytes
            .get_or_create(&label)
            .observe(bytes as f64);
    }

    pub(crate) fn jsonl_delivered(&self, data_bytes: u64, index_bytes: u64) {
        let label = self.label();
        self.all.bundles.get_or_create(&label).inc();
        self.all
            .jsonl_bytes
            .get_or_create(&label)
            .observe(data_bytes as f64);
        let index = Datatype {
            datatype: "index1".to_owned(),
        };
        self.all
            .jsonl_bytes
            .get_or_create(&index)
            .observe(index_bytes as f64);
    }
}
