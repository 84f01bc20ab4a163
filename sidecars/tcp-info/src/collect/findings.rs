//! Interprets the kernel's answers: connections that open, change and close.

use groma_diag::{Record, kind};

use super::outbox::Outbox;
use crate::batch::Entry;
use crate::flow::Table;
use crate::metrics::Metrics;
use crate::record::End;
use crate::scope::Scope;

/// A socket that left the kernel's tables but was not destroyed belongs to a process that has not closed it. Its final
/// message may be late. After this number of polls without one, about a second, the connection counts as gone.
pub(crate) const LOOKS_UNTIL_VANISHED: u32 = 100;
/// When last words were lost there is none to wait for; two looks exclude that a socket was between two tables.
const LOOKS_AFTER_OVERRUN: u32 = 2;
/// Vanished connections whose last word is still ignored when it comes.
const VANISHED: usize = 4096;
/// Offsets in `tcp_info` of counters that only grow: bytes acknowledged, bytes received, segments out and in.
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const SEGS_OUT: usize = 136;
const SEGS_IN: usize = 140;
const BYTES_SENT: usize = 200;

/// The connections of one namespace as they are known now.
pub(crate) struct Findings {
    pub(crate) table: Table,
    pub(crate) outbox: Outbox,
    scope: Scope,
    metrics: Metrics,
    /// Cookies of vanished connections, the oldest overwritten first.
    vanished: Vec<u64>,
    next_vanished: usize,
    /// Last words were lost since the last complete look at everything.
    deaf: bool,
    unseen: Vec<(u32, u32)>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Findings {
    pub(crate) fn new(scope: Scope, most_flows: usize, outbox: Outbox, metrics: Metrics) -> Self {
        Self {
            table: Table::new(most_flows),
            outbox,
            scope,
            metrics,
            vanished: Vec::with_capacity(VANISHED),
            next_vanished: 0,
            deaf: false,
            unseen: Vec::new(),
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// A poll found this socket.
    pub(crate) fn found(&mut self, record: Record<'_>) {
        if let Some(slot) = self.table.slot_of(record.cookie()) {
            self.table.mark_seen(slot);
            // After its final message, a socket in FIN-WAIT-2 or TIME-WAIT keeps its cookie but has no counters.
            if self.table.has_info(slot, record) || record.attribute(kind::INFO).is_some() {
                self.update(slot, record);
            }
        } else if record.attribute(kind::INFO).is_some()
            && self.scope.includes(record)
            && !self.vanished.contains(&record.cookie())
        {
            self.open(record);
        }
    }

    /// Takes in a message with counters about a known connection.
    fn update(&mut self, slot: u32, record: Record<'_>) {
        if !self.table.is_change(slot, record) {
            return;
        }
        let (sent_before, received_before) = traffic(self.table.flow(slot).info());
        self.table.replace(slot, record);
        let (sent, received) = traffic(self.table.flow(slot).info());
        self.sent_bytes += sent.saturating_sub(sent_before);
        self.received_bytes += received.saturating_sub(received_before);
        self.outbox.record(slot, record.body());
    }

    /// Adds a new connection if there is room. Bytes that it sent earlier do not count for this second.
    fn open(&mut self, record: Record<'_>) -> Option<u32> {
        let Some(slot) = self.table.insert(record) else {
            self.metrics.flows_refused.inc();
            return None;
        };
        let (cookie, id) = (record.cookie(), record.id());
        self.outbox.push(Entry::Open { slot, cookie, id });
        self.outbox.record(slot, record.body());
        Some(slot)
    }

    /// The kernel destroyed this socket.
    pub(crate) fn last_word(&mut self, record: Record<'_>) {
        let cookie = record.cookie();
        let Some(slot) = self.table.slot_of(cookie) else {
            return self.short_life(record);
        };
        let flow = self.table.flow(slot);
        let end = if lost_its_counters(flow.info(), record) {
            End::Aborted
        } else {
            self.update(slot, record);
            End::Closed
        };
        self.close(slot, end);
    }

    /// A connection that lived and died between two polls, or a socket that was none.
    fn short_life(&mut self, record: Record<'_>) {
        if let Some(place) = self
            .vanished
            .iter()
            .position(|cookie| *cookie == record.cookie())
        {
            self.vanished[place] = 0;
            return;
        }
        if !self.scope.includes(record) || record.attribute(kind::INFO).is_none() {
            return;
        }
        if let Some(slot) = self.open(record) {
            self.close(slot, End::Closed);
        }
    }

    /// A complete look at everything is over.
    pub(crate) fn miss_the_unseen(&mut self) {
        let mut unseen = std::mem::take(&mut self.unseen);
        self.table.end_look(&mut unseen);
        let patience = if self.deaf {
            LOOKS_AFTER_OVERRUN
        } else {
            LOOKS_UNTIL_VANISHED
        };
        for (slot, _) in unseen.iter().filter(|(_, looks)| *looks >= patience) {
            self.remember_vanished(self.table.flow(*slot).cookie);
            self.close(*slot, End::Vanished);
        }
        // When no connection is missing, every lost final message has been handled.
        self.deaf &= unseen.iter().any(|(_, looks)| *looks < patience);
        self.unseen = unseen;
    }

    /// The kernel dropped last words.
    pub(crate) fn went_deaf(&mut self) {
        self.deaf = true;
        self.metrics.overruns.inc();
    }

    fn close(&mut self, slot: u32, end: End) {
        self.table.remove(slot);
        self.outbox.push(Entry::Close { slot, end });
    }

    fn remember_vanished(&mut self, cookie: u64) {
        if self.vanished.len() < VANISHED {
            self.vanished.push(cookie);
        } else {
            self.vanished[self.next_vanished] = cookie;
            self.next_vanished = (self.next_vanished + 1) % VANISHED;
        }
    }
}

fn word(info: &[u8], at: usize) -> u32 {
    info.get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

fn long(info: &[u8], at: usize) -> u64 {
    info.get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

/// Bytes sent and received.
fn traffic(info: &[u8]) -> (u64, u64) {
    (long(info, BYTES_SENT), long(info, BYTES_RECEIVED))
}

/// Whether a last word has less in it than what was known: an abort sets the counters to zero (`tcp_disconnect`).
fn lost_its_counters(known: &[u8], last: Record<'_>) -> bool {
    let Some(last) = last.attribute(kind::INFO) else {
        return true;
    };
    [BYTES_ACKED, BYTES_RECEIVED]
        .iter()
        .any(|at| long(last, *at) < long(known, *at))
        || [SEGS_OUT, SEGS_IN]
            .iter()
            .any(|at| word(last, *at) < word(known, *at))
}
