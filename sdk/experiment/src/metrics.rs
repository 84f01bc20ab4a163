//! The four golden signals of an experiment (traffic, errors, latency, saturation)
//! and its run counter.

use std::sync::{Arc, Weak};
use std::time::Duration;

use groma_events::Announcer;
use groma_manifest::Manifest;
use groma_service::Active;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::Refusal;
use crate::disk::Disk;
use crate::metadata::Dropped;

pub(crate) const ABORTED: &str = "aborted";
pub(crate) const WRITE_RESULT: &str = "write_result";
pub(crate) const SOCKET_COOKIE: &str = "socket_cookie";

// Centred on the 10 s of M-Lab's tests; shorter values are early exits, longer ones are timeouts.
const DURATION_BUCKETS_S: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 11.0, 13.0, 15.0, 30.0, 60.0,
];

/// The sources of the gauges at each scrape.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) active: Active,
    pub(crate) max_tests: usize,
    pub(crate) disk: Arc<Disk>,
    /// Weak, because the registry may outlive the experiment and its announcer.
    pub(crate) announcer: Option<Weak<Announcer>>,
}

impl Collector for Load {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let active = self.active.count();
        let refusal = self.disk.refusal();
        let is = |reason| f64::from(u8::from(refusal == Some(reason)));
        let mut gauges = vec![
            (
                "groma_experiment_active_tests",
                "Tests going on, until their result is written",
                active as f64,
            ),
            (
                "groma_experiment_saturation_ratio",
                "Share of the tests that are admitted at one time",
                active as f64 / self.max_tests as f64,
            ),
            (
                "groma_experiment_disk_full",
                "Whether tests are refused because the disk is full, or nearly full as the publisher reports",
                is(Refusal::DiskFull),
            ),
            (
                "groma_experiment_spool_failed",
                "Whether tests are refused because a result could not be written for another reason than a full disk",
                is(Refusal::SpoolFailed),
            ),
        ];
        if let Some(announcer) = self.announcer.as_ref().and_then(Weak::upgrade) {
            gauges.push((
                "groma_experiment_recorder_connected",
                "Whether the connection recorder hears of admitted tests; it publishes no other connection in full",
                f64::from(u8::from(announcer.is_connected())),
            ));
            gauges.push((
                "groma_experiment_announcements_dropped",
                "Admitted connections that were never announced, because the recorder was away for too long",
                announcer.dropped() as f64,
            ));
        }
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// One label; its value is from a closed set, so that a client cannot grow the family.
type Label = [(&'static str, String); 1];

#[derive(Debug)]
pub(crate) struct Metrics {
    tests: Family<Label, Counter>,
    duration: Histogram,
    errors: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
    metadata_dropped: Family<Label, Counter>,
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

impl Metrics {
    /// Registers all metrics with the label `experiment`.
    pub(crate) fn register(registry: &mut Registry, manifest: &Manifest, load: Load) -> Self {
        let name = manifest.name.as_str().to_owned();
        let registry = registry.sub_registry_with_label(("experiment".into(), name.into()));
        let bytes: Family<Label, Counter> = Family::default();
        let metrics = Self::create(manifest, &bytes);
        registry.register(
            "groma_experiment_tests",
            "Tests that ended, by result",
            metrics.tests.clone(),
        );
        registry.register_with_unit(
            "groma_experiment_test_duration",
            "Time from admission to the end of the test, without writing its result",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "groma_experiment_errors",
            "Operations that failed",
            metrics.errors.clone(),
        );
        registry.register(
            "groma_experiment_refusals",
            "Tests that were not admitted",
            metrics.refusals.clone(),
        );
        registry.register(
            "groma_experiment_metadata_dropped",
            "Pairs of client metadata that the manifest does not allow",
            metrics.metadata_dropped.clone(),
        );
        registry.register(
            "groma_experiment_bytes",
            "Bytes of the measured traffic, as seen by the server",
            bytes.clone(),
        );
        registry.register_collector(Box::new(load));
        metrics
    }

    fn create(manifest: &Manifest, bytes: &Family<Label, Counter>) -> Self {
        let direction = |name| bytes.get_or_create(&label("direction", name)).clone();
        let metrics = Self {
            tests: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS_S),
            errors: Family::default(),
            refusals: Family::default(),
            metadata_dropped: Family::default(),
            sent: direction("sent"),
            received: direction("received"),
        };
        metrics.begin_at_zero(&manifest.results);
        metrics
    }

    /// Creates every known label at the start, because `rate()` needs an initial zero.
    fn begin_at_zero(&self, declared: &[String]) {
        let declared = declared.iter().map(String::as_str);
        let results = declared.chain([ABORTED]);
        let reasons = Dropped::ALL.map(Dropped::as_str);
        let families: [(_, _, Vec<&str>); 4] = [
            (&self.tests, "result", results.collect()),
            (&self.metadata_dropped, "reason", reasons.to_vec()),
            (
                &self.refusals,
                "reason",
                Refusal::ALL.map(Refusal::reason).to_vec(),
            ),
            (&self.errors, "operation", vec![WRITE_RESULT, SOCKET_COOKIE]),
        ];
        for (family, name, values) in families {
            for value in values {
                drop(family.get_or_create(&label(name, value)));
            }
        }
    }

    pub(crate) fn test_ended(&self, result: &str, after: Duration) {
        self.tests.get_or_create(&label("result", result)).inc();
        self.duration.observe(after.as_secs_f64());
    }

    pub(crate) fn error(&self, operation: &'static str) {
        let operation = label("operation", operation);
        self.errors.get_or_create(&operation).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        let reason = label("reason", reason);
        self.refusals.get_or_create(&reason).inc();
    }

    pub(crate) fn metadata_dropped(&self, reason: Dropped) {
        let reason = label("reason", reason.as_str());
        self.metadata_dropped.get_or_create(&reason).inc();
    }
}

fn label(name: &'static str, value: &str) -> Label {
    [(name, value.to_owned())]
}
