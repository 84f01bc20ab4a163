//! Signals that end a process.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::hangup::survive_hangups;

/// The name of the first signal of this process.
type First = Option<&'static str>;

/// Installs the handlers of SIGINT, SIGTERM and SIGHUP, once per process, and returns when they are in place.
///
/// Until the first call, the kernel's default applies, which ends the process. Services call this before they report that they
/// are ready; a signal that comes before [`until_signal`] is not lost.
pub fn install_signal_handlers() {
    first_signal();
}

/// Waits for SIGINT or SIGTERM and returns its name. SIGHUP does not end the process; see [`on_hangup`](crate::on_hangup).
///
/// The first signal asks for a graceful end, so the caller drains. A second one of either
/// kind, at any later time, ends the process at once with code 130 (SIGINT) or 143
/// (SIGTERM), even when the caller's runtime is stuck or gone, because a separate thread
/// listens.
///
/// When the handlers cannot be installed it logs why and never returns; signals then
/// keep the kernel's default, which ends the process.
pub async fn until_signal() -> &'static str {
    let mut first = first_signal().clone();
    let name = first
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|name| *name);
    match name {
        Some(name) => name,
        None => std::future::pending().await,
    }
}

fn first_signal() -> &'static watch::Receiver<First> {
    static FIRST: OnceLock<watch::Receiver<First>> = OnceLock::new();
    FIRST.get_or_init(|| {
        survive_hangups();
        let (first, received) = watch::channel(None);
        let (installed, is_installed) = mpsc::channel();
        let listener = thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Err(source) = listen(&first, &installed) {
                    tracing::error!(%source, "cannot install the signal handlers");
                }
            });
        match listener {
            // A thread that could not install its handlers closes the channel too.
            Ok(_) => drop(is_installed.recv()),
            Err(source) => {
                tracing::error!(%source, "cannot start the thread that waits for signals");
            }
        }
        received
    })
}

fn listen(first: &watch::Sender<First>, installed: &Sender<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // The caller waits for this.
        let _ = installed.send(());
        let (name, _) = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = name, "ending; a second signal ends at once");
        first.send_replace(Some(name));
        let (name, code) = next(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal = name, "second signal: ending at once");
        std::process::exit(code)
    })
}

/// The name of the signal and the exit code by which shells report it (128 + number).
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 130),
        _ = terminate.recv() => ("SIGTERM", 143),
    }
}
