//! A full disk: no new tests until a write succeeds again, and none while the publisher says that it is nearly full.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use groma_spool::ExperimentDir;

const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A publisher that lives renews its stop every second; one that is gone stops nobody for ever.
const STOP_HOLDS: Duration = Duration::from_secs(90);
const CHUNK_BYTES: usize = 64 * 1024;
// Enough for any result file of a test; a huge one must not fill what others need.
const MAX_PROBE_BYTES: usize = 16 * 1024 * 1024;

/// Whether the disk of the spool has room, as far as our own writes tell.
#[derive(Debug)]
pub(crate) struct Disk {
    probe_file: PathBuf,
    stop_file: PathBuf,
    full: AtomicBool,
    needed_bytes: AtomicUsize,
}

impl Disk {
    pub(crate) fn new(dir: &ExperimentDir) -> Arc<Self> {
        let name = format!("probe-{}", std::process::id());
        Arc::new(Self {
            // Among the unfinished files: what a crash leaves there is cleared at the next start.
            probe_file: dir.tmp_dir().join(name),
            stop_file: dir.admission_stop_file(),
            full: AtomicBool::new(false),
            needed_bytes: AtomicUsize::new(CHUNK_BYTES),
        })
    }

    /// Whether our own writes found no room, or the publisher has asked for no more tests
    /// ([`ExperimentDir::admission_stop_file`]).
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        let stop = self.stop_file.symlink_metadata();
        let Ok(told) = stop.and_then(|stop| stop.modified()) else {
            return false;
        };
        // Also a time to come is of another day's clock: who lives tells it anew.
        let ago = told.elapsed().unwrap_or_else(|ahead| ahead.duration());
        ago <= STOP_HOLDS
    }

    /// A write of this size found no room. From now on a thread tries the disk every
    /// second and ends when it has room again, or when the experiment is gone.
    pub(crate) fn found_full(self: &Arc<Self>, needed_bytes: usize) {
        let needed_bytes = needed_bytes.clamp(CHUNK_BYTES, MAX_PROBE_BYTES);
        self.needed_bytes.fetch_max(needed_bytes, Ordering::Relaxed);
        if self.full.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(probe = %self.probe_file.display(), "disk full: no new tests");
        let disk = Arc::downgrade(self);
        let prober = thread::Builder::new()
            .name("disk-probe".to_owned())
            .spawn(move || wait_for_room(&disk));
        if let Err(source) = prober {
            // Without a prober the refusal would be for ever; the next failing write tries again.
            tracing::error!(%source, "start the thread that probes the disk");
            self.full.store(false, Ordering::Relaxed);
        }
    }

    /// Returns whether the disk has room, and admits tests again if so.
    fn probe(&self) -> bool {
        let written = self.write_probe();
        if let Err(source) = &written {
            tracing::debug!(%source, "probe the disk");
        }
        // Left behind it would take up the very room that is missing.
        let removed = fs::remove_file(&self.probe_file);
        let room = written.is_ok() && removed.is_ok();
        if room {
            tracing::info!("the disk has room again: tests are admitted");
            self.needed_bytes.store(CHUNK_BYTES, Ordering::Relaxed);
            self.full.store(false, Ordering::Relaxed);
        }
        room
    }

    fn write_probe(&self) -> io::Result<()> {
        let mut file = File::create(&self.probe_file)?;
        let chunk = vec![0; CHUNK_BYTES];
        let mut left = self.needed_bytes.load(Ordering::Relaxed);
        while left > 0 {
            let now = left.min(CHUNK_BYTES);
            file.write_all(&chunk[..now])?;
            left -= now;
        }
        // Some file systems find out only here that there is no room.
        file.sync_all()
    }
}

fn wait_for_room(disk: &Weak<Disk>) {
    loop {
        thread::sleep(PROBE_INTERVAL);
        match disk.upgrade() {
            Some(disk) if !disk.probe() => {}
            _ => return,
        }
    }
}
