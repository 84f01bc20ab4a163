//! The publisher as its caller sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use groma_archive::Store;
use prometheus_client::registry::Registry;

use crate::{Config, PublishError};

/// Publishes the files of one experiment. Blocking: give it a thread of its own.
pub struct Publisher {
    config: Config,
    store: Arc<dyn Store>,
}

impl Publisher {
    /// Takes possession of the spool and state directories and recovers what an earlier run left.
    pub fn open(
        config: Config,
        store: Arc<dyn Store>,
        _registry: &mut Registry,
    ) -> Result<Publisher, PublishError> {
        Ok(Publisher { config, store })
    }

    /// Publishes until `stop` is set; then everything closed by that time is still delivered, within the grace time.
    pub fn run(self, stop: Arc<AtomicBool>) -> Result<(), PublishError> {
        let _ = (self.config, self.store, stop);
        Ok(())
    }
}
