//! Stages that run for as long as the process, restarted when they fail.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Lifecycle;

/// When a failed stage is started again, and when no more.
#[derive(Debug, Clone, Copy)]
pub struct RestartPolicy {
    /// The wait after the first failure. It doubles with each further one.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
    /// A stage that has run this long works again: earlier failures do not count any more.
    pub works_after: Duration,
    /// Failures in a row after which the stage is given up.
    pub give_up_after: u32,
}

impl Default for RestartPolicy {
    /// Waits from 1 s to 1 min; works again after 10 s; given up after 8 failures in a row, about 3 min.
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(1),
            works_after: Duration::from_secs(10),
            give_up_after: 8,
        }
    }
}

/// A stage failed too often in a row.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the stage {stage} failed {failures} times in a row, at last because {reason}")]
pub struct GaveUp {
    /// Its name.
    pub stage: String,
    /// Failures in a row.
    pub failures: u32,
    /// The last reason.
    pub reason: String,
}

/// Runs `stage` on this thread until `stop` is set, and again after each failure: an error, a panic, or a return before
/// `stop` was set.
///
/// From a failure until the stage works again, `lifecycle` shows it as failed, so that `/ready` answers 503. An error is the
/// last of too many failures in a row, or a failure after `stop` was set.
pub fn supervise<E: Display>(
    stage_name: &str,
    lifecycle: &Lifecycle,
    stop: &AtomicBool,
    policy: RestartPolicy,
    mut stage: impl FnMut() -> Result<(), E>,
) -> Result<(), GaveUp> {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let recovery = (failures > 0).then(|| Recovery::begin(stage_name, lifecycle, policy));
        let outcome = catch_unwind(AssertUnwindSafe(&mut stage));
        drop(recovery);
        let is_stopping = stop.load(Ordering::Acquire);
        let reason = match outcome {
            Ok(Ok(())) if is_stopping => return Ok(()),
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("it panicked: {}", message(&*panic)),
        };
        if begun.elapsed() >= policy.works_after {
            failures = 0;
        }
        failures += 1;
        lifecycle.failed(stage_name, &reason);
        if is_stopping || failures >= policy.give_up_after {
            tracing::error!(
                stage = stage_name,
                failures,
                reason,
                "stage failed; its input waits for the next start"
            );
            return Err(GaveUp {
                stage: stage_name.to_owned(),
                failures,
                reason,
            });
        }
        let doublings = 2_u32.saturating_pow(failures - 1);
        let wait = policy
            .first_wait
            .saturating_mul(doublings)
            .min(policy.longest_wait);
        tracing::error!(
            stage = stage_name,
            failures,
            reason,
            ?wait,
            "stage failed; starting it again"
        );
        sleep_unless(stop, wait);
    }
}

/// Reports that the stage works again once it has run long enough; dropped when the stage ends.
struct Recovery(Arc<AtomicBool>);

impl Recovery {
    fn begin(stage_name: &str, lifecycle: &Lifecycle, policy: RestartPolicy) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (lifecycle, watched) = (lifecycle.clone(), Arc::clone(&ended));
        let stage_name = stage_name.to_owned();
        let watch = move || {
            sleep_unless(&watched, policy.works_after);
            if !watched.load(Ordering::Acquire) {
                lifecycle.recovered(&stage_name);
            }
        };
        // Without a thread the stage stays marked as failed, which is the safe side.
        let _ = thread::Builder::new()
            .name("recovery".to_owned())
            .spawn(watch);
        Self(ended)
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// How soon a stop is noticed.
const STEP: Duration = Duration::from_millis(50);

fn sleep_unless(stop: &AtomicBool, wait: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < wait && !stop.load(Ordering::Acquire) {
        thread::sleep(STEP.min(wait));
    }
}

/// The message of a panic, which is a text in all but exotic cases.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: RestartPolicy = RestartPolicy {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        works_after: Duration::from_hours(1),
        give_up_after: 4,
    };

    #[test]
    fn errors_panics_and_early_ends_start_a_stage_again_and_then_give_it_up() {
        let (lifecycle, stop) = (Lifecycle::new(), AtomicBool::new(false));
        let mut runs = 0;
        let gave_up = supervise("seal", &lifecycle, &stop, QUICK, || {
            runs += 1;
            match runs {
                1 => Err("no room"),
                2 => panic!("a flipped bit"),
                3 => Ok(()),
                _ => panic!("{}", "at last"),
            }
        });
        let gave_up = gave_up.unwrap_err();
        assert_eq!((gave_up.failures, runs), (4, 4));
        assert_eq!(gave_up.reason, "it panicked: at last");
        let expected = ("seal".to_owned(), "it panicked: at last".to_owned());
        assert_eq!(lifecycle.faulty_parts(), [expected]);
    }

    #[test]
    fn a_stage_that_works_again_is_ready_again() {
        let (lifecycle, stop) = (Lifecycle::new(), AtomicBool::new(false));
        let policy = RestartPolicy {
            works_after: Duration::from_millis(1),
            give_up_after: 2,
            ..QUICK
        };
        let mut runs = 0;
        let ended = supervise("load", &lifecycle, &stop, policy, || {
            runs += 1;
            // Each failure comes after enough work: none is the second in a row.
            if runs < 5 {
                thread::sleep(Duration::from_millis(5));
                return Err("lost the connection");
            }
            while !lifecycle.faulty_parts().is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Release);
            Ok(())
        });
        ended.unwrap();
        assert_eq!(runs, 5);
    }

    #[test]
    fn a_stop_ends_the_wait_and_a_failure_after_it_is_final() {
        let (lifecycle, stop) = (Lifecycle::new(), AtomicBool::new(false));
        let mut runs = 0;
        let gave_up = supervise(
            "publish",
            &lifecycle,
            &stop,
            RestartPolicy::default(),
            || {
                runs += 1;
                stop.store(true, Ordering::Release);
                Err("the disk is gone")
            },
        );
        assert_eq!((gave_up.unwrap_err().failures, runs), (1, 1));
    }
}
