//! Passes over a lake for as long as a process lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use groma_archive::Store;
use groma_lake_store::LakeStore;
use jiff::Timestamp;

use crate::{LakeError, Pass, Settings, publish_index, seal};

/// How soon a stop is noticed.
const NOTICE: Duration = Duration::from_millis(100);

/// Seals, compacts and writes the index at an interval until `stop` is set. A failure is logged, and the next run tries again.
/// `on_pass` gets the result of each run.
pub fn keep(
    lake: impl Into<LakeStore>,
    settings: &Settings,
    archive: Option<&dyn Store>,
    every: Duration,
    stop: &AtomicBool,
    on_pass: &mut dyn FnMut(&Result<Pass, LakeError>),
) {
    let lake = lake.into();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let result = seal(lake.clone(), Timestamp::now(), settings, archive);
        if let Err(error) = &result {
            tracing::warn!(%error, "a pass over the lake failed");
        }
        on_pass(&result);
        if let Err(error) = publish_index(lake.clone()) {
            tracing::warn!(%error, "the index of the lake could not be written");
        }
        while begun.elapsed() < every && !stop.load(Ordering::Relaxed) {
            thread::sleep(NOTICE);
        }
    }
}
