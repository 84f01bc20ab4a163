//! When to take the next sample.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

const MEAN: Duration = Duration::from_millis(250);
const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_millis(625);

/// The wait that belongs to a uniform number of [0, 1): exponential with mean 250 ms, clamped to 25..625 ms, so that
/// samples do not fall into step with anything periodic on the path.
fn wait(uniform: f64) -> Duration {
    MEAN.mul_f64(-(1.0 - uniform).ln()).clamp(SHORTEST, LONGEST)
}

/// A memoryless timer.
#[derive(Debug)]
pub(crate) struct Ticker {
    sleep: Pin<Box<Sleep>>,
}

impl Ticker {
    pub(crate) fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now() + wait(rand::random()))),
        }
    }

    /// Waits for the next tick, and returns how late it came. Nothing is lost when the future is dropped before it is
    /// ready.
    pub(crate) async fn tick(&mut self) -> Duration {
        self.sleep.as_mut().await;
        let now = Instant::now();
        let late = now.saturating_duration_since(self.sleep.deadline());
        self.sleep.as_mut().reset(now + wait(rand::random()));
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_exponential_law_between_their_limits() {
        assert_eq!(wait(0.0), SHORTEST);
        assert_eq!(wait(0.999_999), LONGEST);
        let median = wait(0.5).as_micros();
        assert_eq!(median, 173_286, "mean times ln 2");
    }
}
