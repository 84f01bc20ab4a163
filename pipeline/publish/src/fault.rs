//! Names for the instants between the steps on disk. Tests end the publisher at each of them.

use crate::Config;

/// A step that has just been completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    Claimed,
    BodyWritten,
    Sealed,
    FirstObjectPut,
    AllPut,
    Acknowledged,
    FirstUnlinked,
    AllUnlinked,
    Quarantined,
}

impl CrashPoint {
    #[cfg(test)]
    pub(crate) const ALL: [CrashPoint; 9] = [
        CrashPoint::Claimed,
        CrashPoint::BodyWritten,
        CrashPoint::Sealed,
        CrashPoint::FirstObjectPut,
        CrashPoint::AllPut,
        CrashPoint::Acknowledged,
        CrashPoint::FirstUnlinked,
        CrashPoint::AllUnlinked,
        CrashPoint::Quarantined,
    ];
}

/// The instant at which a test ends the publisher.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) enum Crash {
    /// The first time that this step is completed.
    At(CrashPoint),
    /// After this number of steps of any kind.
    After(std::sync::Arc<std::sync::atomic::AtomicI64>),
}

/// Dies here if a test asked for it. A panic ends the thread without any of the steps that would have followed, which
/// to the files is the same as a kill.
#[cfg(test)]
pub(crate) fn reach(config: &Config, point: CrashPoint) {
    use std::sync::atomic::Ordering;
    match &config.crash {
        Some(Crash::At(here)) => assert_ne!(*here, point, "injected crash"),
        Some(Crash::After(steps)) => assert!(
            steps.fetch_sub(1, Ordering::Relaxed) > 0,
            "injected crash at {point:?}"
        ),
        None => {}
    }
}

#[cfg(not(test))]
pub(crate) fn reach(_config: &Config, _point: CrashPoint) {}
