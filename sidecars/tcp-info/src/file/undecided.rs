//! Connections about which nothing is decided: ended and not announced, or announced and not seen.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::file::layout::Held;

/// How long an announcement waits for its connection, which the next polls show.
const KEEP_EARLY: Duration = Duration::from_mins(5);
/// The most announcements that wait; the oldest makes room.
const MOST_EARLY: usize = 65_536;

/// Both kinds, each in the order in which they run out.
#[derive(Debug)]
pub(super) struct Undecided {
    grace: Duration,
    /// Held files by cookie.
    ended: Held,
    ends: VecDeque<(Instant, u64)>,
    early: HashMap<u64, Instant>,
    announcements: VecDeque<(Instant, u64)>,
}

impl Undecided {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            ended: Held::new(),
            ends: VecDeque::new(),
            early: HashMap::new(),
            announcements: VecDeque::new(),
        }
    }

    /// Connections that ended and may still be announced.
    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    /// A connection ended before it was announced.
    pub(super) fn ended(&mut self, cookie: u64, names: Vec<String>, now: Instant) {
        self.ended.insert(cookie, names);
        self.ends.push_back((now + self.grace, cookie));
    }

    /// The files of a connection that ended and is announced now.
    pub(super) fn admit(&mut self, cookie: u64) -> Option<Vec<String>> {
        self.ended.remove(&cookie)
    }

    /// A connection whose time for an announcement is over; with `all`, any.
    pub(super) fn next_refused(&mut self, now: Instant, all: bool) -> Option<(u64, Vec<String>)> {
        loop {
            let (deadline, cookie) = self.ends.front().copied()?;
            if deadline > now && !all {
                return None;
            }
            self.ends.pop_front();
            if let Some(names) = self.ended.remove(&cookie) {
                return Some((cookie, names));
            }
        }
    }

    /// A connection is announced before it was seen. `false` when it was announced before.
    pub(super) fn announced(&mut self, cookie: u64, now: Instant) -> bool {
        self.expire(now);
        if self.early.len() >= MOST_EARLY
            && let Some((_, oldest)) = self.announcements.pop_front()
        {
            self.early.remove(&oldest);
        }
        let is_new = self.early.insert(cookie, now).is_none();
        if is_new {
            self.announcements.push_back((now, cookie));
        }
        is_new
    }

    /// Whether a connection that is seen now was announced before.
    pub(super) fn was_announced(&self, cookie: u64) -> bool {
        self.early.contains_key(&cookie)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, cookie)) = self.announcements.front().copied() {
            if now.saturating_duration_since(since) < KEEP_EARLY {
                return;
            }
            self.announcements.pop_front();
            self.early.remove(&cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[test]
    fn a_connection_is_refused_when_its_grace_is_over_unless_it_is_announced() {
        let (mut undecided, start) = (Undecided::new(GRACE), Instant::now());
        for cookie in 1..=3 {
            undecided.ended(cookie, vec![cookie.to_string()], start);
        }
        assert_eq!(undecided.next_refused(start, false), None);
        assert_eq!(undecided.admit(1), Some(vec!["1".to_owned()]));
        let over = start + GRACE;
        assert_eq!(undecided.next_refused(over, false).unwrap().0, 2);
        assert_eq!(undecided.admit(2), None);
        assert_eq!(undecided.next_refused(start, true).unwrap().0, 3);
        assert_eq!(
            (undecided.next_refused(over, true), undecided.len()),
            (None, 0)
        );
    }

    #[test]
    fn announcements_wait_for_their_connection_within_bounds() {
        let (mut undecided, start) = (Undecided::new(GRACE), Instant::now());
        assert!(undecided.announced(1, start));
        assert!(!undecided.announced(1, start));
        assert!(undecided.was_announced(1) && !undecided.was_announced(2));
        for cookie in 2..=MOST_EARLY as u64 + 1 {
            undecided.announced(cookie, start);
        }
        assert!(!undecided.was_announced(1) && undecided.was_announced(2));
        undecided.announced(0, start + KEEP_EARLY);
        assert_eq!(
            (undecided.early.len(), undecided.was_announced(2)),
            (1, false)
        );
    }
}
