//! The thread that turns batches into lines, files, journal entries and events, and decides which are published.

mod decide;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use groma_diag::SocketId;
use groma_events::{Admission as Announcement, Event, FlowId};
use groma_uuid::Prefix;
use jiff::Timestamp;

use super::journal::{Journal, Known};
use super::layout::{Held, Layout};
use super::output::{Frames, Output};
use super::undecided::Undecided;
use crate::admission::{Admission, has_payload};
use crate::batch::{Batch, Entry};
use crate::events::EventServer;
use crate::metrics::Metrics;
use crate::record::{Anonymize, End, Polls};

/// Every file is looked at once in this time: below the second that a crash may cost.
const ROUND: Duration = Duration::from_millis(900);
const PATIENCE: Duration = Duration::from_millis(50);

/// The parts of a writer.
pub(crate) struct WriterSetup {
    pub(crate) layout: Layout,
    pub(crate) journal: Journal,
    /// Connections of an earlier life, which go on or turn out to be gone.
    pub(crate) known: HashMap<u64, Known>,
    /// Their files, and those of ended ones, about which nothing is decided.
    pub(crate) held: Held,
    pub(crate) admission: Admission,
    /// How long after its end a connection may be announced.
    pub(crate) grace: Duration,
    pub(crate) announcements: Receiver<Announcement>,
    /// Set when no announcement will come any more.
    pub(crate) is_final: Arc<AtomicBool>,
    pub(crate) prefix: Prefix,
    pub(crate) anonymize: Anonymize,
    pub(crate) rotation: Duration,
    pub(crate) events: Option<EventServer>,
    pub(crate) metrics: Metrics,
    /// One per sampler: where its batches go back to.
    pub(crate) returns: Vec<SyncSender<Batch>>,
    /// Signals the finisher that there is work; a full channel has signalled it already.
    pub(crate) news: SyncSender<()>,
    /// The same for the thread that makes rows of what was not admitted.
    pub(crate) refusals: SyncSender<()>,
}

/// See the module.
pub(crate) struct Writer {
    setup: WriterSetup,
    frames: Frames,
    /// Per sampler, by slot.
    outputs: Vec<Vec<Option<Output>>>,
    /// Sampler and slot of every connection.
    places: HashMap<u64, (usize, usize)>,
    undecided: Undecided,
    polls: Vec<Polls>,
    /// Samplers that have not yet shown all that exists.
    unsettled: usize,
    /// Connections of the earlier life that were reported as closed. A last word that still comes does not open them again.
    gone: HashSet<u64>,
    told: Vec<Event>,
    round_began: Instant,
    round_done: usize,
    round_memory_bytes: usize,
}

impl Writer {
    pub(crate) fn new(setup: WriterSetup) -> io::Result<Self> {
        let samplers = setup.returns.len();
        // Nothing but payload admits a connection there, and a closed one gets no more of it.
        let grace = match setup.admission {
            Admission::FirstPayload { .. } => Duration::ZERO,
            Admission::Announced | Admission::Everything => setup.grace,
        };
        Ok(Self {
            frames: Frames::new()?,
            outputs: (0..samplers).map(|_| Vec::new()).collect(),
            places: HashMap::new(),
            undecided: Undecided::new(grace),
            polls: vec![Polls::default(); samplers],
            unsettled: samplers,
            gone: HashSet::new(),
            told: Vec::new(),
            round_began: Instant::now(),
            round_done: 0,
            round_memory_bytes: 0,
            setup,
        })
    }

