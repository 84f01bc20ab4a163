//! The thread that makes rows of connections that were not admitted.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use groma_disk::sync_dir;

use super::addresses::Addresses;
use super::elapsed::Reading;
use super::log::Log;
use super::refused::Refused;
use crate::admission::Unadmitted;
use crate::file::{Layout, create_private};
use crate::metrics::Metrics;

/// Connections between two syncs.
const BATCH: usize = 1000;
/// Rows in one file, some 1.5 MB; more are published at once.
const MOST_ROWS: usize = 10_000;
/// How long the thread waits for news, and before it tries again what failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How often addresses are looked at that may be due.
const SWEEP: Duration = Duration::from_mins(1);

/// The parts of a ledger.
pub(crate) struct LedgerSetup {
    pub(crate) layout: Layout,
    pub(crate) state_dir: PathBuf,
    pub(crate) settings: Unadmitted,
    pub(crate) metrics: Metrics,
}

/// See the module `unadmitted`.
pub(crate) struct Ledger {
    setup: LedgerSetup,
    log: Log,
    addresses: Addresses,
    swept: Instant,
}

impl Ledger {
    /// Opens log and store; addresses that are due are deleted when this returns.
    pub(crate) fn open(setup: LedgerSetup) -> io::Result<Self> {
        let dir = setup.state_dir.join("unadmitted");
        create_private(&dir)?;
        let log = Log::open(dir.join("log"), setup.layout.clone())?;
        let addresses = Addresses::open(dir.join("addresses"))?;
        Ok(Self {
            setup,
            log,
            addresses,
            swept: Instant::now(),
        })
    }

    /// Works until the sender of news is gone, then publishes all rows.
    pub(crate) fn run(mut self, news: &Receiver<()>) {
        let mut pending = true;
        loop {
            let ended = match news.recv_timeout(PAUSE) {
                Ok(()) => {
                    pending = true;
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if pending || ended {
                pending = !self.tried("make rows of unadmitted connections", Self::empty_queue);
            }
            if ended || self.is_due() {
                // After an error the next look at the queue tries again.
                pending |= !self.tried("publish rows of unadmitted connections", |ledger| {
                    ledger.log.publish()
                });
            }
            if self.swept.elapsed() >= SWEEP || ended {
                self.swept = Instant::now();
                self.tried("delete addresses that are due", |ledger| {
                    ledger.addresses.sweep(Reading::now())
                });
            }
            let waiting = self.log.len() as i64;
            self.setup.metrics.unadmitted_waiting.set(waiting);
            if ended {
                return;
            }
        }
    }

    fn tried(&mut self, what: &str, work: impl FnOnce(&mut Self) -> io::Result<()>) -> bool {
        let result = work(self);
        if let Err(error) = &result {
            self.setup.metrics.write_failures.inc();
            tracing::warn!(%error, "cannot {what}; trying again");
        }
        result.is_ok()
    }

    fn is_due(&self) -> bool {
        let since = self.log.since();
        since.is_some_and(|since| since.elapsed() >= self.setup.settings.batch_age)
    }

    fn empty_queue(&mut self) -> io::Result<()> {
        self.log.hand_over()?;
        while self.take_some()? {
            if self.log.len() >= MOST_ROWS {
                self.log.publish()?;
            }
        }
        Ok(())
    }

    /// Counts some of the connections in the queue; `false` when it is empty.
    fn take_some(&mut self) -> io::Result<bool> {
        let queue = self.setup.layout.unadmitted_dir();
        let (mut files, mut refused, mut lines) =
            (Vec::new(), Vec::<Refused>::new(), String::new());
        let mut empty = 0;
        for entry in fs::read_dir(&queue)?.take(BATCH) {
            let path = entry?.path();
            let read = match Refused::read(&path) {
                Ok(read) => read,
                Err(error) => {
                    self.setup.metrics.write_failures.inc();
                    tracing::warn!(file = %path.display(), %error, "cannot read what was recorded of an unadmitted connection");
                    continue;
                }
            };
            match read {
                Some(connection) => {
                    let is_new = !self.log.has(&connection.uuid)
                        && refused.iter().all(|other| other.uuid != connection.uuid);
                    if is_new {
                        lines.push_str(&connection.address());
                        refused.push(connection);
                    }
                }
                None => empty += 1,
            }
            files.push(path);
        }
        if files.is_empty() {
            return Ok(false);
        }
        // Addresses first: a connection that is counted has its address in the store. After a death between the two,
        // an address is there twice, which does no harm.
        self.addresses.append(&lines)?;
        let settings = &self.setup.settings;
        let unexplained = refused
            .iter()
            .filter(|one| one.bytes() > settings.most_bytes_at(one.local_port))
            .count();
        let counted = refused.len();
        self.log.append(refused)?;
        let metrics = &self.setup.metrics;
        metrics.unadmitted.inc_by(counted as u64);
        metrics.unexplained.inc_by(unexplained as u64);
        metrics.empty_leftovers.inc_by(empty);
        for path in files {
            fs::remove_file(path)?;
        }
        // Before the log goes, which knows that these are counted.
        sync_dir(&queue)?;
        Ok(true)
    }
}
