//! Objects that failed and wait for another attempt.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Wait before the first retry; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between retries.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// Most objects that wait for a retry. Beyond it the whole archive waits in their place.
const MOST_RETRIES: usize = 1024;

/// The entry that means a sweep of the whole archive. No object has this name.
pub(crate) const WHOLE_ARCHIVE: &str = "";

/// The failed objects, with the time of the next attempt.
#[derive(Default)]
pub(crate) struct Retries(HashMap<String, Retry>);

struct Retry {
    due: Instant,
    wait: Duration,
}

impl Retries {
    pub(crate) fn add(&mut self, name: &str, now: Instant) {
        let is_new = !self.0.contains_key(name);
        let name = if is_new && self.0.len() >= MOST_RETRIES {
            WHOLE_ARCHIVE
        } else {
            name
        };
        let again = |retry: &Retry| (retry.wait * 2).min(LONGEST_RETRY);
        let wait = self.0.get(name).map_or(FIRST_RETRY, again);
        let due = now + wait;
        self.0.insert(name.to_owned(), Retry { due, wait });
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(crate) fn due(&self, now: Instant) -> Vec<String> {
        let due = self.0.iter().filter(|(_, retry)| retry.due <= now);
        due.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{FIRST_RETRY, LONGEST_RETRY, MOST_RETRIES, Retries, WHOLE_ARCHIVE};

    #[test]
    fn retries_back_off_to_a_bound() {
        let mut retries = Retries::default();
        let now = Instant::now();
        retries.add("a", now);
        assert!(retries.due(now).is_empty());
        assert_eq!(retries.due(now + FIRST_RETRY), ["a"]);
        for _ in 0..20 {
            retries.add("a", now);
        }
        assert!(retries.due(now + LONGEST_RETRY / 2).is_empty());
        assert_eq!(retries.due(now + LONGEST_RETRY), ["a"]);
        retries.remove("a");
        assert!(retries.due(now + LONGEST_RETRY).is_empty());
    }

    #[test]
    fn too_many_failures_end_in_a_sweep() {
        let mut retries = Retries::default();
        let now = Instant::now();
        for number in 0..2 * MOST_RETRIES {
            retries.add(&number.to_string(), now);
        }
        assert_eq!(retries.0.len(), MOST_RETRIES + 1);
        assert!(
            retries
                .due(now + LONGEST_RETRY)
                .contains(&WHOLE_ARCHIVE.to_owned())
        );
    }
}
