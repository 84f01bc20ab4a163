//! The phase of a process, and the reasons for which it cannot work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The phase of a process. Phases only advance, and may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The process opens files and ports and takes no work yet.
    Starting,
    /// The process works.
    Ready,
    /// The process is about to end: it finishes running work, and load balancers
    /// should stop sending clients. M-Lab's word, and its metric `lame_duck_experiment`.
    LameDuck,
    /// The process takes no work, and its servers close.
    Stopped,
}

impl Phase {
    /// The phase in lower case with underscores, as logs and health answers show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::LameDuck => "lame_duck",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The phase of this process and the parts that cannot work. Clones share one state.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    // A sender keeps the channel open, so waiting for a phase never fails.
    phase: Arc<watch::Sender<Phase>>,
    faults: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Lifecycle {
    /// A process that is [`Phase::Starting`].
    pub fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
            faults: Arc::default(),
        }
    }

    /// Reports that `part` cannot work, and why. `/ready` answers 503 with the reason until
    /// [`Lifecycle::recovered`] is called for the same part.
    pub fn failed(&self, part: &str, reason: &str) {
        let before = self.faults().insert(part.to_owned(), reason.to_owned());
        if before.as_deref() != Some(reason) {
            tracing::warn!(part, reason, "not ready");
        }
    }

    /// Reports that `part` works again.
    pub fn recovered(&self, part: &str) {
        if self.faults().remove(part).is_some() {
            tracing::info!(part, "works again");
        }
    }

    /// Returns the parts that cannot work, each with its reason, in the order of their names.
    pub fn faulty_parts(&self) -> Vec<(String, String)> {
        let faults = self.faults();
        faults
            .iter()
            .map(|(part, reason)| (part.clone(), reason.clone()))
            .collect()
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on to [`Phase::Ready`]; does nothing in a later phase.
    pub fn ready(&self) {
        self.advance(Phase::Ready);
    }

    /// Moves on to [`Phase::LameDuck`]; does nothing in a later phase.
    pub fn lame_duck(&self) {
        self.advance(Phase::LameDuck);
    }

    /// Moves on to [`Phase::Stopped`].
    pub fn stop(&self) {
        self.advance(Phase::Stopped);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns as soon as the phase is `phase` or a later one, with the phase it found.
    pub async fn reached(&self, phase: Phase) -> Phase {
        let mut watched = self.phase.subscribe();
        let found = watched.wait_for(|now| *now >= phase).await;
        *found.expect("`self` holds the sender while it waits")
    }

    fn advance(&self, to: Phase) {
        let moved = self.phase.send_if_modified(|now| {
            let forward = *now < to;
            if forward {
                *now = to;
            }
            forward
        });
        if moved {
            tracing::info!(phase = %to, "lifecycle");
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_never_go_back() {
        let lifecycle = Lifecycle::new();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        lifecycle.lame_duck();
        lifecycle.ready();
        assert_eq!(lifecycle.phase(), Phase::LameDuck);
        lifecycle.stop();
        lifecycle.lame_duck();
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }

    #[test]
    fn a_fault_of_one_part_lasts_until_that_part_recovers() {
        let lifecycle = Lifecycle::new();
        lifecycle.failed("spool", "read-only");
        lifecycle.failed("spool", "no such directory");
        lifecycle.failed("archive", "no room");
        lifecycle.recovered("archive");
        let expected = ("spool".to_owned(), "no such directory".to_owned());
        assert_eq!(lifecycle.clone().faulty_parts(), [expected]);
        lifecycle.recovered("spool");
        assert!(lifecycle.faulty_parts().is_empty());
    }

    #[tokio::test]
    async fn reached_returns_for_a_skipped_phase_too() {
        let lifecycle = Lifecycle::new();
        let waiting = tokio::spawn({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.reached(Phase::LameDuck).await }
        });
        tokio::task::yield_now().await;
        lifecycle.ready();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        lifecycle.stop();
        assert_eq!(waiting.await.unwrap(), Phase::Stopped);
    }
}
