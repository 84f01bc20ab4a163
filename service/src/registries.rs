//! The metrics of a process whose parts may be restarted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The value of the label `experiment`, empty for parts of the whole process; and the name of a part.
type Part = (String, String);

/// The registries of a process by part; clones share them. A part that starts again brings a new registry, which replaces the
/// one of its earlier run, so that no metric is shown twice.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    parts: Arc<Mutex<BTreeMap<Part, Registry>>>,
    experiment: String,
}

impl Registries {
    /// Shows `registry` from now on as the metrics of `part`.
    pub fn set(&self, part: &str, registry: Registry) {
        let part = (self.experiment.clone(), part.to_owned());
        self.lock().insert(part, registry);
    }

    /// Returns the same registries for the parts of one experiment: their metrics get the label `experiment`.
    #[must_use]
    pub fn of_experiment(&self, experiment: &str) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            experiment: experiment.to_owned(),
        }
    }

    /// Returns the metrics of all parts as `OpenMetrics` text. A metric of several parts is described once.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut families = Families::default();
        for ((experiment, _), registry) in self.lock().iter() {
            let mut text = String::new();
            encode(&mut text, registry)?;
            families.add(&text, experiment);
        }
        Ok(families.into_text())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, Registry>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Registry> for Registries {
    fn from(registry: Registry) -> Self {
        let registries = Self::default();
        registries.set("", registry);
        registries
    }
}

/// The last line of `OpenMetrics` text.
const END: &str = "# EOF\n";

/// The lines of each metric in the order in which the metrics were first seen.
#[derive(Default)]
struct Families {
    order: Vec<String>,
    lines: BTreeMap<String, Family>,
}

#[derive(Default)]
struct Family {
    descriptions: Vec<String>,
    samples: Vec<String>,
}

impl Families {
    fn add(&mut self, text: &str, experiment: &str) {
        let mut name = String::new();
        let known = self.order.len();
        for line in text.lines() {
            // `# TYPE name counter`; the samples of a metric follow its description.
            if let Some(description) = line.strip_prefix("# ") {
                let Some(described) = description.split(' ').nth(1) else {
                    continue;
                };
                described.clone_into(&mut name);
                if !self.lines.contains_key(&name) {
                    self.order.push(name.clone());
                }
                let family = self.lines.entry(name.clone()).or_default();
                let is_new = self.order[known..].contains(&name);
                if is_new && !family.descriptions.iter().any(|it| it == line) {
                    family.descriptions.push(line.to_owned());
                }
            } else if let Some(family) = self.lines.get_mut(&name) {
                family.samples.push(labelled(line, experiment));
            }
        }
    }

    fn into_text(mut self) -> String {
        let mut text = String::new();
        for name in self.order {
            let family = self.lines.remove(&name).unwrap_or_default();
            for line in family.descriptions.iter().chain(&family.samples) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str(END);
        text
    }
}

/// Adds the label `experiment` to a sample. The name of an experiment needs no escapes.
fn labelled(sample: &str, experiment: &str) -> String {
    if experiment.is_empty() || sample.contains("experiment=\"") {
        return sample.to_owned();
    }
    let at = sample.find(['{', ' ']).unwrap_or(sample.len());
    let (name, rest) = sample.split_at(at);
    match rest.strip_prefix('{') {
        Some(labels) => format!("{name}{{experiment=\"{experiment}\",{labels}"),
        None => format!("{name}{{experiment=\"{experiment}\"}}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;

    fn registry(name: &str) -> Registry {
        let mut registry = Registry::default();
        registry.register(name, "Help", <Counter>::default());
        registry
    }

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_part_that_starts_again_replaces_its_metrics() {
        let registries = Registries::from(registry("process"));
        registries.set("publish", registry("first"));
        registries.set("publish", registry("second"));
        let text = registries.encode().unwrap();
        assert_eq!(samples(&text), ["process_total 0", "second_total 0"]);
        assert_eq!(text.matches(END).count(), 1);
        assert!(text.ends_with(END));
        assert_eq!(Registries::default().encode().unwrap(), END);
    }

    #[test]
    fn a_metric_of_two_experiments_is_described_once_and_has_their_labels() {
        let registries = Registries::default();
        for experiment in ["latency", "ndt"] {
            let mut registry = registry("published");
            let by_kind: Family<[(&str, &str); 1], Counter> = Family::default();
            by_kind.get_or_create(&[("kind", "a b")]).inc();
            registry.register("errors", "Help", by_kind);
            registries
                .of_experiment(experiment)
                .set("publish", registry);
        }
        let text = registries.encode().unwrap();
        let expected = [
            "published_total{experiment=\"latency\"} 0",
            "published_total{experiment=\"ndt\"} 0",
            "errors_total{experiment=\"latency\",kind=\"a b\"} 1",
            "errors_total{experiment=\"ndt\",kind=\"a b\"} 1",
        ];
        assert_eq!(samples(&text), expected);
        assert_eq!(
            text.matches("# TYPE published counter").count(),
            1,
            "{text}"
        );
    }
}
