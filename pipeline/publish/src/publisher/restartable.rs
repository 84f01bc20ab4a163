//! A publisher that can run again after it failed.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use groma_archive::Store;
use groma_service::Registries;
use prometheus_client::registry::Registry;

use crate::{Config, Flusher, PublishError, Publisher};

/// Opens a publisher for each run. Each one recovers the unfinished work of the one before and replaces its metrics.
pub struct RestartablePublisher {
    config: Config,
    store: Arc<dyn Store>,
    registries: Registries,
    opened: Option<Publisher>,
    flusher: Arc<Mutex<Flusher>>,
}

impl RestartablePublisher {
    /// Opens the publisher of the first run, so that errors of the configuration end the start. Its metrics are the part
    /// `publish` of `registries`.
    pub fn open(
        config: Config,
        store: Arc<dyn Store>,
        registries: Registries,
    ) -> Result<Self, PublishError> {
        let first = open(&config, &store, &registries)?;
        Ok(Self {
            config,
            store,
            registries,
            flusher: Arc::new(Mutex::new(first.flusher())),
            opened: Some(first),
        })
    }

    /// Returns a function that asks the publisher of the current run to archive everything that waits.
    pub fn flush(&self) -> impl Fn() + Send + Sync + use<> {
        let flusher = Arc::clone(&self.flusher);
        move || {
            flusher
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .flush();
        }
    }

    /// Publishes until `stop` is set, as [`Publisher::run`].
    pub fn run(&mut self, stop: &Arc<AtomicBool>) -> Result<(), PublishError> {
        let publisher = match self.opened.take() {
            Some(publisher) => publisher,
            None => open(&self.config, &self.store, &self.registries)?,
        };
        *self.flusher.lock().unwrap_or_else(PoisonError::into_inner) = publisher.flusher();
        publisher.run(Arc::clone(stop))
    }
}

fn open(
    config: &Config,
    store: &Arc<dyn Store>,
    registries: &Registries,
) -> Result<Publisher, PublishError> {
    let mut registry = Registry::default();
    let publisher = Publisher::open(config.clone(), Arc::clone(store), &mut registry)?;
    registries.set("publish", registry);
    Ok(publisher)
}
