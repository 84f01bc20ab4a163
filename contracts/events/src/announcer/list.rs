//! The announcements that a server may still need.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the announcement of an ended test is kept. The server may be restarted meanwhile.
const KEEP_ENDED: Duration = Duration::from_mins(10);
/// The most announcements that are kept, some 4 MB.
pub(super) const MOST: usize = 16_384;

/// Announcements by number, in the order of their coming.
#[derive(Debug, Default)]
pub(super) struct List {
    lines: BTreeMap<u64, Arc<str>>,
    /// Ended tests in the order of their ends.
    ended: VecDeque<(u64, Instant)>,
    next: u64,
    /// Announcements below this number were handed to a server.
    sent: u64,
    dropped: u64,
}

impl List {
    pub(super) fn add(&mut self, line: String) -> u64 {
        if self.lines.len() >= MOST {
            self.make_room();
        }
        let number = self.next;
        self.next += 1;
        self.lines.insert(number, line.into());
        number
    }

    /// Removes the test that ended first; without one, the oldest that is running.
    fn make_room(&mut self) {
        let first = self.ended.pop_front().map(|(number, _)| number);
        let Some(number) = first.or_else(|| self.lines.keys().next().copied()) else {
            return;
        };
        if self.lines.remove(&number).is_some() && number >= self.sent {
            self.dropped += 1;
        }
    }

    pub(super) fn end(&mut self, number: u64, now: Instant) {
        if self.lines.contains_key(&number) {
            self.ended.push_back((number, now));
        }
    }

    /// Forgets tests that ended long ago, if a server has heard of them.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((number, ended)) = self.ended.front().copied() {
            if now.saturating_duration_since(ended) < KEEP_ENDED || number >= self.sent {
                return;
            }
            self.ended.pop_front();
            self.lines.remove(&number);
        }
    }

    /// The first announcement from `number` on.
    pub(super) fn from(&self, number: u64) -> Option<(u64, Arc<str>)> {
        let (number, line) = self.lines.range(number..).next()?;
        Some((*number, line.clone()))
    }

    /// Everything below this number was handed to a server.
    pub(super) fn sent(&mut self, below: u64) {
        self.sent = self.sent.max(below);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_tests_are_kept_until_a_server_heard_of_them_and_some_minutes_passed() {
        let (mut list, start) = (List::default(), Instant::now());
        let [first, second, running] = ["a", "b", "c"].map(|line| list.add(line.to_owned()));
        list.end(first, start);
        list.end(second, start);
        let later = start + KEEP_ENDED;
        list.expire(later);
        assert_eq!(list.from(0).unwrap().0, first, "nobody has heard of it");
        list.sent(second);
        list.expire(start);
        assert_eq!(list.from(0).unwrap().0, first, "it has only just ended");
        list.expire(later);
        assert_eq!(list.from(0).unwrap().0, second);
        list.sent(running + 1);
        list.expire(later);
        assert_eq!(list.from(0).unwrap().0, running, "it has not ended");
    }

    #[test]
    fn a_full_list_forgets_ended_tests_first_and_counts_what_nobody_heard() {
        let (mut list, now) = (List::default(), Instant::now());
        let first = list.add("first".to_owned());
        let ended = list.add("ended".to_owned());
        list.sent(ended + 1);
        list.end(ended, now);
        for number in 2..MOST {
            list.add(number.to_string());
        }
        list.add("one more".to_owned());
        assert_eq!((list.from(ended).unwrap().0, list.dropped()), (2, 0));
        list.add("and another".to_owned());
        assert_eq!((list.from(first).unwrap().0, list.dropped()), (2, 0));
        list.add("a third".to_owned());
        assert_eq!((list.from(first).unwrap().0, list.dropped()), (3, 1));
        assert_eq!(list.lines.len(), MOST);
    }
}
