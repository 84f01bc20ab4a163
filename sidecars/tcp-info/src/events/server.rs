//! The server of flow events.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use groma_events::Event;

use crate::metrics::Metrics;

/// Lines that wait for one listener, about 1 MB. A listener that falls behind further is dropped.
const QUEUE: usize = 4096;
const MOST_LISTENERS: usize = 64;

/// A listening event socket.
pub(crate) struct EventServer {
    shared: Arc<Shared>,
    path: PathBuf,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    metrics: Metrics,
    replay: bool,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    listeners: Vec<Listener>,
    /// The open events of live flows by UUID; kept only for replay.
    live: HashMap<String, Arc<str>>,
}

struct Listener {
    queue: SyncSender<Arc<str>>,
    stream: UnixStream,
}

impl EventServer {
    /// Listens at `path`, in place of a socket that a dead server left. With `replay`, new listeners first hear the
    /// open events of all flows that live.
    ///
    /// Errors: `AddrInUse` when a server listens there; what bind(2) says.
    pub(crate) fn start(path: &Path, replay: bool, metrics: Metrics) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            metrics,
            replay,
            stop: AtomicBool::new(false),
        });
        let accepting = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("tcpinfo-events".to_owned())
                .spawn(move || accept(&listener, &shared))?
        };
        Ok(Self {
            shared,
            path: path.to_owned(),
            accepting: Some(accepting),
        })
    }

    /// Tells all listeners. Never waits.
    pub(crate) fn publish(&self, event: &Event) {
        let line: Arc<str> = event.to_line().into();
        let mut state = self.shared.lock();
        self.shared.note(&mut state, event, &line);
        state
            .listeners
            .retain(|listener| match listener.queue.try_send(line.clone()) {
                Ok(()) => true,
                Err(error) => {
                    if matches!(error, TrySendError::Full(_)) {
                        self.shared.metrics.listeners_dropped.inc();
                        tracing::warn!("dropped an event listener that is too slow");
                    }
                    // Ends a write that waits for the listener.
                    let _ = listener.stream.shutdown(Shutdown::Both);
                    false
                }
            });
        self.shared
            .metrics
            .listeners
            .set(state.listeners.len() as i64);
    }

    /// Takes in an open event for replay without telling it: it was told by an earlier life.
    pub(crate) fn remember(&self, event: &Event) {
        let line = event.to_line().into();
        self.shared.note(&mut self.shared.lock(), event, &line);
    }
}

impl Drop for EventServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a listener.
        let _ = UnixStream::connect(&self.path);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        // The queues end with their senders; each listener's thread writes what it has and closes.
        self.shared.lock().listeners.clear();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    /// A panic while the lock was held leaves nothing half done: every step is one push or one insert.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, state: &mut State, event: &Event, line: &Arc<str>) {
        if !self.replay {
            return;
        }
        match event {
            Event::Open { uuid, .. } => state.live.insert(uuid.to_string(), line.clone()),
            Event::Close { uuid, .. } => state.live.remove(uuid.as_str()),
        };
    }

    fn admit(&self, stream: UnixStream) -> io::Result<()> {
        let mut state = self.lock();
        if state.listeners.len() >= MOST_LISTENERS {
            self.metrics.listeners_refused.inc();
            return Ok(());
        }
        // Under the lock, so that between these lines and the first of the queue nothing is missing or doubled.
        let first: Vec<Arc<str>> = state.live.values().cloned().collect();
        let (queue, lines) = sync_channel(QUEUE);
        let writing = stream.try_clone()?;
        std::thread::Builder::new()
            .name("tcpinfo-listener".to_owned())
            .spawn(move || {
                // The listener is gone or was dropped; publish() notices by the closed queue.
                let _ = serve(writing, first, &lines);
            })?;
        state.listeners.push(Listener { queue, stream });
        self.metrics.listeners.set(state.listeners.len() as i64);
        Ok(())
    }
}

fn accept(listener: &UnixListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = stream.and_then(|stream| shared.admit(stream)) {
            tracing::warn!(%error, "could not take in an event listener");
            // Most likely out of descriptors or threads; trying again at once would spin.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn serve(
    mut stream: UnixStream,
    first: Vec<Arc<str>>,
    lines: &Receiver<Arc<str>>,
) -> io::Result<()> {
    for line in first {
        stream.write_all(line.as_bytes())?;
    }
    while let Ok(line) = lines.recv() {
        stream.write_all(line.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;
    use std::io::{BufRead as _, BufReader};
    use std::sync::atomic::AtomicI64;

    fn open(cookie: i64) -> Event {
        Event::Open {
            timestamp: "2026-11-22T00:00:00Z".parse().unwrap(),
            uuid: format!("a_1_{cookie:016X}").parse().unwrap(),
            id: groma_events::FlowId {
                local_port: 443,
                remote_port: 1,
                local_ip: [192, 0, 2, 1].into(),
                remote_ip: [192, 0, 2, 2].into(),
                interface: 0,
                cookie,
            },
        }
    }

    fn server(replay: bool) -> (tempfile::TempDir, EventServer) {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let server = EventServer::start(&dir.path().join("s"), replay, metrics).unwrap();
        (dir, server)
    }

    fn listen(server: &EventServer) -> BufReader<UnixStream> {
        let before = server.shared.lock().listeners.len();
        let stream = UnixStream::connect(&server.path).unwrap();
        while server.shared.lock().listeners.len() == before {
            std::thread::yield_now();
        }
        BufReader::new(stream)
    }

    #[test]
    fn a_listener_that_never_reads_is_dropped_and_the_others_hear_everything() {
        let (_dir, server) = server(false);
        let deaf = listen(&server);
        let mut keen = listen(&server);
        let count = 50_000;
        let heard = Arc::new(AtomicI64::new(0));
        let reading = std::thread::spawn({
            let heard = heard.clone();
            move || {
                let mut line = String::new();
                (0..count).all(|cookie| {
                    line.clear();
                    keen.read_line(&mut line).unwrap();
                    heard.store(cookie, Ordering::Relaxed);
                    line == open(cookie).to_line()
                })
            }
        });
        for cookie in 0..count {
            server.publish(&open(cookie));
            // Never further ahead of the keen listener than half its queue.
            while cookie - heard.load(Ordering::Relaxed) > QUEUE as i64 / 2
                && !reading.is_finished()
            {
                std::thread::yield_now();
            }
        }
        assert!(reading.join().unwrap());
        assert_eq!(server.shared.metrics.listeners_dropped.get(), 1);
        drop(deaf);
    }

    #[test]
    fn late_listeners_hear_the_live_flows_first_if_asked_for() {
        for replay in [true, false] {
            let (_dir, server) = server(replay);
            server.publish(&open(1));
            server.publish(&open(2));
            let uuid = open(1).uuid().clone();
            let timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
            server.publish(&Event::Close { timestamp, uuid });
            let mut late = listen(&server);
            server.publish(&open(3));
            let mut line = String::new();
            late.read_line(&mut line).unwrap();
            let expected = if replay { open(2) } else { open(3) };
            assert_eq!(line, expected.to_line());
        }
    }

    #[test]
    fn a_dead_servers_socket_is_replaced_and_a_living_ones_is_not() {
        let (dir, server) = server(false);
        let start = || EventServer::start(&server.path, false, server.shared.metrics.clone());
        assert_eq!(start().err().unwrap().kind(), io::ErrorKind::AddrInUse);
        let dead = dir.path().join("dead");
        drop(UnixListener::bind(&dead).unwrap());
        EventServer::start(&dead, false, server.shared.metrics.clone()).unwrap();
    }
}
