//! The metrics that M-Lab's alerts and dashboards read, under their names.

use std::io::ErrorKind;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::protocol::Direction;

/// M-Lab's buckets up to 1 Gbit/s, continued in the same steps up to 100 Gbit/s.
const RATE_BUCKETS_MBPS: [f64; 31] = [
    0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 25.0, 40.0, 60.0, 100.0, 150.0,
    250.0, 400.0, 600.0, 1e3, 1.5e3, 2.5e3, 4e3, 6e3, 1e4, 1.5e4, 2.5e4, 4e4, 6e4, 1e5,
];

/// A sample more than 100 ms late says that this machine is too busy to measure.
const LATENESS_BUCKETS_S: [f64; 8] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConnectionLabels {
    direction: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    protocol: &'static str,
    direction: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RateLabels {
    protocol: &'static str,
    direction: &'static str,
    /// M-Lab's alerts select `false`: its own monitoring sends a token, which this server does not issue.
    monitoring: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BbrLabels {
    status: &'static str,
    error: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IgnoredLabels {
    direction: &'static str,
    kind: &'static str,
}

// Values of the labels, as M-Lab's server has them.
const UPGRADED: &str = "result";
const NOT_UPGRADED: &str = "websocket-error";
const WITHOUT_TLS: &str = "ndt7+ws";
const WITH_TLS: &str = "ndt7+wss";
pub(super) const RESULTS: [&str; 4] = [
    "okay-with-rate",
    "okay-without-rate",
    "error-with-rate",
    "error-without-rate",
];
const BBR_OUTCOMES: [(&str, &str); 4] = [
    ("true", ""),
    ("false", "not-available"),
    ("false", "not-permitted"),
    ("false", "other"),
];

/// All metrics of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    connections: Family<ConnectionLabels, Counter>,
    results: Family<ResultLabels, Counter>,
    rate_mbps: Family<RateLabels, Histogram, fn() -> Histogram>,
    bbr_enabled: Family<BbrLabels, Counter>,
    ignored: Family<IgnoredLabels, Counter>,
    ignored_load_bytes: Counter,
    open_connections: Gauge,
    refused_connections: Counter,
    refused_tests: Counter,
    sample_lateness: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Family::default(),
            results: Family::default(),
            rate_mbps: Family::new_with_constructor(|| Histogram::new(RATE_BUCKETS_MBPS)),
            bbr_enabled: Family::default(),
            ignored: Family::default(),
            ignored_load_bytes: Counter::default(),
            open_connections: Gauge::default(),
            refused_connections: Counter::default(),
            refused_tests: Counter::default(),
            sample_lateness: Histogram::new(LATENESS_BUCKETS_S),
        };
        registry.register(
            "ndt7_client_connections",
            "Requests on the paths of the tests, by how their upgrade ended",
            metrics.connections.clone(),
        );
        registry.register(
            "ndt7_client_test_results",
            "Ended tests",
            metrics.results.clone(),
        );
        registry.register(
            "ndt_test_rate_mbps",
            "Mean rate of a test in Mbit/s, from the kernel's count of acknowledged or received bytes",
            metrics.rate_mbps.clone(),
        );
        registry.register(
            "ndt7_measurer_bbr_enabled",
            "Attempts to select BBR",
            metrics.bbr_enabled.clone(),
        );
        registry.register(
            "ndt7_client_ignored_messages",
            "Text messages of clients of which nothing is stored",
            metrics.ignored.clone(),
        );
        registry.register(
            "ndt7_client_ignored_load_bytes",
            "Load that clients sent in downloads, where it does not belong",
            metrics.ignored_load_bytes.clone(),
        );
        registry.register(
            "netx_current_open_conns",
            "Open TCP connections on the ports of the tests",
            metrics.open_connections.clone(),
        );
        registry.register(
            "ndt7_refused_connections",
            "TCP connections closed at once because too many were open, of all clients or of this one",
            metrics.refused_connections.clone(),
        );
        registry.register(
            "ndt7_refused_tests",
            "Tests refused because too many were running from the client's address",
            metrics.refused_tests.clone(),
        );
        registry.register(
            "ndt7_sample_lateness_seconds",
            "How long after it was due a sample of the kernel was taken",
            metrics.sample_lateness.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A rate over a counter needs its zero, so every series exists from the start.
    fn begin_at_zero(&self) {
        for direction in [Direction::Download, Direction::Upload].map(Direction::as_str) {
            for status in [UPGRADED, NOT_UPGRADED] {
                drop(
                    self.connections
                        .get_or_create(&ConnectionLabels { direction, status }),
                );
            }
            for kind in [Ignored::Unreadable, Ignored::Excess].map(Ignored::as_str) {
                drop(
                    self.ignored
                        .get_or_create(&IgnoredLabels { direction, kind }),
                );
            }
            for protocol in [WITHOUT_TLS, WITH_TLS] {
                for result in RESULTS {
                    let labels = ResultLabels {
                        protocol,
                        direction,
                        result,
                    };
                    drop(self.results.get_or_create(&labels));
                }
                let labels = RateLabels {
                    protocol,
                    direction,
                    monitoring: "false",
                };
                drop(self.rate_mbps.get_or_create(&labels));
            }
        }
        for (status, error) in BBR_OUTCOMES {
            drop(self.bbr_enabled.get_or_create(&BbrLabels { status, error }));
        }
    }

    /// Samples of a test were taken so late.
    pub(crate) fn samples(&self, late: &[Duration]) {
        for late in late {
            self.sample_lateness.observe(late.as_secs_f64());
        }
    }

    /// A request on the path of a test was upgraded (true) or refused (false).
    pub(crate) fn upgrade(&self, direction: Direction, upgraded: bool) {
        let labels = ConnectionLabels {
            direction: direction.as_str(),
            status: if upgraded { UPGRADED } else { NOT_UPGRADED },
        };
        self.connections.get_or_create(&labels).inc();
    }

    /// A test ended; `rate_mbps` is `None` when nothing was measured.
    pub(crate) fn result(
        &self,
        secure: bool,
        direction: Direction,
        result: &'static str,
        rate_mbps: Option<f64>,
    ) {
        let protocol = if secure { WITH_TLS } else { WITHOUT_TLS };
        let direction = direction.as_str();
        let labels = ResultLabels {
            protocol,
            direction,
            result,
        };
        self.results.get_or_create(&labels).inc();
        if let Some(rate_mbps) = rate_mbps {
            let labels = RateLabels {
                protocol,
                direction,
                monitoring: "false",
            };
            self.rate_mbps.get_or_create(&labels).observe(rate_mbps);
        }
    }

    /// BBR was selected on a socket, or not. Returns true at the first failure ever.
    pub(crate) fn bbr(&self, outcome: &std::io::Result<()>) -> bool {
        let error = match outcome.as_ref().map_err(std::io::Error::kind) {
            Ok(()) => "",
            Err(ErrorKind::NotFound) => "not-available",
            Err(ErrorKind::PermissionDenied) => "not-permitted",
            Err(_) => "other",
        };
        let status = if outcome.is_ok() { "true" } else { "false" };
        let labels = BbrLabels { status, error };
        self.bbr_enabled.get_or_create(&labels).inc() == 0 && outcome.is_err()
    }

    /// Messages of a client were read and not stored.
    pub(crate) fn ignored(&self, direction: Direction, kind: Ignored, messages: u64) {
        let labels = IgnoredLabels {
            direction: direction.as_str(),
            kind: kind.as_str(),
        };
        if messages > 0 {
            self.ignored.get_or_create(&labels).inc_by(messages);
        }
    }

    /// A client sent this many bytes of load in a download.
    pub(crate) fn ignored_load(&self, bytes: u64) {
        self.ignored_load_bytes.inc_by(bytes);
    }

    /// A connection was closed because there are too many.
    pub(crate) fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// A test was refused because its client has too many.
    pub(crate) fn refused_test(&self) {
        self.refused_tests.inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn open_connection(&self) -> OpenConnection {
        self.open_connections.inc();
        OpenConnection(self.open_connections.clone())
    }
}

/// Messages of a client that are not stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ignored {
    /// Text that is not a measurement, and all text after it.
    Unreadable,
    /// Measurements beyond what one result may hold.
    Excess,
}

impl Ignored {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Excess => "excess",
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_that_alerts_read() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.upgrade(Direction::Download, true);
        metrics.upgrade(Direction::Upload, false);
        metrics.result(true, Direction::Download, "okay-with-rate", Some(5e4));
        let zero = r#"ndt7_client_test_results_total{protocol="ndt7+ws",direction="upload",result="error-with-rate"} 0"#;
        assert!(!metrics.bbr(&Ok(())));
        assert!(metrics.bbr(&Err(ErrorKind::NotFound.into())));
        assert!(!metrics.bbr(&Err(ErrorKind::NotFound.into())));
        metrics.samples(&[Duration::from_millis(3), Duration::from_millis(101)]);
        let open = metrics.open_connection();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            zero,
            r#"ndt7_client_connections_total{direction="download",status="result"} 1"#,
            r#"ndt7_client_connections_total{direction="upload",status="websocket-error"} 1"#,
            r#"ndt7_client_test_results_total{protocol="ndt7+wss",direction="download",result="okay-with-rate"} 1"#,
            r#"ndt_test_rate_mbps_bucket{le="60000.0",protocol="ndt7+wss",direction="download",monitoring="false"} 1"#,
            r#"ndt_test_rate_mbps_bucket{le="40000.0",protocol="ndt7+wss",direction="download",monitoring="false"} 0"#,
            r#"ndt7_measurer_bbr_enabled_total{status="true",error=""} 1"#,
            r#"ndt7_measurer_bbr_enabled_total{status="false",error="not-available"} 2"#,
            r#"ndt7_sample_lateness_seconds_bucket{le="0.1"} 1"#,
            "ndt7_sample_lateness_seconds_count 2",
            "netx_current_open_conns 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        drop(open);
        assert_eq!(metrics.open_connections.get(), 0);
    }
}
