//! A blocking stage of the pipeline on its own thread.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use groma_service::{GaveUp, Lifecycle, RestartPolicy, supervise};
use tokio::sync::mpsc::UnboundedSender;

/// A stage that runs until it is asked to stop, and starts again after a failure.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts `stage`, which must return soon after its flag is set. When it has failed too often, `given_up` hears of it;
    /// the other stages go on.
    pub(crate) fn start<E: Display>(
        name: &'static str,
        lifecycle: &Lifecycle,
        given_up: UnboundedSender<GaveUp>,
        mut stage: impl FnMut(&Arc<AtomicBool>) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, lifecycle) = (Arc::clone(&stop), lifecycle.clone());
        let run = move || {
            let policy = RestartPolicy::default();
            let ended = supervise(name, &lifecycle, &flag, policy, || stage(&flag));
            if let Err(gave_up) = ended {
                // Nobody listens any more once the lab stops.
                let _ = given_up.send(gave_up);
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Asks the stage to stop and waits until it has finished its work.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Release);
        // The thread itself reports how its stage ended.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}
