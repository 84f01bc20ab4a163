//! The publisher as its caller sees it.

pub(crate) mod restartable;
pub(crate) mod worker;

pub use restartable::RestartablePublisher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use groma_archive::Store;
use groma_spool::Name;
use groma_watch::{Change, TreeWatch, WatchError};
use prometheus_client::registry::Registry;

use crate::aging::Aging;
use crate::pick_up::Picker;
use crate::publisher::worker::Worker;
use crate::recover::{Inheritance, recover};
use crate::reserve::State;
use crate::shared::Shared;
use crate::{Config, PublishError, deliver::receipts};

/// How soon the end is noticed.
const TICK: Duration = Duration::from_millis(100);
/// The interval of retries for files that could not be picked up, and of updates for the experiment.
const AGAIN_EVERY: Duration = Duration::from_secs(1);
/// How often the trees are walked although the watch misses nothing: files age, and settle.
const SCAN_EVERY: Duration = Duration::from_mins(1);

/// How often old receipts are looked for.
const EXPIRE_EVERY: Duration = Duration::from_hours(1);

/// The longest grace time.
const A_DAY: Duration = Duration::from_hours(24);

/// Publishes the files of one experiment. Blocking: give it a thread of its own.
pub struct Publisher {
    shared: Arc<Shared>,
    /// `None` while the system gives no directory events.
    watch: Option<Vec<Watch>>,
    inheritance: BTreeMap<Name, Inheritance>,
}

/// Ends the workers when it is dropped. Otherwise they would wait and hold the locks.
struct Release(Arc<Shared>);

impl Release {
    fn by(&self, deadline: Instant) {
        for lane in self.0.lanes.values() {
            lane.backlog.stop(deadline);
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        self.by(Instant::now());
    }
}

/// Lets a publisher archive what it has, whatever its age and size. Clones ask the same publisher.
#[derive(Clone)]
pub struct Flusher(Arc<Shared>);

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flusher")
    }
}

impl Flusher {
    /// Has everything that is closed by now picked up and archived, as soon as the archive takes it. Returns at once.
    pub fn flush(&self) {
        self.0.flush_asked.store(true, Ordering::Release);
    }
}

type Workers = Vec<(Name, JoinHandle<()>)>;

impl Publisher {
    /// Takes possession of the spool and state directories and looks at what an earlier run left. From here on no
    /// closed file is missed.
    pub fn open(
        config: Config,
        store: Arc<dyn Store>,
        registry: &mut Registry,
    ) -> Result<Publisher, PublishError> {
        let shared = Arc::new(Shared::open(config, store, registry)?);
        let watch = start_watch(&shared);
        let inheritance = recover(&shared)?;
        Ok(Publisher {
            shared,
            watch,
            inheritance,
        })
    }

