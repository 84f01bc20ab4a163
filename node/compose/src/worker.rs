//! A blocking stage on its own thread.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use groma_service::{GaveUp, Lifecycle, RestartPolicy, supervise};
use tokio::sync::mpsc::UnboundedSender;

/// A stage that runs until it is asked to stop, and starts again after a failure.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts `stage`, which must return soon after its flag is set. After too many failures the reason is sent to
    /// `given_up`, and the other stages continue.
    pub fn start<E: Display>(
        name: &str,
        lifecycle: &Lifecycle,
        given_up: UnboundedSender<GaveUp>,
        policy: RestartPolicy,
        mut stage: impl FnMut(&Arc<AtomicBool>) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, lifecycle, name) = (Arc::clone(&stop), lifecycle.clone(), name.to_owned());
        let thread_name = name.clone();
        let run = move || {
            let ended = supervise(&name, &lifecycle, &flag, policy, || stage(&flag));
            if let Err(gave_up) = ended {
                // The receiver is gone once the process stops.
                let _ = given_up.send(gave_up);
            }
        };
        let thread = thread::Builder::new().name(thread_name).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Asks the stage to stop and waits until it has finished its work.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Release);
        // The thread itself reports how its stage ended.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}
