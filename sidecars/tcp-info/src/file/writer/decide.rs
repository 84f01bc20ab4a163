//! Admission: which files are published, and which become a row without address.

use std::time::Instant;

use groma_diag::Record;
use groma_events::{Admission as Announcement, Event};

use super::{Admission, Batch, Writer, admit_files, has_payload, send_news, write_journal};

/// The most announcements that are taken in between two batches.
const MOST_AT_ONCE: usize = 10_000;

impl Writer {
    /// Files of connections that ended in an earlier life get their grace from now on: the experiment announces again.
    pub(super) fn hold_ended(&mut self, now: Instant) {
        let (held, known) = (&mut self.setup.held, &self.setup.known);
        let ended: Vec<u64> = held
            .keys()
            .filter(|cookie| !known.contains_key(cookie))
            .copied()
            .collect();
        for cookie in ended {
            let names = held.remove(&cookie).unwrap_or_default();
            self.undecided.ended(cookie, names, now);
        }
    }

    /// Takes in announcements, and gives up connections whose grace is over.
    pub(super) fn decide(&mut self, now: Instant) {
        for _ in 0..MOST_AT_ONCE {
            let Ok(announcement) = self.setup.announcements.try_recv() else {
                break;
            };
            self.announced(announcement, now);
        }
        if !self.told.is_empty() {
            self.tell();
        }
        self.refuse_due(now, false);
        self.setup
            .metrics
            .undecided
            .set(self.undecided.len() as i64);
    }

    fn announced(&mut self, announcement: Announcement, now: Instant) {
        let cookie = announcement.uuid.cookie();
        let ours = cookie.filter(|cookie| self.setup.prefix.uuid(*cookie) == announcement.uuid);
        let Some(cookie) = ours else {
            self.setup.metrics.admissions_foreign.inc();
            tracing::error!(
                uuid = %announcement.uuid,
                prefix = self.setup.prefix.as_str(),
                "an admitted test has another UUID prefix than the recorder: give both processes the same --uuid-prefix-file"
            );
            return;
        };
        self.setup.metrics.admissions.inc();
        let is_new = if let Some((source, slot)) = self.places.get(&cookie).copied() {
            self.admit(source, slot)
        } else if let Some(names) = self.undecided.admit(cookie) {
            self.admit_ended(cookie, names, now);
            true
        } else {
            self.undecided.announced(cookie, now)
        };
        if is_new {
            self.told.push(Event::Admission(announcement));
        }
    }

    /// Admits a connection that is open. `false` when it was admitted before.
    pub(super) fn admit(&mut self, source: usize, slot: usize) -> bool {
        let Some(output) = &mut self.outputs[source][slot] else {
            return false;
        };
        if output.is_admitted() {
            return false;
        }
        self.setup.journal.admit(output.cookie);
        // The journal first: files that a death leaves in the wrong folder are then found by it.
        if output.has_files() {
            write_journal(&mut self.setup);
        }
        admit_files(output, &mut self.setup);
        self.setup.metrics.admitted.inc();
        true
    }

    /// Admits a connection that has ended.
    fn admit_ended(&mut self, cookie: u64, names: Vec<String>, now: Instant) {
        self.setup.journal.admit_ended(cookie);
        write_journal(&mut self.setup);
        if let Err(error) = self.setup.layout.admit(&names) {
            self.setup.metrics.write_failures.inc();
            tracing::warn!(cookie, %error, "cannot move the files of an admitted connection; trying again");
            self.undecided.ended(cookie, names, now);
            return;
        }
        self.setup.journal.moved(cookie);
        self.setup.metrics.admitted.inc();
        send_news(&self.setup.news);
    }

    /// Admits a connection by the first payload of its client, where that is the rule.
    pub(super) fn admit_by_payload(&mut self, batch: &Batch, slot: usize, record: Record<'_>) {
        let Admission::FirstPayload { policy_version } = &self.setup.admission else {
            return;
        };
        let Some(output) = &self.outputs[batch.source][slot] else {
            return;
        };
        if output.is_admitted() || !has_payload(record) {
            return;
        }
        self.told.push(Event::Admission(Announcement {
            timestamp: batch.time,
            uuid: output.uuid.clone(),
            test_id: output.uuid.clone(),
            policy_version: policy_version.clone(),
        }));
        self.admit(batch.source, slot);
    }

    /// Gives up connections whose grace is over; with `all`, every one that has ended.
    pub(super) fn refuse_due(&mut self, now: Instant, all: bool) {
        let mut due = Vec::new();
        while let Some(refused) = self.undecided.next_refused(now, all) {
            due.push(refused);
        }
        if due.is_empty() {
            return;
        }
        for (cookie, names) in due {
            if self.setup.journal.is_admitted(cookie) {
                // Its files could not be moved before.
                self.admit_ended(cookie, names, now);
            } else if let Err(error) = self.setup.layout.refuse(&names) {
                self.setup.metrics.write_failures.inc();
                tracing::warn!(cookie, %error, "cannot give up the files of an unadmitted connection; trying again");
                self.undecided.ended(cookie, names, now);
            }
        }
        send_news(&self.setup.refusals);
    }
}
