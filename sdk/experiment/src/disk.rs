//! The state of the spool. The experiment refuses tests after a failed write until the spool works again, and while the
//! publisher reports that the disk is nearly full.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use groma_service::Lifecycle;
use groma_spool::{ExperimentDir, Name, Reservation, SpoolError, SpoolPath, Volume};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Refusal;

const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A running publisher renews its stop file every second; a stop file that is older than this is ignored.
const STOP_HOLDS: Duration = Duration::from_secs(90);
/// Bytes that an admitted test reserves for its result. Results of ndt7 have 30 to 130 kB; a larger result takes more space
/// when it is written, if the disk has it.
const ROOM_BYTES: u64 = 256 * 1024;
/// A huge result must not make the probe fill the space that other results need.
const MAX_PROBE_BYTES: u64 = 16 * 1024 * 1024;
/// The name of this component in `/ready`.
const PART: &str = "spool";

/// Whether results can be written.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: ExperimentDir,
    datatypes: Vec<Name>,
    lifecycle: Lifecycle,
    fault: Mutex<Option<Fault>>,
}

/// The reason why results cannot be written, and the size that a probe must write to show that they can.
#[derive(Debug, Clone)]
struct Fault {
    is_full: bool,
    /// The last result that failed: a probe also writes into the directory of its date.
    path: Option<SpoolPath>,
    needed_bytes: u64,
}

impl Disk {
    /// Probes the directory of every datatype.
    ///
    /// # Errors
    ///
    /// The first directory into which no file can be written, with the reason. A full disk is not an error: then the
    /// experiment starts without admission.
    pub(crate) fn open(
        dir: &ExperimentDir,
        datatypes: Vec<Name>,
        lifecycle: Lifecycle,
    ) -> Result<Arc<Self>, SpoolError> {
        for datatype in &datatypes {
            let (volume, method) = dir.probe(datatype)?;
            tracing::debug!(%datatype, ?volume, method = method.as_str(), "the datatype's directory works");
        }
        Ok(Arc::new(Self {
            dir: dir.clone(),
            datatypes,
            lifecycle,
            fault: Mutex::default(),
        }))
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the reason to refuse every test, if there is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let fault = self.fault().as_ref().map(|fault| fault.is_full);
        match fault {
            Some(false) => Some(Refusal::SpoolFailed),
            Some(true) => Some(Refusal::DiskFull),
            None => self.is_stopped().then_some(Refusal::DiskFull),
        }
    }

    /// Returns whether the publisher has stopped admission ([`ExperimentDir::admission_stop_file`]).
    fn is_stopped(&self) -> bool {
        let stop = self.dir.admission_stop_file().symlink_metadata();
        let Ok(renewed) = stop.and_then(|stop| stop.modified()) else {
            return false;
        };
        // A time in the future comes from a clock that was set back; a living publisher renews the file soon.
        let ago = renewed.elapsed().unwrap_or_else(|ahead| ahead.duration());
        ago <= STOP_HOLDS
    }

