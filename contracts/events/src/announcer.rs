//! The experiment's side: announces which connections belong to admitted tests.

mod link;
mod list;

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::{Admission, Event};
use link::Link;
use list::List;

/// Announces admissions at an event socket from a thread of its own.
///
/// [`announce`](Announcer::announce) never waits for the socket. The socket does not need to exist yet. After every
/// connect the announcer sends all running tests again, and those that ended in the last minutes, so that a recorder
/// that was restarted learns of them. The server ignores repetitions.
///
/// Dropping the announcer sends what is left, for a second at most, and ends the thread.
#[derive(Debug)]
pub struct Announcer {
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    list: Mutex<List>,
    stop: AtomicBool,
    connected: AtomicBool,
}

impl Shared {
    /// Every step on the list leaves it whole, so a panic elsewhere does no harm to it.
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An announced connection. Dropping it says that its test has ended.
#[derive(Debug)]
#[must_use = "dropping it says that the test has ended"]
pub struct Announced {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.shared.list().end(self.number, Instant::now());
    }
}

impl Announcer {
    /// Starts to announce at the socket `path`. An error means that a thread or a socket pair could not be made.
    pub fn start(path: impl Into<PathBuf>) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            list: Mutex::default(),
            stop: AtomicBool::new(false),
            connected: AtomicBool::new(false),
        });
        let link = Link::new(path.into(), shared.clone(), woken);
        let thread = std::thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || link.run())?;
        Ok(Self {
            shared,
            wake,
            thread: Some(thread),
        })
    }

    /// Announces a connection. Never blocks.
    pub fn announce(&self, admission: Admission) -> Announced {
        let line = Event::Admission(admission).to_line();
        let number = self.shared.list().add(line);
        self.wake();
        Announced {
            shared: self.shared.clone(),
            number,
        }
    }

    /// Whether a server is connected now.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Announcements that were dropped before they were sent, because too many waited for a server.
    pub fn dropped(&self) -> u64 {
        self.shared.list().dropped()
    }

    fn wake(&self) {
        // A full pipe has already woken the thread.
        let _ = (&self.wake).write(&[1]);
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the announcer's thread panicked");
        }
    }
}
