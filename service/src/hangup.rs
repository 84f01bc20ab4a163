//! SIGHUP, which asks a service to read its files again.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

type Action = Arc<dyn Fn() + Send + Sync>;

/// Signals are a matter of the whole process, and so are these.
static ACTIONS: Mutex<Vec<Action>> = Mutex::new(Vec::new());

/// Runs `action` each time that the process gets SIGHUP from now on, after the actions added before it.
///
/// Actions run on a thread of their own and may block.
pub fn on_hangup(action: impl Fn() + Send + Sync + 'static) {
    actions().push(Arc::new(action));
    survive_hangups();
}

/// From the return of this function on, SIGHUP runs the actions instead of ending the process.
pub(crate) fn survive_hangups() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let (installed, is_installed) = mpsc::channel();
        let started = thread::Builder::new()
            .name("hangup".to_owned())
            .spawn(move || {
                if let Err(error) = listen(&installed) {
                    tracing::error!(%error, "cannot handle SIGHUP");
                }
            });
        match started {
            // The error of a thread that could not install its handler closes the channel too.
            Ok(_) => drop(is_installed.recv()),
            Err(error) => tracing::error!(%error, "cannot handle SIGHUP"),
        }
    });
}

fn listen(installed: &Sender<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut hangups = signal(SignalKind::hangup())?;
        // The caller waits for this.
        let _ = installed.send(());
        while hangups.recv().await.is_some() {
            let actions = actions().clone();
            tracing::info!(actions = actions.len(), "SIGHUP: reloading");
            for action in actions {
                action();
            }
        }
        Ok(())
    })
}

fn actions() -> std::sync::MutexGuard<'static, Vec<Action>> {
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}