    /// Reserves space for the result of one test on every volume that it may be written to, and creates the directory of the
    /// date under which it will be filed.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Vec<Room>, Refusal> {
        let reserved = self.try_reserve(ROOM_BYTES);
        reserved.map_err(|error| {
            if error.is_out_of_descriptors() {
                return Refusal::Busy;
            }
            let refusal = if error.is_full() {
                Refusal::DiskFull
            } else {
                Refusal::SpoolFailed
            };
            self.found_broken(&error, None, ROOM_BYTES);
            refusal
        })
    }

    fn try_reserve(&self, size_bytes: u64) -> Result<Vec<Room>, SpoolError> {
        let mut rooms: Vec<Room> = Vec::new();
        for datatype in &self.datatypes {
            self.dir.create_date_dirs(datatype, &dates_ahead())?;
            let volume = self.dir.volume(datatype)?;
            let is_shared = |room: &Room| room.volume == Volume::Shared;
            if volume == Volume::Shared && rooms.iter().any(is_shared) {
                continue;
            }
            rooms.push(Room {
                volume,
                datatype: datatype.clone(),
                reservation: self.dir.reserve(datatype, size_bytes)?,
            });
        }
        Ok(rooms)
    }

    /// Stops admission after a result of `needed_bytes` at `path` could not be written. A thread probes the spool every
    /// second, and ends when it works again or the experiment is gone.
    pub(crate) fn found_broken(
        self: &Arc<Self>,
        error: &SpoolError,
        path: Option<&SpoolPath>,
        needed_bytes: u64,
    ) {
        let mut fault = self.fault();
        let is_new = fault.is_none();
        let before = fault.as_ref().map_or(0, |fault| fault.needed_bytes);
        let known = fault.take().and_then(|fault| fault.path);
        *fault = Some(Fault {
            is_full: error.is_full(),
            path: path.cloned().or(known),
            needed_bytes: needed_bytes.clamp(before.max(ROOM_BYTES), MAX_PROBE_BYTES),
        });
        drop(fault);
        self.lifecycle.failed(PART, &error.to_string());
        if !is_new {
            return;
        }
        tracing::error!(%error, "results cannot be written: no new tests");
        let disk = Arc::downgrade(self);
        let prober = thread::Builder::new()
            .name("spool-probe".to_owned())
            .spawn(move || wait_until_it_works(&disk));
        if let Err(source) = prober {
            // Without a prober the refusal would never end; the next failing write tries again.
            tracing::error!(%source, "cannot start the thread that probes the spool");
            *self.fault() = None;
        }
    }

    /// Returns whether results can be written, and admits tests again if so.
    fn probe(&self) -> bool {
        let Some(fault) = self.fault().clone() else {
            return true;
        };
        match self.try_write(&fault) {
            Ok(()) => {
                *self.fault() = None;
                self.lifecycle.recovered(PART);
                tracing::info!("results can be written again: tests are admitted");
                true
            }
            Err(error) => {
                if let Some(fault) = &mut *self.fault() {
                    fault.is_full = error.is_full();
                }
                self.lifecycle.failed(PART, &error.to_string());
                false
            }
        }
    }

    fn try_write(&self, fault: &Fault) -> Result<(), SpoolError> {
        for datatype in &self.datatypes {
            self.dir.probe(datatype)?;
        }
        if let Some(path) = &fault.path {
            self.dir.probe_date(&path.datatype, path.date)?;
        }
        self.try_reserve(fault.needed_bytes).map(drop)
    }
}

/// Space reserved for one result on one volume.
#[derive(Debug)]
pub(crate) struct Room {
    volume: Volume,
    datatype: Name,
    reservation: Reservation,
}

impl Room {
    /// Returns the reserved space on the volume of a datatype.
    pub(crate) fn of<'a>(
        rooms: &'a mut [Room],
        dir: &ExperimentDir,
        datatype: &Name,
    ) -> Option<&'a mut Reservation> {
        let volume = dir.volume(datatype).ok()?;
        let room = rooms.iter_mut().find(|room| {
            room.volume == volume && (volume == Volume::Shared || room.datatype == *datatype)
        })?;
        Some(&mut room.reservation)
    }
}

/// Today in UTC, and tomorrow in the last hour of a day: a test that is admitted now may end then.
fn dates_ahead() -> Vec<Date> {
    let now = Timestamp::now();
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let mut dates = vec![date(now)];
    dates.extend(now.checked_add(SignedDuration::from_hours(1)).map(date));
    dates.dedup();
    dates
}

fn wait_until_it_works(disk: &Weak<Disk>) {
    loop {
        thread::sleep(PROBE_INTERVAL);
        match disk.upgrade() {
            Some(disk) if !disk.probe() => {}
            _ => return,
        }
    }
}
