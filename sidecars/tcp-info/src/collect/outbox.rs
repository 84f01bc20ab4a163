//! Batches on their way to the writer.

use std::sync::mpsc::{Receiver, SyncSender};

use jiff::Timestamp;

use crate::batch::{Batch, Entry};
use crate::record::Polls;

/// Gathers the findings of a poll. When the writer is behind it waits for it, and the polls come late; when the writer
/// is gone the findings go nowhere.
pub(crate) struct Outbox {
    source: usize,
    batches: SyncSender<Batch>,
    empty: Receiver<Batch>,
    batch: Option<Batch>,
    time: Timestamp,
    polls: Polls,
}

impl Outbox {
    pub(crate) fn new(source: usize, batches: SyncSender<Batch>, empty: Receiver<Batch>) -> Self {
        Self {
            source,
            batches,
            empty,
            batch: None,
            time: Timestamp::UNIX_EPOCH,
            polls: Polls::default(),
        }
    }

    /// Begins a poll. `false` when the writer is gone.
    pub(crate) fn begin(&mut self, time: Timestamp, polls: Polls) -> bool {
        (self.time, self.polls) = (time, polls);
        self.batch = self.take_empty();
        self.batch.is_some()
    }

    fn take_empty(&self) -> Option<Batch> {
        let mut batch = self.empty.recv().ok()?;
        batch.reset(self.source, self.time, self.polls);
        Some(batch)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(batch) = &mut self.batch {
            batch.entries.push(entry);
        }
    }

    pub(crate) fn record(&mut self, slot: u32, body: &[u8]) {
        if let Some(batch) = &mut self.batch {
            batch.record(slot, body);
            if batch.is_full() {
                self.send();
                self.batch = self.take_empty();
            }
        }
    }

    /// Ends a poll. `false` when the writer is gone.
    pub(crate) fn send(&mut self) -> bool {
        self.batch
            .take()
            .is_some_and(|batch| self.batches.send(batch).is_ok())
    }
}
