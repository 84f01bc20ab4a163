//! The counters of a loader.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::{LoadError, Loaded};

/// Counters of one loader. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct LoadMetrics {
    objects: Counter,
    rows: Counter,
    errors: Counter,
    damaged: Counter,
    replaced: Counter,
    failed: Counter,
    unfinished: Counter,
    pub(crate) left_alone: Gauge,
    last: Gauge,
}

impl LoadMetrics {
    /// Adds the metrics to a registry, all with the prefix `groma_load`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("groma_load");
        let counters = [
            ("objects", "Objects loaded", &self.objects),
            ("rows", "Rows written", &self.rows),
            ("errors", "Entries written to error lists", &self.errors),
            ("damaged_objects", "Damaged objects loaded", &self.damaged),
            (
                "replaced_objects",
                "Objects whose rows replaced those of a damaged one",
                &self.replaced,
            ),
            ("failures", "Loads that failed", &self.failed),
            (
                "unfinished_objects",
                "Times that an object was left for later because it may still grow",
                &self.unfinished,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "left_alone_objects",
            "Objects of the last sweep without a schema, and files that only look like objects",
            self.left_alone.clone(),
        );
        registry.register(
            "last_object_timestamp_seconds",
            "When an object was loaded last, in seconds since 1970",
            self.last.clone(),
        );
    }

    pub(crate) fn count(&self, result: &Result<Loaded, LoadError>) {
        match result {
            Ok(Loaded { already: true, .. }) => {}
            Ok(loaded) => {
                self.objects.inc();
                self.rows.inc_by(loaded.rows);
                self.errors.inc_by(loaded.errors);
                self.damaged.inc_by(u64::from(loaded.damaged));
                self.replaced.inc_by(u64::from(loaded.replaced));
                self.last.set(jiff::Timestamp::now().as_second());
            }
            Err(LoadError::Changing { .. } | LoadError::Incomplete { .. }) => {
                self.unfinished.inc();
            }
            Err(_) => {
                self.failed.inc();
            }
        }
    }
}
