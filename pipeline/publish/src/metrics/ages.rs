//! How long the oldest pending file of each datatype has waited.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// The ages by datatype, each with the instant at which it was true; clones share them.
///
/// The value is computed at the scrape. If the publisher is dead or hangs, its ages are no longer updated, and the value grows
/// for all datatypes, because files may be waiting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ages(Arc<Mutex<BTreeMap<String, Age>>>);

#[derive(Clone, Copy, Debug)]
struct Age {
    seconds: u64,
    at: Instant,
}

/// A publisher that works reports ages every second.
const SILENCE: Duration = Duration::from_secs(10);

impl Ages {
    pub(crate) fn set(&self, datatype: &str, seconds: u64) {
        let age = Age {
            seconds,
            at: Instant::now(),
        };
        self.lock().insert(datatype.to_owned(), age);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Age>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Age {
    fn seconds(self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        if self.seconds == 0 && since < SILENCE {
            return 0;
        }
        self.seconds + since.as_secs()
    }
}

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "groma_publish_oldest_pending_seconds",
            "Since the oldest pending file",
            None,
            MetricType::Gauge,
        )?;
        let now = Instant::now();
        for (datatype, age) in &*self.lock() {
            let gauge = ConstGauge::new(age.seconds(now) as i64);
            gauge.encode(family.encode_family(&[("datatype", datatype.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_grows_when_nobody_reports_it() {
        let at = Instant::now();
        let age = |seconds| Age { seconds, at };
        let after = |seconds| at + Duration::from_secs(seconds);
        assert_eq!(age(0).seconds(after(1)), 0);
        assert_eq!(age(0).seconds(after(3600)), 3600);
        assert_eq!(age(7).seconds(after(2)), 9);
    }

    #[test]
    fn each_datatype_has_a_gauge() {
        let ages = Ages::default();
        ages.set("ndt7", 5);
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(ages));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"groma_publish_oldest_pending_seconds{datatype="ndt7"} 5"#),
            "{text}"
        );
    }
}