    /// Works until all samplers are gone, then ends every file.
    pub(crate) fn run(mut self, batches: &Receiver<Batch>) {
        self.hold_ended(Instant::now());
        loop {
            match batches.recv_timeout(PATIENCE) {
                Ok(batch) => {
                    self.take(&batch);
                    // A sampler that ended takes nothing back.
                    let _ = self.setup.returns[batch.source].try_send(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            self.decide(now);
            self.look_after_files(now);
        }
        self.for_all_files(End::Stopped);
        self.decide(Instant::now());
        if self.setup.is_final.load(Ordering::Relaxed) {
            self.refuse_due(Instant::now(), true);
        }
        self.write_journal();
        self.set_totals();
    }

    fn take(&mut self, batch: &Batch) {
        self.polls[batch.source] = batch.polls;
        let now = Instant::now();
        for entry in &batch.entries {
            match entry {
                Entry::Open { slot, cookie, id } => self.open(batch, *slot, *cookie, id),
                Entry::Record { slot, start, end } => {
                    self.record(batch, *slot, (*start, *end), now);
                }
                Entry::Close { slot, end } => self.close(batch, *slot, *end),
                Entry::ClockStep => self.for_all_files(End::Rotated),
                Entry::Settled => self.settled(batch.time),
            }
        }
        self.tell();
        self.set_totals();
    }

    /// Sets the undecided first: a reader that sees a closed connection also sees that it is undecided.
    fn set_totals(&self) {
        let undecided = self.undecided.len() as i64;
        self.setup.metrics.undecided.set(undecided);
        self.setup.metrics.set_totals(self.setup.journal.totals());
    }

    /// Sends the events to the listeners, after the journal: a later life knows everything that a listener heard.
    fn tell(&mut self) {
        self.write_journal();
        if let Some(events) = &self.setup.events {
            for event in self.told.drain(..) {
                events.publish(&event);
            }
        }
        self.told.clear();
    }

    fn open(&mut self, batch: &Batch, slot: u32, cookie: u64, id: &SocketId) {
        let slot = slot as usize;
        let outputs = &mut self.outputs[batch.source];
        if outputs.len() <= slot {
            outputs.resize_with(slot + 1, || None);
        }
        if self.gone.contains(&cookie) {
            return;
        }
        let uuid = self.setup.prefix.uuid(cookie);
        let resumed = self.setup.known.remove(&cookie);
        let (start, sequence, admitted) = match resumed {
            Some(known) => (known.start, known.sequence + 1, known.admitted),
            None => (batch.time, 0, false),
        };
        let event = Event::Open {
            timestamp: batch.time,
            uuid: uuid.clone(),
            id: flow_id(id),
        };
        if resumed.is_some() {
            self.setup.metrics.flows_resumed.inc();
            if let Some(events) = &self.setup.events {
                events.remember(&event);
            }
        } else {
            self.setup.metrics.flows_opened.inc();
            self.told.push(event);
        }
        let mut output = Output::new(uuid, cookie, start, sequence, batch.polls, admitted);
        output.hold(self.setup.held.remove(&cookie).unwrap_or_default());
        self.outputs[batch.source][slot] = Some(output);
        self.places.insert(cookie, (batch.source, slot));
        let everything = self.setup.admission == Admission::Everything;
        if !admitted && (everything || self.undecided.was_announced(cookie)) {
            self.admit(batch.source, slot);
        }
    }

    fn record(&mut self, batch: &Batch, slot: u32, (start, end): (usize, usize), now: Instant) {
        let record = batch.body(start, end);
        self.admit_by_payload(batch, slot as usize, record);
        let Some(output) = &mut self.outputs[batch.source][slot as usize] else {
            return;
        };
        if let Some(sequence) = output.begins() {
            output.begin(batch.time, now, &self.setup.layout, &mut self.frames);
            let known = Known {
                sequence,
                start: output.start(),
                admitted: output.is_admitted(),
            };
            self.setup.journal.file(output.cookie, known);
            self.setup.metrics.files_begun.inc();
        }
        let anonymize = self.setup.anonymize;
        if output.record(batch.time, record, anonymize, &mut self.frames) {
            self.setup.metrics.snapshots.inc();
        } else {
            self.setup.metrics.records_lost.inc();
        }
        if output.wants_flush() {
            flush(output, &mut self.frames, &mut self.setup);
        }
    }

    fn close(&mut self, batch: &Batch, slot: u32, end: End) {
        let Some(mut output) = self.outputs[batch.source][slot as usize].take() else {
            return;
        };
        end_file(
            &mut output,
            end,
            &batch.polls,
            &mut self.frames,
            &mut self.setup,
        );
        self.places.remove(&output.cookie);
        self.setup.journal.close(output.cookie);
        self.setup.metrics.flows_closed.inc();
        if !output.is_admitted() {
            let held = output.take_held();
            self.undecided.ended(output.cookie, held, Instant::now());
        }
        self.told.push(Event::Close {
            timestamp: batch.time,
            uuid: output.uuid,
        });
    }

    /// Once every sampler has shown all that exists, connections of the earlier life that no sampler showed are gone.
    fn settled(&mut self, time: Timestamp) {
        self.unsettled -= 1;
        if self.unsettled > 0 {
            return;
        }
        for (cookie, known) in std::mem::take(&mut self.setup.known) {
            self.setup.journal.close(cookie);
            if !known.admitted {
                let held = self.setup.held.remove(&cookie).unwrap_or_default();
                self.undecided.ended(cookie, held, Instant::now());
            }
            self.setup.metrics.flows_closed.inc();
            self.told.push(Event::Close {
                timestamp: time,
                uuid: self.setup.prefix.uuid(cookie),
            });
            self.gone.insert(cookie);
        }
    }

    /// Flushes and rotates a share of the files that grows with the time since the round began.
    fn look_after_files(&mut self, now: Instant) {
        let all: usize = self.outputs.iter().map(Vec::len).sum();
        let elapsed = now.saturating_duration_since(self.round_began);
        let due = (all as u128 * elapsed.as_micros() / ROUND.as_micros()).min(all as u128) as usize;
        let mut before = 0;
        for (outputs, polls) in self.outputs.iter_mut().zip(&self.polls) {
            let from = self.round_done.saturating_sub(before).min(outputs.len());
            let to = due.saturating_sub(before).clamp(from, outputs.len());
            before += outputs.len();
            for output in outputs[from..to].iter_mut().flatten() {
                if output.has_stuck_files() {
                    admit_files(output, &mut self.setup);
                }
                let age = output
                    .began()
                    .map(|began| now.saturating_duration_since(began));
                if age.is_some_and(|age| age >= self.setup.rotation) {
                    end_file(
                        output,
                        End::Rotated,
                        polls,
                        &mut self.frames,
                        &mut self.setup,
                    );
                } else {
                    flush(output, &mut self.frames, &mut self.setup);
                }
                self.round_memory_bytes += output.memory_bytes();
            }
        }
        self.round_done = due;
        if elapsed >= ROUND {
            self.setup
                .metrics
                .memory_bytes
                .set(self.round_memory_bytes as i64);
            (self.round_began, self.round_done, self.round_memory_bytes) = (now, 0, 0);
        }
    }

    fn for_all_files(&mut self, end: End) {
        for (source, outputs) in self.outputs.iter_mut().enumerate() {
            for output in outputs.iter_mut().flatten() {
                end_file(
                    output,
                    end,
                    &self.polls[source],
                    &mut self.frames,
                    &mut self.setup,
                );
            }
        }
    }

    fn write_journal(&mut self) {
        write_journal(&mut self.setup);
    }
}

/// Hands pending lines to the kernel, after the journal, which must know the file before it exists.
fn flush(output: &mut Output, frames: &mut Frames, setup: &mut WriterSetup) {
    write_journal(setup);
    if let Err(error) = output.flush(frames) {
        setup.metrics.write_failures.inc();
        tracing::warn!(uuid = %output.uuid, %error, "could not write a file; its lines wait");
    }
}

fn end_file(
    output: &mut Output,
    end: End,
    polls: &Polls,
    frames: &mut Frames,
    setup: &mut WriterSetup,
) {
    write_journal(setup);
    match output.end(end, polls, &setup.layout, frames) {
        Ok(false) => {}
        Ok(true) => send_news(&setup.news),
        Err(error) => {
            setup.metrics.write_failures.inc();
            tracing::warn!(uuid = %output.uuid, %error, "could not end a file; its last lines are lost");
        }
    }
}

/// Moves the files of an admitted connection to where they are published from. After an error it is called again.
fn admit_files(output: &mut Output, setup: &mut WriterSetup) {
    match output.admit(&setup.layout) {
        Ok(false) => {}
        Ok(true) => send_news(&setup.news),
        Err(error) => {
            setup.metrics.write_failures.inc();
            tracing::warn!(uuid = %output.uuid, %error, "cannot move the files of an admitted connection; trying again");
        }
    }
}

fn send_news(news: &SyncSender<()>) {
    if let Err(TrySendError::Disconnected(())) = news.try_send(()) {
        tracing::error!("the thread that finishes files is gone");
    }
}

fn write_journal(setup: &mut WriterSetup) {
    if let Err(error) = setup.journal.write() {
        setup.metrics.write_failures.inc();
        tracing::warn!(%error, "could not write the journal; it will be written anew");
    }
}

fn flow_id(id: &SocketId) -> FlowId {
    FlowId {
        local_port: id.local_port,
        remote_port: id.remote_port,
        local_ip: id.local_ip,
        remote_ip: id.remote_ip,
        interface: id.interface,
        cookie: id.cookie,
    }
}

#[cfg(test)]
mod tests;
