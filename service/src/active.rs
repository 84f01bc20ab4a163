//! How much work is going on, with a limit on entering.

use std::sync::Arc;

use tokio::sync::watch;

/// A shared count of what is going on (tests, uploads); clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Active {
    count: Arc<watch::Sender<usize>>,
}

impl Active {
    /// A count of 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The count now.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Counts one more until the guard is dropped, or `None` when `limit` are in already.
    pub fn try_enter(&self, limit: usize) -> Option<ActiveGuard> {
        let entered = self.count.send_if_modified(|count| {
            let free = *count < limit;
            if free {
                *count += 1;
            }
            free
        });
        entered.then(|| ActiveGuard {
            active: self.clone(),
        })
    }
}

/// One unit of an [`Active`] count; dropping it gives the unit back.
#[derive(Debug)]
#[must_use = "dropping the guard ends what it counts"]
pub struct ActiveGuard {
    active: Active,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.active.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_a_dropped_guard_makes_room() {
        let active = Active::new();
        let first = active.try_enter(2).unwrap();
        let second = active.try_enter(2).unwrap();
        assert!(active.try_enter(2).is_none());
        assert_eq!(active.count(), 2);
        drop(first);
        let third = active.try_enter(2).unwrap();
        drop((second, third));
        assert_eq!(active.count(), 0);
    }

    #[test]
    fn the_limit_holds_between_threads() {
        let active = Active::new();
        let guards: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter_map(|_| active.try_enter(50)).collect()))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap())
                .collect::<Vec<Vec<_>>>()
        });
        assert_eq!(guards.iter().map(Vec::len).sum::<usize>(), 50);
        assert_eq!(active.count(), 50);
    }
}
