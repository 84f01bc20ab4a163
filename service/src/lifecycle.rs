//! The four phases of a process, in one direction only.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a process is. Phases only ever advance, and may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Opening files and ports; not to be sent any work.
    Starting,
    /// Working.
    Ready,
    /// About to end: what runs is finished, and whoever directs clients should
    /// stop sending new ones. M-Lab's word, and its metric `lame_duck_experiment`.
    LameDuck,
    /// Over: no new work at all, servers close.
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

/// The phase of this process, shared by all its parts: clones are the same lifecycle.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    // A sender keeps the channel open, so waiting can never fail for want of one.
    phase: Arc<watch::Sender<Phase>>,
}

impl Lifecycle {
    /// A process that is [`Phase::Starting`].
    pub fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
        }
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
