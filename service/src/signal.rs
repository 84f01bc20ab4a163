//! Signals that end a process.

use std::io;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Waits for SIGINT or SIGTERM and returns its name. SIGHUP does not end the process any more; see
/// [`on_hangup`](crate::on_hangup).
///
/// The first signal asks for a graceful end, so the caller drains. A second one of either
/// kind, at any later time, ends the process at once with code 130 (SIGINT) or 143
/// (SIGTERM), even when the caller's runtime is stuck or gone, because a separate thread
/// listens. Until the first call the default of the kernel applies. Call it once.
///
/// When the handlers cannot be installed it logs why and never returns; signals then
/// keep the kernel's default, which ends the process.
pub async fn until_signal() -> &'static str {
    crate::hangup::survive_hangups();
    let (first, received) = oneshot::channel();
    let listener = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Err(source) = listen(first) {
                tracing::error!(%source, "install signal handlers");
            }
        });
    if let Err(source) = listener {
        tracing::error!(%source, "start the thread that waits for signals");
    }
    match received.await {
        Ok(name) => name,
        Err(_) => std::future::pending().await,
    }
}

fn listen(first: oneshot::Sender<&'static str>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (name, _) = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = name, "ending; a second signal ends at once");
        // Nobody listens any more when the caller gave up waiting; the second signal still counts.
        let _ = first.send(name);
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