    /// Publishes until `stop` is set; then everything closed by that time is still delivered, within the grace time of
    /// the configuration. The rest is kept for the next start. The function also returns when a worker died.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller shares it with the thread that this runs in"
    )]
    pub fn run(mut self, stop: Arc<AtomicBool>) -> Result<(), PublishError> {
        let mut picker = Picker::new(Arc::clone(&self.shared));
        let release = Release(Arc::clone(&self.shared));
        let mut workers = self.start_workers()?;
        picker.scan();
        let (mut scanned, mut retried) = (Instant::now(), Instant::now());
        let mut expired = None;
        let mut aging = Aging::open(&self.shared.config.state_dir);
        while !stop.load(Ordering::Acquire) {
            self.pick_up(&mut picker, TICK);
            if retried.elapsed() >= AGAIN_EVERY {
                self.reopen(&mut picker);
                picker.offer_again();
                picker.show_blocked();
                retried = Instant::now();
                self.show_ages();
                self.tend();
            }
            if self.shared.flush_asked.swap(false, Ordering::AcqRel) {
                self.pick_up(&mut picker, Duration::ZERO);
                picker.scan();
                for lane in self.shared.lanes.values() {
                    lane.backlog.flush();
                }
            }
            if scanned.elapsed() >= SCAN_EVERY {
                picker.scan();
                let mut lanes = self.shared.lanes.values();
                if !picker.found_full() && lanes.all(|lane| lane.backlog.is_idle()) {
                    self.shared.reserve.succeeded();
                }
                scanned = Instant::now();
            }
            if expired.is_none_or(|at: Instant| at.elapsed() >= EXPIRE_EVERY) {
                self.expire_receipts(&mut aging);
                expired = Some(Instant::now());
            }
            if workers.iter().any(|(_, worker)| worker.is_finished()) {
                break;
            }
        }
        self.pick_up(&mut picker, Duration::ZERO);
        picker.scan();
        let now = Instant::now();
        let deadline = now
            .checked_add(self.shared.config.grace)
            .unwrap_or(now + A_DAY);
        release.by(deadline);
        self.finish(&mut workers, deadline)
    }

    /// Waits for the workers, but not much longer than the deadline, because an archive may hang.
    fn finish(&self, workers: &mut Workers, deadline: Instant) -> Result<(), PublishError> {
        let mut result = Ok(());
        let mut tended = Instant::now();
        while let Some((name, worker)) = workers.pop() {
            while !worker.is_finished() {
                if Instant::now() > deadline + AGAIN_EVERY {
                    tracing::warn!(datatype = %name, "the archive does not answer; leaving its worker behind");
                    break;
                }
                // The experiment still needs to know whether it may admit tests.
                if tended.elapsed() >= AGAIN_EVERY {
                    self.show_ages();
                    self.tend();
                    tended = Instant::now();
                }
                std::thread::sleep(TICK / 10);
            }
            if worker.is_finished() && worker.join().is_err() {
                result = Err(PublishError::WorkerDied {
                    datatype: name.to_string(),
                });
            }
        }
        result
    }

    fn start_workers(&mut self) -> Result<Workers, PublishError> {
        let mut workers = Vec::new();
        for name in self.shared.lanes.keys() {
            let Inheritance { bundles, held } = self.inheritance.remove(name).unwrap_or_default();
            let worker = Worker::new(Arc::clone(&self.shared), name.clone(), held);
            let thread = std::thread::Builder::new()
                .name(format!("publish-{name}"))
                .spawn(move || worker.run(bundles))
                .map_err(PublishError::io(
                    "start a thread for",
                    self.shared.tree.path(),
                ))?;
            workers.push((name.clone(), thread));
        }
        Ok(workers)
    }

    /// Asks for what waits to be archived at once.
    pub fn flusher(&self) -> Flusher {
        Flusher(Arc::clone(&self.shared))
    }

    fn tend(&self) {
        let State {
            is_held,
            is_stopped,
            ..
        } = self.shared.reserve.tend();
        self.shared.metrics.show_reserve(is_held, is_stopped);
        let config = &self.shared.config;
        let Some(lifecycle) = &config.lifecycle else {
            return;
        };
        let part = format!("disk of {}", config.spool.experiment());
        if is_stopped {
            let reason = "the disk of the spool or of the state directory is nearly full: no tests are admitted";
            lifecycle.failed(&part, reason);
        } else {
            lifecycle.recovered(&part);
        }
    }

    fn expire_receipts(&self, aging: &mut Aging) {
        let config = &self.shared.config;
        let expired = aging.tick(config).and_then(|time| match time {
            Some(time) => {
                receipts::expire(&config.disk, &config.state_dir, time, config.receipts_kept)
            }
            None => Ok(()),
        });
        if let Err(error) = expired {
            tracing::warn!(%error, "cannot remove old receipts; it will be tried again");
        }
    }

    fn pick_up(&mut self, picker: &mut Picker, timeout: Duration) {
        picker.forget_dirs();
        for change in self.changes(timeout) {
            match change {
                Change::File { path, closed } => picker.offer_path(&path, closed),
                Change::Rescan => picker.scan(),
            }
        }
    }

    /// Returns the changes in the spool. Without a watch they are unknown, and all directories are listed.
    fn changes(&mut self, timeout: Duration) -> Vec<Change> {
        if let Some(watches) = &mut self.watch {
            let mut changes = Vec::new();
            // The first waits, and the others, on directories behind links, are looked at.
            for (number, watch) in watches.iter_mut().enumerate() {
                let timeout = if number == 0 { timeout } else { Duration::ZERO };
                match watch.wait(timeout) {
                    Ok(mut found) => changes.append(&mut found),
                    Err(error) => {
                        tracing::error!(%error, "the watch failed; starting another");
                        self.watch = start_watch(&self.shared);
                        return vec![Change::Rescan];
                    }
                }
            }
            return changes;
        }
        if !timeout.is_zero() {
            std::thread::sleep(AGAIN_EVERY);
        }
        vec![Change::Rescan]
    }

    /// Continues in the directory that is now at the spool's path, if it was replaced.
    fn reopen(&mut self, picker: &mut Picker) {
        match self.shared.tree.reopen_if_replaced() {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(spool = %self.shared.tree.path().display(), "the experiment's directory was replaced; going on in the new one");
                self.watch = start_watch(&self.shared);
                picker.scan();
            }
            Err(error) => {
                tracing::debug!(%error, "cannot look at the experiment's directory");
            }
        }
    }

    fn show_ages(&self) {
        for lane in self.shared.lanes.values() {
            self.shared.drop_missing_misfits(lane);
            self.shared.drop_missing_claimed(lane);
            lane.metrics.oldest_pending(lane.oldest_pending().as_secs());
        }
    }
}

/// A watch on the spool, or on the directory behind the link of a datatype.
struct Watch {
    watch: TreeWatch,
    /// The directory, and the path that the publisher knows it by.
    behind: Option<(PathBuf, PathBuf)>,
}

impl Watch {
    fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>, WatchError> {
        let mut changes = self.watch.wait(timeout)?;
        let Some((real, known)) = &self.behind else {
            return Ok(changes);
        };
        for change in &mut changes {
            if let Change::File { path, .. } = change
                && let Ok(below) = path.strip_prefix(real)
            {
                *path = known.join(below);
            }
        }
        Ok(changes)
    }
}

/// The watches on the spool, or `None` after one line that says what is lost: closed files are then found by walking.
fn start_watch(shared: &Shared) -> Option<Vec<Watch>> {
    let root = shared.tree.path();
    let start = || -> Result<Vec<Watch>, WatchError> {
        let mut watches = vec![Watch {
            watch: TreeWatch::new(root)?,
            behind: None,
        }];
        for datatype in shared.tree.links() {
            let known = root.join(datatype);
            let real = known.canonicalize().map_err(|source| WatchError {
                operation: "resolve",
                path: known.clone(),
                source,
            })?;
            watches.push(Watch {
                watch: TreeWatch::new(&real)?,
                behind: Some((real, known)),
            });
        }
        Ok(watches)
    };
    start()
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "no directory events: the spool is walked every {} s instead; raise fs.inotify.max_user_instances \
                 or max_user_watches and start again",
                AGAIN_EVERY.as_secs()
            );
        })
        .ok()
}
