//! A listener that outlives its server.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::{Event, EventError, LINE_BYTES, with_address};

/// How long a blocking step may keep the listener from seeing that it shall stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// The pauses between attempts to connect: each twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause, and the one after every connection that worked.
    pub shortest: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Self {
        Self {
            shortest: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        }
    }
}

/// A report to a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The server is there. Earlier flows are not reported, unless the server replays.
    Connected,
    /// Something happened to a connection.
    Event(Event),
    /// The server is gone; the client is trying again. Events until the next [`Notice::Connected`] are lost.
    Lost,
}

/// Counts of connections, and of lines that a listener could not use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections made.
    pub connections: u64,
    /// Lines that are not an event.
    pub malformed: u64,
    /// Events of numbers that we do not know.
    pub unknown: u64,
}

/// A listener at an event socket. It never gives up and never ends the process.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    backoff: Backoff,
    pause: Duration,
    stream: Option<BufReader<UnixStream>>,
    line: Vec<u8>,
    counts: Counts,
}

impl Client {
    /// A listener at the socket `path`, which need not exist yet. Setting `stop` ends it.
    pub fn new(path: impl Into<PathBuf>, backoff: Backoff, stop: Arc<AtomicBool>) -> Self {
        Self {
            path: path.into(),
            stop,
            backoff,
            pause: backoff.shortest,
            stream: None,
            line: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Waits for what comes next; `None` once `stop` is set.
    pub fn next_notice(&mut self) -> Option<Notice> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(stream) = &mut self.stream else {
                if self.connect() {
                    return Some(Notice::Connected);
                }
                continue;
            };
            match read_line(stream, &mut self.line) {
                Ok(true) => {
                    let event = self.take_line();
                    if event.is_some() {
                        return event.map(Notice::Event);
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Ok(false) | Err(_) => {
                    self.stream = None;
                    self.line.clear();
                    return Some(Notice::Lost);
                }
            }
        }
        None
    }

    fn connect(&mut self) -> bool {
        match connect(&self.path) {
            Ok(stream) => {
                self.stream = Some(BufReader::new(stream));
                self.pause = self.backoff.shortest;
                self.counts.connections += 1;
                true
            }
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "no event server");
                self.wait(self.pause);
                self.pause = (self.pause * 2).min(self.backoff.longest);
                false
            }
        }
    }

    fn wait(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.stop.load(Ordering::Relaxed) {
            let step = left.min(PATIENCE);
            std::thread::sleep(step);
            left -= step;
        }
    }

    fn take_line(&mut self) -> Option<Event> {
        let parsed = Event::parse(&self.line);
        self.line.clear();
        match parsed {
            Ok(event) => return Some(event),
            Err(EventError::Unknown(number)) => {
                self.counts.unknown += 1;
                tracing::warn!(number, "skipped an unknown event");
            }
            Err(error) => {
                self.counts.malformed += 1;
                tracing::warn!(%error, "skipped a line that is no event");
            }
        }
        None
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    with_address(path, |address| Ok(rustix::net::connect(&socket, address)?))?;
    let stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Adds to `line` until the line is complete (`true`) or the stream ends (`false`).
///
/// After a timeout, `line` keeps what came so far and the next call goes on. A line of more than [`LINE_BYTES`] keeps
/// only its beginning, which makes it malformed.
pub fn read_line(stream: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let buffer = stream.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        let room = LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..used.min(room)]);
        stream.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}
