//! Following one test from its end to its row.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use groma_find::{Detail, Dirs, Stage, Trace};
use serde_json::Value;

/// When a test reached each stage, counted from its end.
#[derive(Debug, Default)]
pub(crate) struct Journey {
    closed: Option<Duration>,
    archived: Option<Duration>,
    loaded: Option<Duration>,
    traced: Option<Duration>,
    /// The row, once it could be read.
    pub row: Option<Value>,
    /// The record of the connection, once its row could be read.
    pub trace: Option<Trace>,
}

/// How often a stage is looked for: the resolution of the times.
const PERIOD: Duration = Duration::from_millis(20);

/// Work that blocks until the row of `uuid`, and if it is `traced` a row of its connection, can be read or `patience`
/// is over; the clock runs from this call.
pub(crate) fn follow(
    dir: &Path,
    uuid: &str,
    traced: bool,
    patience: Duration,
) -> impl FnOnce() -> anyhow::Result<Journey> + use<> {
    let start = Instant::now();
    let dirs = Dirs::of_lab(dir);
    let uuid = uuid.to_owned();
    move || {
        let mut journey = Journey::default();
        let is_over =
            |journey: &Journey| journey.is_complete() && (!traced || journey.trace.is_some());
        while !is_over(&journey) && start.elapsed() < patience {
            if !journey.is_complete() {
                let report = groma_find::show(&dirs, &uuid)?;
                journey.reached(report.stage, start.elapsed());
                journey.row = report.rows.into_iter().next().map(|found| found.row);
            }
            if traced && journey.trace.is_none() {
                let trace = groma_find::trace(&dirs, &uuid, Detail::Summary)?;
                if trace.stage == Stage::Loaded {
                    journey.traced = Some(start.elapsed());
                    journey.trace = Some(trace);
                }
            }
            thread::sleep(PERIOD);
        }
        Ok(journey)
    }
}

impl Journey {
    /// Whether the row was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.loaded.is_some()
    }

    /// A stage implies those before it, also where it was too short to be seen.
    fn reached(&mut self, stage: Stage, after: Duration) {
        let times = [
            (Stage::Pending, &mut self.closed),
            (Stage::Published, &mut self.archived),
            (Stage::Loaded, &mut self.loaded),
        ];
        for (reached, time) in times {
            if stage >= reached {
                time.get_or_insert(after);
            }
        }
    }

    /// The four times as columns: each step, then the whole.
    pub(crate) fn columns(&self) -> String {
        let [closed, archived, loaded] = self.steps();
        let cell = |seconds: Option<f64>| match seconds {
            Some(seconds) => format!("{seconds:>10.2} s"),
            None => format!("{:>12}", "not seen"),
        };
        [
            closed,
            archived,
            loaded,
            self.loaded.map(|all| all.as_secs_f64()),
        ]
        .map(cell)
        .join(" ")
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let [closed, archived, loaded] = self.steps();
        serde_json::json!({
            "test_end_to_closed": closed,
            "closed_to_archived": archived,
            "archived_to_row": loaded,
            "test_end_to_row": self.loaded.map(|all| all.as_secs_f64()),
            "test_end_to_trace": self.traced.map(|all| all.as_secs_f64()),
        })
    }

    fn steps(&self) -> [Option<f64>; 3] {
        let between = |from: Option<Duration>, to: Option<Duration>| {
            Some(to?.saturating_sub(from?).as_secs_f64())
        };
        [
            self.closed.map(|closed| closed.as_secs_f64()),
            between(self.closed, self.archived),
            between(self.archived, self.loaded),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_was_not_seen_took_no_time() {
        let mut journey = Journey::default();
        journey.reached(Stage::Unknown, Duration::from_secs(1));
        journey.reached(Stage::Claimed, Duration::from_secs(2));
        assert!(!journey.is_complete());
        journey.reached(Stage::Loaded, Duration::from_secs(5));
        assert_eq!(journey.steps(), [Some(2.0), Some(3.0), Some(0.0)]);
    }
}
