//! The server of flow events, which also takes in the announcements of experiments.

use std::collections::HashMap;
use std::io::{self, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use groma_events::{Admission, Event, LINE_BYTES, read_line, with_address};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::metrics::Metrics;

/// Lines that wait for one listener, about 1 MB. A listener that falls behind further is dropped.
const QUEUE: usize = 4096;
const MOST_LISTENERS: usize = 64;
/// Writing to the socket is the right to connect and to announce: the user of this process has it, and its group.
const SOCKET_MODE: u32 = 0o660;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

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
    announcements: SyncSender<Admission>,
}

#[derive(Default)]
struct State {
    listeners: Vec<Listener>,
    /// The open events of live flows by UUID, and their admissions; kept only for replay.
    live: HashMap<String, Vec<Arc<str>>>,
}

struct Listener {
    queue: SyncSender<Arc<str>>,
    stream: UnixStream,
}

impl EventServer {
    /// Listens at `path`, in place of a socket that a dead server left. With `replay`, new listeners first hear the
    /// open events of all flows that live.
    ///
    /// The announcements of experiments go to `announcements`; while it is full, their connections wait.
    ///
    /// Errors: `AddrInUse` when a server listens there; what bind(2) says.
    pub(crate) fn start(
        path: &Path,
        replay: bool,
        metrics: Metrics,
        announcements: SyncSender<Admission>,
    ) -> io::Result<Self> {
        if connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen_at(path)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            metrics,
            replay,
            stop: AtomicBool::new(false),
            announcements,
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

    /// Keeps an open event for replay without sending it: an earlier life has sent it.
    pub(crate) fn remember(&self, event: &Event) {
        let line = event.to_line().into();
        self.shared.note(&mut self.shared.lock(), event, &line);
    }
}

impl Drop for EventServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a listener.
        let _ = connect(&self.path);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        // The queues end with their senders; each listener's thread writes what it has and closes.
        for listener in self.shared.lock().listeners.drain(..) {
            // Ends the thread that reads from it.
            let _ = listener.stream.shutdown(Shutdown::Read);
        }
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
            Event::Open { uuid, .. } => {
                state.live.insert(uuid.to_string(), vec![line.clone()]);
            }
            Event::Close { uuid, .. } => {
                state.live.remove(uuid.as_str());
            }
            Event::Admission(admission) => {
                if let Some(lines) = state.live.get_mut(admission.uuid.as_str()) {
                    lines.push(line.clone());
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let mut state = self.lock();
        if state.listeners.len() >= MOST_LISTENERS {
            self.metrics.listeners_refused.inc();
            return Ok(());
        }
        // Under the lock, so that between these lines and the first of the queue nothing is missing or doubled.
        let first: Vec<Arc<str>> = state.live.values().flatten().cloned().collect();
        let (queue, lines) = sync_channel(QUEUE);
        let writing = stream.try_clone()?;
        std::thread::Builder::new()
            .name("tcpinfo-listener".to_owned())
            .spawn(move || {
                // The listener is gone or was dropped; publish() notices by the closed queue.
                let _ = serve(writing, first, &lines);
            })?;
        let (reading, shared) = (stream.try_clone()?, self.clone());
        std::thread::Builder::new()
            .name("tcpinfo-announced".to_owned())
            .spawn(move || shared.take_announcements(reading))?;
        state.listeners.push(Listener { queue, stream });
        self.metrics.listeners.set(state.listeners.len() as i64);
        Ok(())
    }
}

impl Shared {
    /// Reads what a listener writes: admissions, or nothing.
    fn take_announcements(&self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(read_line(&mut stream, &mut line), Ok(true)) {
            match Event::parse(&line) {
                Ok(Event::Admission(admission)) => {
                    if self.announcements.send(admission).is_err() {
                        return;
                    }
                }
                Ok(_) => self.malformed("only admissions are announced"),
                Err(error) => self.malformed(&error.to_string()),
            }
            line.clear();
            line.shrink_to(LINE_BYTES);
        }
    }

    fn malformed(&self, reason: &str) {
        self.metrics.admissions_malformed.inc();
        tracing::warn!(reason, "skipped a line of an announcer");
    }
}

/// Binds and listens. The mode is set before anybody can connect, and does not depend on the umask.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let socket = stream_socket()?;
    with_address(path, |address| Ok(bind(&socket, address)?))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = stream_socket()?;
    with_address(path, |address| Ok(rustix::net::connect(&socket, address)?))?;
    Ok(socket.into())
}

fn stream_socket() -> io::Result<std::os::fd::OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
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
        let (sender, _receiver) = sync_channel(1);
        let path = dir.path().join("s");
        let server = EventServer::start(&path, replay, metrics, sender).unwrap();
        (dir, server)
    }

    #[test]
    fn announcements_are_taken_in_and_anything_else_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let (sender, announced) = sync_channel(1);
        let path = dir.path().join("s");
        let server = EventServer::start(&path, false, metrics, sender).unwrap();
        let admission = |cookie: u64| Admission {
            timestamp: "2026-11-22T00:00:00Z".parse().unwrap(),
            uuid: format!("a_1_{cookie:016X}").parse().unwrap(),
            test_id: format!("a_1_{cookie:016X}").parse().unwrap(),
            policy_version: "2".to_owned(),
        };
        let mut announcer = UnixStream::connect(&path).unwrap();
        let close = Event::Close {
            timestamp: "2026-11-22T00:00:00Z".parse().unwrap(),
            uuid: "a_1_0000000000000001".parse().unwrap(),
        };
        for line in [
            "x\n",
            "{}\n",
            &close.to_line(),
            &"y".repeat(3 * LINE_BYTES),
            "\n",
        ] {
            announcer.write_all(line.as_bytes()).unwrap();
        }
        for cookie in 1..=10 {
            let line = Event::Admission(admission(cookie)).to_line();
            announcer.write_all(line.as_bytes()).unwrap();
        }
        for cookie in 1..=10 {
            assert_eq!(announced.recv().unwrap(), admission(cookie));
        }
        assert_eq!(server.shared.metrics.admissions_malformed.get(), 4);
        // Half a line is not an announcement.
        announcer.write_all(b"{\"Event\":2").unwrap();
        drop(announcer);
        drop(server);
        assert!(announced.recv().is_err());
    }

    #[test]
    fn only_the_user_and_the_group_of_the_recorder_may_connect() {
        let (dir, _server) = server(false);
        let mode = std::fs::metadata(dir.path().join("s"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
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
        let start = |path: &Path| {
            let (sender, _receiver) = sync_channel(1);
            EventServer::start(path, false, server.shared.metrics.clone(), sender)
        };
        assert_eq!(
            start(&server.path).err().unwrap().kind(),
            io::ErrorKind::AddrInUse
        );
        let dead = dir.path().join("dead");
        drop(UnixListener::bind(&dead).unwrap());
        start(&dead).unwrap();
    }
}
