//! The amount and age of the files that wait to be bundled, per datatype. The files themselves are in the directory of claimed
//! files, so that an archive that is down costs disk and no memory.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::civil::Date;

/// Files of one date that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) oldest: Instant,
    pub(crate) size_bytes: u64,
    /// Somebody asked not to wait.
    is_asked_for: bool,
}

/// When a batch becomes a bundle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) age: Duration,
    pub(crate) size_bytes: u64,
}

impl Batch {
    fn due(&self, limits: Limits, now: Instant) -> Instant {
        if self.is_asked_for || self.size_bytes >= limits.size_bytes {
            return now;
        }
        let due = self.oldest.checked_add(limits.age);
        due.unwrap_or(now + FOREVER)
    }
}

/// Stands for an age that no clock reaches.
const FOREVER: Duration = Duration::from_hours(365 * 24);

/// Shared by the picker, which adds, and the datatype's worker, which takes.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: BTreeMap<Date, Batch>,
    /// Since when the files wait that the worker has taken last.
    in_hand: Option<Instant>,
    /// The worker is done with the bundles of an earlier run and takes batches.
    has_begun: bool,
    /// Set when no more files will be added: the time after which the rest is left to the next start.
    deadline: Option<Instant>,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single assignment, so a panic elsewhere cannot leave it half done.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds files that are in the directory of claimed files. Adding them twice or late is harmless.
    pub(crate) fn add(&self, date: Date, size_bytes: u64, since: Instant) {
        let mut state = self.lock();
        let batch = state.batches.entry(date).or_insert(Batch {
            oldest: since,
            size_bytes: 0,
            is_asked_for: false,
        });
        batch.oldest = batch.oldest.min(since);
        batch.size_bytes += size_bytes;
        self.changed.notify_all();
    }

    /// Returns the rest of a batch to the backlog. A flush request for it stays valid.
    pub(crate) fn put_back(&self, date: Date, left: Batch) {
        let mut state = self.lock();
        let batch = state.batches.entry(date).or_insert(Batch {
            size_bytes: 0,
            ..left
        });
        *batch = Batch {
            oldest: batch.oldest.min(left.oldest),
            size_bytes: batch.size_bytes + left.size_bytes,
            is_asked_for: batch.is_asked_for || left.is_asked_for,
        };
        self.changed.notify_all();
    }

    /// Says that a file among the claimed ones is to be tried again later; at the end it is left to the next start, since
    /// trying at once would go on for as long as what hinders it.
    pub(crate) fn postpone(&self, date: Date) {
        let stopping = self.lock().deadline.is_some();
        if !stopping {
            self.add(date, 0, Instant::now());
        }
    }

    /// Makes all that waits due now.
    pub(crate) fn flush(&self) {
        for batch in self.lock().batches.values_mut() {
            batch.is_asked_for = true;
        }
        self.changed.notify_all();
    }

    /// How many dates wait.
    pub(crate) fn dates(&self) -> usize {
        self.lock().batches.len()
    }

    /// Whether nothing waits and the worker has nothing in hand.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.has_begun && state.batches.is_empty() && state.in_hand.is_none()
    }

    /// For how long the oldest file has been waiting, those included that the worker has in hand.
    pub(crate) fn oldest(&self) -> Duration {
        let state = self.lock();
        let waiting = state.batches.values().map(|batch| batch.oldest);
        waiting
            .chain(state.in_hand)
            .map(|since| since.elapsed())
            .max()
            .unwrap_or_default()
    }

    /// Ends the wait of the worker: everything is due now, and after `deadline` nothing is. The first deadline counts.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.lock().deadline.get_or_insert(deadline);
        self.changed.notify_all();
    }

    /// Waits for a batch that is due and takes it. The caller lists the claimed files after this returned, so that what
    /// is added meanwhile is seen by the listing or makes a new batch, or both. `None` at the end.
    pub(crate) fn take(&self, limits: Limits) -> Option<(Date, Batch)> {
        let mut state = self.lock();
        state.in_hand = None;
        state.has_begun = true;
        loop {
            let now = Instant::now();
            if state.deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            let stopping = state.deadline.is_some();
            let Some((date, at)) = state
                .batches
                .iter()
                .map(|(date, batch)| {
                    (
                        *date,
                        if stopping {
                            now
                        } else {
                            batch.due(limits, now)
                        },
                    )
                })
                .min_by_key(|(_, at)| *at)
            else {
                if stopping {
                    return None;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            if at <= now {
                let batch = state.batches.remove(&date)?;
                state.in_hand = Some(batch.oldest);
                return Some((date, batch));
            }
            state = self.wait_until(state, at);
        }
    }

    /// Waits, but not beyond the deadline. Answers whether there is any time left.
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            let until = state.deadline.map_or(until, |deadline| deadline.min(until));
            if now >= until {
                return true;
            }
            state = self.wait_until(state, until);
        }
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Instant,
    ) -> MutexGuard<'a, State> {
        let timeout = until.saturating_duration_since(Instant::now());
        self.changed
            .wait_timeout(state, timeout)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const LIMITS: Limits = Limits {
        age: HOUR,
        size_bytes: 100,
    };

    impl Backlog {
        fn is_due(&self, limits: Limits) -> bool {
            let now = Instant::now();
            let state = self.lock();
            state
                .batches
                .values()
                .any(|batch| batch.due(limits, now) <= now)
        }
    }

    fn day(day: i8) -> Date {
        Date::constant(2026, 1, day)
    }

    #[test]
    fn size_and_age_make_a_batch_due() {
        let backlog = Backlog::default();
        let now = Instant::now();
        backlog.add(day(1), 99, now);
        backlog.add(day(2), 60, now);
        backlog.add(day(2), 40, now);
        assert_eq!(backlog.take(LIMITS).unwrap().0, day(2));
        let old = Limits {
            age: Duration::ZERO,
            ..LIMITS
        };
        assert_eq!(backlog.take(old).unwrap().0, day(1));
        assert_eq!(backlog.dates(), 0);
    }

    #[test]
    fn a_flush_holds_for_what_waits_and_for_what_is_left_of_it() {
        let backlog = Backlog::default();
        backlog.add(day(1), 5, Instant::now());
        backlog.flush();
        // Five files in bundles of two, the first of which fails.
        for left in [5, 3, 1] {
            let (date, mut batch) = backlog.take(LIMITS).unwrap();
            batch.size_bytes = left;
            backlog.put_back(date, batch);
        }
        let (date, batch) = backlog.take(LIMITS).unwrap();
        assert_eq!((date, batch.size_bytes), (day(1), 1));
        // The flush request does not cover later files.
        backlog.add(day(1), 1, Instant::now());
        backlog.add(day(2), LIMITS.size_bytes, Instant::now());
        assert_eq!(backlog.take(LIMITS).unwrap().0, day(2));
        assert!(!backlog.is_due(LIMITS), "a new file was flushed");
        backlog.put_back(date, batch);
        assert!(backlog.is_due(LIMITS), "it waits beside a newer file");
    }

    #[test]
    fn stopping_makes_all_due_and_then_ends() {
        let backlog = Backlog::default();
        backlog.add(day(1), 1, Instant::now());
        backlog.add(day(2), 1, Instant::now());
        backlog.stop(Instant::now() + HOUR);
        assert!(backlog.take(LIMITS).is_some());
        assert!(backlog.take(LIMITS).is_some());
        assert_eq!(backlog.take(LIMITS), None);
    }

    #[test]
    fn after_the_deadline_nothing_is_due() {
        let backlog = Backlog::default();
        backlog.add(day(3), 1, Instant::now());
        backlog.stop(Instant::now());
        assert_eq!(backlog.take(LIMITS), None);
        assert!(!backlog.pause(HOUR));
    }
}
