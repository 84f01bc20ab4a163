//! The thread that keeps a connection to the server and writes the announcements.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::Shared;
use crate::{Backoff, with_address};

/// The recorder decides a few seconds after a connection closed, so a lost server is looked for often.
const BACKOFF: Backoff = Backoff {
    shortest: Duration::from_millis(50),
    longest: Duration::from_secs(1),
};
/// How often old announcements are forgotten while nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// How long the end waits for a server that does not read.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much is handed to the socket at a time.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Link {
    path: PathBuf,
    shared: Arc<Shared>,
    woken: UnixStream,
    /// When the thread was first seen to have to stop.
    stopping: Option<Instant>,
}

/// Announcements on their way into one connection.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// The number after the last announcement in `bytes`.
    next: u64,
}

impl Link {
    pub(super) fn new(path: PathBuf, shared: Arc<Shared>, woken: UnixStream) -> Self {
        Self {
            path,
            shared,
            woken,
            stopping: None,
        }
    }

    /// Connects and announces until the announcer is dropped.
    pub(super) fn run(mut self) {
        let mut pause = BACKOFF.shortest;
        while !self.is_over() {
            match self.open() {
                Ok(stream) => {
                    pause = BACKOFF.shortest;
                    self.shared.connected.store(true, Ordering::Relaxed);
                    tracing::info!(path = %self.path.display(), "announcing admitted tests");
                    let ended = self.announce(stream);
                    self.shared.connected.store(false, Ordering::Relaxed);
                    match ended {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(path = %self.path.display(), %error, "lost the event server; connecting again");
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(path = %self.path.display(), %error, "cannot connect to the event server");
                    pause = (pause * 2).min(BACKOFF.longest);
                }
            }
            self.shared.list().expire(Instant::now());
            self.sleep(pause);
        }
    }

    /// Without a server there is nothing to wait for.
    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Connects without waiting for a server that is busy.
    fn open(&self) -> io::Result<UnixStream> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        with_address(&self.path, |address| Ok(connect(&socket, address)?))?;
        Ok(socket.into())
    }

    /// Sends every announcement, first those that an earlier connection had. `Ok` when the thread shall end.
    fn announce(&mut self, mut stream: UnixStream) -> io::Result<()> {
        let mut outgoing = Outgoing::default();
        loop {
            self.fill(&mut outgoing);
            let is_done = outgoing.bytes.is_empty();
            if self.shared.stop.load(Ordering::Relaxed) {
                let since = *self.stopping.get_or_insert_with(Instant::now);
                if is_done || since.elapsed() >= LAST_WORDS {
                    return Ok(());
                }
            }
            let wait = if self.stopping.is_some() {
                LAST_WORDS
            } else {
                IDLE
            };
            let mut interest = PollFlags::IN;
            if !is_done {
                interest |= PollFlags::OUT;
            }
            let ready = self.wait(&stream, interest, wait)?;
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                discard(&mut stream)?;
            }
            if ready.contains(PollFlags::OUT) {
                self.write(&mut stream, &mut outgoing)?;
            }
            self.shared.list().expire(Instant::now());
        }
    }

    fn fill(&self, outgoing: &mut Outgoing) {
        if !outgoing.bytes.is_empty() {
            return;
        }
        let list = self.shared.list();
        while let Some((number, line)) = list.from(outgoing.next) {
            outgoing.bytes.extend_from_slice(line.as_bytes());
            outgoing.next = number + 1;
            if outgoing.bytes.len() >= BUFFER_BYTES {
                break;
            }
        }
    }

    fn write(&self, stream: &mut UnixStream, outgoing: &mut Outgoing) -> io::Result<()> {
        match stream.write(&outgoing.bytes[outgoing.written..]) {
            Ok(count) => outgoing.written += count,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        if outgoing.written == outgoing.bytes.len() {
            outgoing.bytes.clear();
            outgoing.written = 0;
            self.shared.list().sent(outgoing.next);
        }
        Ok(())
    }

    /// Waits for the stream or for a call of the announcer; returns what the stream is ready for.
    fn wait(
        &mut self,
        stream: &UnixStream,
        interest: PollFlags,
        wait: Duration,
    ) -> io::Result<PollFlags> {
        let mut fds = [
            PollFd::from_borrowed_fd(stream.as_fd(), interest),
            PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN),
        ];
        poll_for(&mut fds, wait)?;
        let (ready, woken) = (fds[0].revents(), !fds[1].revents().is_empty());
        if woken {
            drain(&mut self.woken);
        }
        Ok(ready)
    }

    /// Sleeps, but not once the thread shall end.
    fn sleep(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let mut fds = [PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
            if poll_for(&mut fds, left).is_err() {
                std::thread::sleep(left);
            }
            drain(&mut self.woken);
        }
    }
}

fn poll_for(fds: &mut [PollFd<'_>], wait: Duration) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads and discards the server's events; the end of the stream is an error.
fn discard(stream: &mut UnixStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn drain(stream: &mut UnixStream) {
    let mut buffer = [0; 256];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
