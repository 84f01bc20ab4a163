//! The polite end of a process.

use std::time::Duration;

use crate::{Active, Lifecycle};

/// How a [`drain`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was going on came to its end.
    Idle,
    /// The grace time passed first.
    Abandoned {
        /// What was still going on.
        active: usize,
    },
}

/// Enters lame duck, waits until nothing is active or `grace` has passed, then stops.
///
/// Work that arrives while waiting is counted and waited for as well: clients that
/// were sent here a moment ago are still served. It ends at once when somebody else
/// stops the lifecycle.
pub async fn drain(lifecycle: &Lifecycle, active: &Active, grace: Duration) -> Drained {
    lifecycle.lame_duck();
    tokio::select! {
        () = active.idle() => {}
        () = tokio::time::sleep(grace) => {}
        _ = lifecycle.reached(crate::Phase::Stopped) => {}
    }
    lifecycle.stop();
    match active.count() {
        0 => Drained::Idle,
        active => {
            tracing::warn!(active, "stopped before all work had ended");
            Drained::Abandoned { active }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phase;

    const NEVER: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn an_idle_process_stops_at_once() {
        let lifecycle = Lifecycle::new();
        lifecycle.ready();
        assert_eq!(
            drain(&lifecycle, &Active::new(), NEVER).await,
            Drained::Idle
        );
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }

    #[tokio::test]
    async fn it_is_a_lame_duck_until_the_last_work_ends() {
        let (lifecycle, active) = (Lifecycle::new(), Active::new());
        let early = active.try_enter(9).unwrap();
        let draining = tokio::spawn({
            let (lifecycle, active) = (lifecycle.clone(), active.clone());
            async move { drain(&lifecycle, &active, NEVER).await }
        });
        lifecycle.reached(Phase::LameDuck).await;
        let late = active.try_enter(9).unwrap();
        drop(early);
        tokio::task::yield_now().await;
        assert_eq!(lifecycle.phase(), Phase::LameDuck);
        drop(late);
        assert_eq!(draining.await.unwrap(), Drained::Idle);
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }

    #[tokio::test]
    async fn the_grace_time_bounds_the_wait() {
        let (lifecycle, active) = (Lifecycle::new(), Active::new());
        let _stuck = active.try_enter(1).unwrap();
        let drained = drain(&lifecycle, &active, Duration::from_millis(1)).await;
        assert_eq!(drained, Drained::Abandoned { active: 1 });
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }
}
