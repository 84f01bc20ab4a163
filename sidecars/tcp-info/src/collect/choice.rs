//! Dump or gets: whichever was cheaper when last measured, as long as it is sufficient.

use std::time::Duration;

/// After this many polls without a dump one is made whatever it costs, in case the counter of opens misses something.
const MOST_WITHOUT_DUMP: u32 = 100;
/// A new connection may be counted a moment before it can be found, so the poll after is a dump as well.
const DUMPS_AFTER_OPEN: u32 = 2;
/// The cost of a get before the first measurement replaces it.
const FIRST_GET_NS: f64 = 2500.0;
/// Share of the newest measurement in the running mean.
const WEIGHT: f64 = 0.1;
/// An estimate is stale after this number of polls without a measurement; the sampler then tries that method again.
const STALE: u32 = 1000;

/// How to ask this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// All sockets.
    Dump,
    /// The known ones.
    Gets,
}

#[derive(Debug)]
pub(crate) struct Choice {
    get_ns: f64,
    dump_ns: Option<f64>,
    opens: Option<u64>,
    dumps_due: u32,
    since_dump: u32,
    since_gets: u32,
}

impl Choice {
    pub(crate) fn new() -> Self {
        Self {
            get_ns: FIRST_GET_NS,
            dump_ns: None,
            opens: None,
            dumps_due: DUMPS_AFTER_OPEN,
            since_dump: 0,
            since_gets: 0,
        }
    }

    /// Chooses for a poll of `known` connections. `opens` is the kernel's count of connections ever opened, read
    /// before the poll; without it only a dump finds new ones.
    pub(crate) fn choose(&mut self, known: usize, opens: Option<u64>) -> Means {
        if opens.is_none() || opens != self.opens {
            self.dumps_due = DUMPS_AFTER_OPEN;
            self.opens = opens;
        }
        let get_ns = if self.since_gets > STALE {
            self.get_ns.min(FIRST_GET_NS)
        } else {
            self.get_ns
        };
        let gets_cheaper = self
            .dump_ns
            .is_some_and(|dump| known as f64 * get_ns < dump);
        if self.dumps_due > 0 || self.since_dump >= MOST_WITHOUT_DUMP || !gets_cheaper {
            Means::Dump
        } else {
            Means::Gets
        }
    }

    /// The poll is over, complete, and cost this much time of a processor.
    pub(crate) fn measured(&mut self, means: Means, known: usize, cost: Duration) {
        let ns = cost.as_nanos() as f64;
        match means {
            Means::Dump => {
                self.dump_ns = Some(mean(self.dump_ns.unwrap_or(ns), ns));
                self.dumps_due = self.dumps_due.saturating_sub(1);
                self.since_dump = 0;
                self.since_gets = self.since_gets.saturating_add(1);
            }
            Means::Gets => {
                if known > 0 {
                    self.get_ns = mean(self.get_ns, ns / known as f64);
                    self.since_gets = 0;
                }
                self.since_dump += 1;
            }
        }
    }

    /// The poll failed: whatever opened meanwhile is still to be found.
    pub(crate) fn failed(&mut self) {
        self.dumps_due = DUMPS_AFTER_OPEN;
    }
}

fn mean(old: f64, new: f64) -> f64 {
    old + WEIGHT * (new - old)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: Duration = Duration::from_micros(200);

    fn settled() -> Choice {
        let mut choice = Choice::new();
        for _ in 0..2 {
            assert_eq!(choice.choose(10, Some(5)), Means::Dump);
            choice.measured(Means::Dump, 10, DUMP);
        }
        choice
    }

    #[test]
    fn few_sockets_are_asked_for_one_by_one_and_many_all_at_once() {
        let mut choice = settled();
        assert_eq!(choice.choose(10, Some(5)), Means::Gets);
        assert_eq!(choice.choose(1000, Some(5)), Means::Dump);
        choice.measured(Means::Gets, 10, Duration::from_millis(2));
        choice.measured(Means::Gets, 10, Duration::from_millis(2));
        assert_eq!(
            choice.choose(10, Some(5)),
            Means::Dump,
            "gets turned out dear"
        );
        for _ in 0..=STALE {
            choice.measured(Means::Dump, 10, DUMP);
        }
        assert_eq!(
            choice.choose(10, Some(5)),
            Means::Gets,
            "and are tried again"
        );
    }

    #[test]
    fn a_new_connection_and_a_failure_bring_two_dumps() {
        let mut choice = settled();
        for opens in [Some(6), Some(7)] {
            for _ in 0..2 {
                assert_eq!(choice.choose(10, opens), Means::Dump);
                choice.measured(Means::Dump, 10, DUMP);
            }
            assert_eq!(choice.choose(10, opens), Means::Gets);
        }
        choice.failed();
        assert_eq!(choice.choose(10, Some(7)), Means::Dump);
    }

    #[test]
    fn without_the_counter_and_after_a_second_only_a_dump_will_do() {
        let mut choice = settled();
        assert_eq!(choice.choose(10, None), Means::Dump);
        let mut choice = settled();
        for _ in 0..MOST_WITHOUT_DUMP {
            assert_eq!(choice.choose(10, Some(5)), Means::Gets);
            choice.measured(Means::Gets, 10, DUMP / 10);
        }
        assert_eq!(choice.choose(10, Some(5)), Means::Dump);
    }
}
