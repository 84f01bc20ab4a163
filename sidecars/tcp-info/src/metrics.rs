//! The recorder's metrics. The names that begin with `tcpinfo_` are those of M-Lab's dashboards and
//! alerts, with the same meaning; the others are ours.

use std::time::Duration;

use groma_diag::DiagError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use crate::file::Totals;

type Label = [(&'static str, &'static str); 1];

/// Declares the plain counters and gauges and registers them, each from one line.
macro_rules! metrics {
    ($($field:ident: $type:ty, $name:literal, $help:literal;)*) => {
        /// All metrics of a collector; clones are the same metrics.
        #[derive(Clone, Debug)]
        pub(crate) struct Metrics {
            $(pub(crate) $field: $type,)*
            errors: Family<Label, Counter>,
            pub(crate) flows_opened: Counter,
            pub(crate) flows_closed: Counter,
            pub(crate) flows_resumed: Counter,
            syscall_time: Histogram,
            polling_interval: Histogram,
            connections_v4: Histogram,
            connections_v6: Histogram,
            cache_count: Histogram,
            send_rate: Histogram,
            receive_rate: Histogram,
        }

        impl Metrics {
            /// Registers everything.
            pub(crate) fn new(registry: &mut Registry) -> Self {
                $(let $field = <$type>::default(); registry.register($name, $help, $field.clone());)*
                let errors = Family::<Label, Counter>::default();
                registry.register("tcpinfo_error", "Answers of the kernel that failed, by kind", errors.clone());
                // A rate over a counter needs its zero.
                for kind in DiagError::LABELS {
                    drop(errors.get_or_create(&[("type", kind)]));
                }
                let flows = Family::<Label, Counter>::default();
                registry.register("tcpinfo_flow_events", "Flow events, by kind", flows.clone());
                let flow = |event| flows.get_or_create(&[("event", event)]).clone();
                let by_af = |registry: &mut Registry, name: &str, help: &str, buckets: fn() -> Vec<f64>| {
                    let family = Family::<Label, Histogram, _>::new_with_constructor(move || Histogram::new(buckets()));
                    registry.register(name, help, family.clone());
                    move |af| family.get_or_create(&[("af", af)]).clone()
                };
                let syscall = by_af(registry, "tcpinfo_syscall_time_histogram", "Seconds that a dump took",
                    || exponential_buckets(0.0001, 1.8, 14).collect());
                let connections = by_af(registry, "tcpinfo_connection_count_histogram", "Sockets in a dump", counts);
                let plain = |registry: &mut Registry, name: &str, help: &str, buckets: Vec<f64>| {
                    let histogram = Histogram::new(buckets);
                    registry.register(name, help, histogram.clone());
                    histogram
                };
                Self {
                    flows_opened: flow("open"),
                    flows_closed: flow("close"),
                    flows_resumed: flow("resume"),
                    syscall_time: syscall("unknown"),
                    connections_v4: connections("ipv4"),
                    connections_v6: connections("ipv6"),
                    polling_interval: plain(registry, "tcpinfo_polling_interval_histogram",
                        "Seconds between polls", linear_buckets(0.0, 0.001, 30).collect()),
                    cache_count: plain(registry, "tcpinfo_cache_count_histogram", "Flows known at a poll", counts()),
                    send_rate: plain(registry, "tcpinfo_send_rate_histogram",
                        "Bits that all flows sent in a second", rates()),
                    receive_rate: plain(registry, "tcpinfo_receive_rate_histogram",
                        "Bits that all flows received in a second", rates()),
                    errors,
                    $($field,)*
                }
            }
        }
    };
}

fn counts() -> Vec<f64> {
    exponential_buckets(1.0, 2.0, 16).collect()
}

fn rates() -> Vec<f64> {
    exponential_buckets(1000.0, 4.0, 14).collect()
}

