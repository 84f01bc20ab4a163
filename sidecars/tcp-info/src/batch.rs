//! The batch that the sampler hands to the writer: everything that one poll found.

use groma_diag::{Record, SocketId};
use jiff::Timestamp;

use crate::record::{End, Polls};

/// A batch is sent when it has this much, so that the memory of a queue of batches is bounded.
pub(crate) const FULL_BYTES: usize = 1 << 20;
/// Batches between a sampler and the writer. When all are in use the sampler waits, and its polls come late.
pub(crate) const BATCHES: usize = 8;

/// One thing that a poll found.
#[derive(Debug)]
pub(crate) enum Entry {
    Open {
        slot: u32,
        cookie: u64,
        id: SocketId,
    },
    /// The body of a message, in the batch's bytes.
    Record {
        slot: u32,
        start: usize,
        end: usize,
    },
    Close {
        slot: u32,
        end: End,
    },
    /// The wall clock was set: times before and after belong into different files.
    ClockStep,
    /// All connections that exist have been shown, and those that were about to end have had time to.
    Settled,
}

/// The findings of one poll, or of a part of it. Reused.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Which sampler.
    pub(crate) source: usize,
    pub(crate) time: Timestamp,
    pub(crate) polls: Polls,
    pub(crate) entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(source: usize) -> Self {
        Self {
            source,
            time: Timestamp::UNIX_EPOCH,
            polls: Polls::default(),
            entries: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Empties it for the next poll.
    pub(crate) fn reset(&mut self, source: usize, time: Timestamp, polls: Polls) {
        (self.source, self.time, self.polls) = (source, time, polls);
        self.entries.clear();
        self.bytes.clear();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES
    }

    pub(crate) fn record(&mut self, slot: u32, body: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(body);
        let end = self.bytes.len();
        self.entries.push(Entry::Record { slot, start, end });
    }

    /// A body that [`Batch::record`] took.
    pub(crate) fn body(&self, start: usize, end: usize) -> Record<'_> {
        Record::parse(&self.bytes[start..end]).expect("the sampler puts in what it has parsed")
    }
}
