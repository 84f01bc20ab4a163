//! The metrics that every process has.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::{Lifecycle, Phase};

/// The version of the program: the labels of `groma_build_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Short Git commit in hexadecimal, or `unknown`.
    pub commit: &'a str,
}

/// Registers `groma_build_info{version,commit}` and `lame_duck_experiment`.
///
/// The gauge is 1 from lame duck on, else 0; M-Lab's dashboards know it by this name.
/// Call it once per registry: a second time would show both metrics twice.
pub fn register_process_metrics(registry: &mut Registry, lifecycle: &Lifecycle, build: Build<'_>) {
    let labels = vec![
        ("version", build.version.to_owned()),
        ("commit", build.commit.to_owned()),
    ];
    registry.register("groma_build", "Version of the program", Info::new(labels));
    registry.register_collector(Box::new(LameDuck(lifecycle.clone())));
}

/// Reads the phase at the scrape, so that no code path can forget to set a gauge.
#[derive(Debug)]
struct LameDuck(Lifecycle);

impl Collector for LameDuck {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.phase() >= Phase::LameDuck));
        let metric = encoder.encode_descriptor(
            "lame_duck_experiment",
            "Whether the process is about to end",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}
