//! A blocking stage of the pipeline on a thread of its own.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A stage that runs until it is told to stop.
#[derive(Debug)]
pub(crate) struct Worker {
    name: &'static str,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts `stage`; it must return soon after its flag is set. A stage that
    /// fails says so in the log and leaves the others running.
    pub(crate) fn start<E: Display>(
        name: &'static str,
        stage: impl FnOnce(Arc<AtomicBool>) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = stage(flag) {
                tracing::error!(stage = name, %error, "stage failed; its input waits for the next start");
            }
        })?;
        Ok(Self { name, stop, thread })
    }

    /// Tells the stage to stop and waits until it has finished what it must.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let name = self.name;
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(
                stage = name,
                "stage panicked; its input waits for the next start"
            );
        }
    }
}