metrics! {
    files_begun: Counter, "tcpinfo_new_file", "Files begun";
    snapshots: Counter, "tcpinfo_snapshot", "Snapshots written";
    files_published: Counter, "groma_tcpinfo_files_published", "Files that came into the spool";
    files_refused: Counter, "groma_tcpinfo_files_refused", "Files put aside because their name is taken or none of ours";
    empty_leftovers: Counter, "groma_tcpinfo_empty_leftovers", "Files of an earlier life with nothing in them";
    finish_failures: Counter, "groma_tcpinfo_finish_failures", "Attempts to finish a file that failed";
    write_failures: Counter, "groma_tcpinfo_write_failures", "Writes to files and journal that failed";
    records_lost: Counter, "groma_tcpinfo_records_lost", "Snapshots lost because the disk took nothing";
    flows_refused: Counter, "groma_tcpinfo_flows_refused", "Connections not recorded because the table is full";
    overruns: Counter, "groma_tcpinfo_overruns", "Times that the kernel dropped last words";
    interrupted: Counter, "groma_tcpinfo_interrupted_dumps", "Dumps during which sockets changed too much";
    polls: Counter, "groma_tcpinfo_polls", "Complete polls";
    polls_late: Counter, "groma_tcpinfo_polls_late", "Polls that began late";
    dumps: Counter, "groma_tcpinfo_dumps", "Polls that asked for all sockets";
    gets: Counter, "groma_tcpinfo_gets", "Polls that asked for known sockets only";
    clock_steps: Counter, "groma_tcpinfo_clock_steps", "Times that the wall clock was set";
    admissions: Counter, "groma_tcpinfo_admissions", "Announcements of admitted connections, repeated ones included";
    admissions_foreign: Counter, "groma_tcpinfo_admissions_foreign", "Announcements with another UUID prefix than the recorder's";
    admissions_malformed: Counter, "groma_tcpinfo_admissions_malformed", "Lines of announcers that are not announcements";
    admitted: Counter, "groma_tcpinfo_flows_admitted", "Connections that are published in full";
    unadmitted: Counter, "groma_tcpinfo_flows_unadmitted", "Connections published as a row without address";
    unexplained: Counter, "groma_tcpinfo_flows_unexplained", "Unadmitted connections with more payload than the manifest declares";
    undecided: Gauge, "groma_tcpinfo_flows_undecided", "Ended connections that may still be announced";
    unadmitted_waiting: Gauge, "groma_tcpinfo_unadmitted_rows_waiting", "Rows of unadmitted connections that are not in the spool yet";
    listeners: Gauge, "groma_tcpinfo_listeners", "Event listeners";
    listeners_dropped: Counter, "groma_tcpinfo_listeners_dropped", "Event listeners dropped for being slow";
    listeners_refused: Counter, "groma_tcpinfo_listeners_refused", "Event listeners refused for being too many";
    memory_bytes: Gauge, "groma_tcpinfo_file_memory_bytes", "Memory of the files that are open";
    total_opened: Gauge, "groma_tcpinfo_boot_flows_opened", "Connections opened since boot, all lives of the recorder";
    total_closed: Gauge, "groma_tcpinfo_boot_flows_closed", "Connections closed since boot, all lives of the recorder";
    total_open: Gauge, "groma_tcpinfo_flows_open", "Connections known now";
}

impl Metrics {
    pub(crate) fn set_totals(&self, totals: Totals) {
        self.total_opened.set(totals.opened as i64);
        self.total_closed.set(totals.closed as i64);
        self.total_open.set(totals.open as i64);
    }

    pub(crate) fn error(&self, kind: &'static str) {
        self.errors.get_or_create(&[("type", kind)]).inc();
    }

    pub(crate) fn dump(&self, took: Duration, v4: usize, v6: usize) {
        self.syscall_time.observe(took.as_secs_f64());
        self.connections_v4.observe(v4 as f64);
        self.connections_v6.observe(v6 as f64);
        self.dumps.inc();
    }

    pub(crate) fn poll(&self, interval: Duration, flows: usize) {
        self.polling_interval.observe(interval.as_secs_f64());
        self.cache_count.observe(flows as f64);
    }

    pub(crate) fn rates(&self, sent_bytes: u64, received_bytes: u64) {
        self.send_rate.observe(sent_bytes as f64 * 8.0);
        self.receive_rate.observe(received_bytes as f64 * 8.0);
    }
}
