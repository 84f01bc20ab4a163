//! The metrics of a process whose parts may be restarted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The registries of a process by part; clones share them. A part that starts again brings a new registry, which replaces the
/// one of its earlier run, so that no metric is shown twice.
#[derive(Debug, Clone, Default)]
pub struct Registries(Arc<Mutex<BTreeMap<&'static str, Registry>>>);

impl Registries {
    /// Shows `registry` from now on as the metrics of `part`.
    pub fn set(&self, part: &'static str, registry: Registry) {
        self.lock().insert(part, registry);
    }

    /// Returns the metrics of all parts as `OpenMetrics` text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for registry in self.lock().values() {
            encode(&mut text, registry)?;
            // Only the last one ends the text.
            text.truncate(text.len() - END.len());
        }
        text.push_str(END);
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Registry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Registry> for Registries {
    fn from(registry: Registry) -> Self {
        let registries = Self::default();
        registries.set("", registry);
        registries
    }
}

/// How `OpenMetrics` text ends.
const END: &str = "# EOF\n";

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn registry(name: &str) -> Registry {
        let mut registry = Registry::default();
        registry.register(name, "Help", <Counter>::default());
        registry
    }

    #[test]
    fn a_part_that_starts_again_replaces_its_metrics() {
        let registries = Registries::from(registry("process"));
        registries.set("publish", registry("first"));
        registries.set("publish", registry("second"));
        let text = registries.encode().unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["process_total 0", "second_total 0"]);
        assert_eq!(text.matches(END).count(), 1);
        assert!(text.ends_with(END));
        assert_eq!(Registries::default().encode().unwrap(), END);
    }
}
