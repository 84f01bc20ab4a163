//! The state that the picker and the workers share.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use groma_archive::Store;
use groma_disk::{Disk, Entry};
use groma_disk::{Rivals, create_dirs_durable};
use groma_spool::{Name, SpoolPath, Volume, probe, volume_below};
use prometheus_client::registry::Registry;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::deliver::receipts::RECEIPTS_DIR;
use crate::deliver::table::TABLES_DIR;
use crate::events::{Breach, Events};
use crate::files::abandon;
use crate::metrics::{DatatypeMetrics, Metrics};
use crate::pick_up::backlog::Backlog;
use crate::quarantine::{Budget, QUARANTINE_DIR};
use crate::reserve::Reserve;
use crate::seal::naming::{self, Moments};
use crate::tree::{Identity, Tree};
use crate::{Config, DatatypeConfig, PublishError};

/// A claimed file that is larger than the whole quarantine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misfit {
    pub(crate) identity: Identity,
    /// When this run of the publisher found it.
    pub(crate) since: Instant,
}

/// One datatype on its way.
pub(crate) struct Lane {
    pub(crate) datatype: DatatypeConfig,
    pub(crate) backlog: Backlog,
    pub(crate) metrics: DatatypeMetrics,
    /// Directories of bundles that were not sealed and could not be removed yet.
    unclean: Mutex<Vec<PathBuf>>,
    /// Nothing more is picked up while the quarantine has no room for a file that is waiting.
    is_held: AtomicBool,
    /// Claimed files that the quarantine could not take if it were empty: they stay where they are.
    misfits: Mutex<BTreeMap<SpoolPath, Misfit>>,
}

impl Lane {
    pub(crate) fn unclean(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.unclean
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn misfits(&self) -> MutexGuard<'_, BTreeMap<SpoolPath, Misfit>> {
        self.misfits
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns how long the oldest pending file has waited, including the files that stay claimed.
    pub(crate) fn oldest_pending(&self) -> Duration {
        let misfits = self.misfits();
        let ages = misfits.values().map(|misfit| misfit.since.elapsed());
        ages.fold(self.backlog.oldest(), Duration::max)
    }

    pub(crate) fn hold_for_quarantine(&self, is_held: bool) {
        if self.is_held.swap(is_held, Ordering::Relaxed) != is_held {
            self.metrics.quarantine_full(is_held);
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Removes what is left of bundles that were not sealed. Until that is done their files must not be in another.
    pub(crate) fn clean(&self, disk: &Disk) -> Result<(), PublishError> {
        let mut unclean = self.unclean();
        while let Some(dir) = unclean.last() {
            abandon(disk, dir)?;
            unclean.pop();
        }
        Ok(())
    }
}

/// Everything that the threads of one publisher share; the locks on its directories go with it.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tree: Tree,
    pub(crate) lanes: BTreeMap<Name, Lane>,
    pub(crate) metrics: Metrics,
    pub(crate) moments: Moments,
    pub(crate) events: Events,
    pub(crate) reserve: Reserve,
    pub(crate) quarantine: Budget,
    pub(crate) flush_asked: AtomicBool,
    /// A worker that a hanging archive holds beyond the end of `run` still keeps others out.
    _locks: Vec<File>,
}

const CLAIMED_DIR: &str = ".claimed";
pub(crate) const BUNDLES_DIR: &str = "bundles";
pub(crate) const CONFLICT_DIR: &str = "conflict";

impl Shared {
    pub(crate) fn open(
        config: Config,
        store: Arc<dyn Store>,
        registry: &mut Registry,
    ) -> Result<Shared, PublishError> {
        let state_dir = &config.state_dir;
        let bundles = state_dir.join(BUNDLES_DIR);
        let claimed = config.spool.claimed_dir();
        make_state_dir(state_dir)?;
        // The first moment makes these durable, and the first bundle what is claimed.
        for dir in [&bundles, &state_dir.join(CONFLICT_DIR), &claimed] {
            match config.disk.create_dir(Entry::path(dir), 0o700) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(PublishError::io("create", dir)(error));
                }
                _ => {}
            }
        }
        let mut locks = vec![lock_state(state_dir)?, lock(&claimed)?];
        let mut tree = Tree::open(config.spool.path(), config.disk.clone())
            .map_err(PublishError::io("open spool", config.spool.path()))?;
        let metrics = Metrics::new(registry);
        let mut lanes = BTreeMap::new();
        for datatype in &config.datatypes {
            // A name that cannot be made is better found now than when the first bundle is due.
            naming::object_names(
                &config,
                &datatype.name,
                datatype.form,
                jiff::civil::Date::constant(2000, 1, 1),
                jiff::Timestamp::UNIX_EPOCH,
            )?;
            if let Some(own) = take_in(&mut tree, &config, &datatype.name)? {
                locks.push(lock(&own)?);
            }
            let lane = Lane {
                datatype: datatype.clone(),
                backlog: Backlog::default(),
                metrics: metrics.for_datatype(datatype.name.as_str()),
                unclean: Mutex::default(),
                is_held: AtomicBool::new(false),
                misfits: Mutex::default(),
            };
            if lanes.insert(datatype.name.clone(), lane).is_some() {
                return Err(PublishError::Twice {
                    datatype: datatype.name.to_string(),
                });
            }
        }
        let moments = Moments::open(state_dir);
        let reserve = Reserve::open(&config);
        let quarantine = Budget::of(state_dir, config.quarantine_max_bytes)?;
        Ok(Shared {
            events: Events::new(state_dir),
            reserve,
            quarantine,
            flush_asked: AtomicBool::new(false),
            tree,
            lanes,
            metrics,
            moments,
            store,
            _locks: locks,
            config,
        })
    }
}

impl Shared {
    /// Counts files that stayed claimed and are gone now as dropped.
    pub(crate) fn drop_missing_misfits(&self, lane: &Lane) {
        let known: Vec<_> = lane.misfits().clone().into_iter().collect();
        for (path, Misfit { identity, .. }) in known {
            let claimed = self.tree.claimed_dir(&path.datatype, path.date);
            let looked = self.tree.dir(&claimed);
            let looked = looked.and_then(|dir| self.tree.look(&dir, path.file.as_str()));
            match looked {
                // FUSE may number a file again, and a writer may go on writing it.
                Ok(Some(found))
                    if found.identity.inode == identity.inode
                        || found.identity.size_bytes == identity.size_bytes => {}
                Ok(_) => self.drop_misfit(lane, &path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.drop_misfit(lane, &path);
                }
                // It may still be there.
                Err(_) => {}
            }
        }
    }

    /// Counts claimed files as dropped, and puts on record, that are gone although the publisher did not remove them. Only the
    /// thread that claims files may call this, so that nothing is claimed meanwhile.
    pub(crate) fn drop_missing_claimed(&self, lane: &Lane) {
        if lane.metrics.pending() == 0 || !lane.backlog.is_idle() {
            return;
        }
        match self.count_claimed(lane) {
            Ok(there) => {
                let missing = lane.metrics.pending().saturating_sub(there);
                if missing > 0 {
                    // Their names are not known any more.
                    let detail = format!(
                        "{missing} claimed files were deleted by another program before they were archived"
                    );
                    self.breach(Breach::Deleted, lane.datatype.name.as_str(), &detail);
                }
                for _ in 0..missing {
                    lane.metrics.dropped();
                }
            }
            Err(error) => tracing::debug!(%error, "cannot count the claimed files"),
        }
    }

    fn count_claimed(&self, lane: &Lane) -> io::Result<u64> {
        let claimed = self.tree.claimed_of(&lane.datatype.name);
        let dates = match self.tree.dir(&claimed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            dates => dates?,
        };
        let mut found = Vec::new();
        self.tree.each_entry(&dates, |date, is_dir| {
            if is_dir {
                found.push(format!("{claimed}/{date}"));
            }
            Ok(true)
        })?;
        let mut count = 0;
        for dir in found {
            let dir = self.tree.dir(&dir)?;
            self.tree.each_entry(&dir, |_, _| {
                count += 1;
                Ok(true)
            })?;
        }
        Ok(count)
    }

    fn drop_misfit(&self, lane: &Lane, path: &SpoolPath) {
        lane.misfits().remove(path);
        lane.metrics.dropped();
        let detail = "deleted by somebody else; it was larger than the quarantine";
        self.breach(Breach::Deleted, &path.to_string(), detail);
    }

    /// Counts a breach of the spool's contract and puts it on record.
    pub(crate) fn breach(&self, breach: Breach, file: &str, detail: &str) {
        self.metrics.violation(breach.as_str());
        self.events.record(breach, file, detail);
    }
}

/// Finds the volume of a datatype's directory and the way to claim files there. Returns the directory of claimed files if the
/// datatype has its own.
fn take_in(
    tree: &mut Tree,
    config: &Config,
    datatype: &Name,
) -> Result<Option<PathBuf>, PublishError> {
    let (spool, dir) = (config.spool.path(), config.spool.datatype_dir(datatype));
    let is_link = tree
        .check_link(datatype)
        .map_err(PublishError::io("follow the link", &dir))?;
    create_dirs_durable(spool, &dir).map_err(PublishError::io("create", &dir))?;
    let name = datatype.as_str();
    let found = probe(spool, name, CLAIMED_DIR, Rivals::Excluded, false);
    let (volume, method) =
        found.map_err(|(at, source)| PublishError::io("claim files from", &at)(source))?;
    match volume_below(&dir) {
        Ok(None) => {}
        Ok(Some(below)) => {
            let reason = "it is on another volume than its datatype, so that no file can be renamed from there; \
                          mount the datatype's directory instead";
            return Err(PublishError::io("claim files from", &below)(
                io::Error::new(io::ErrorKind::CrossesDevices, reason),
            ));
        }
        // The walks report directories that cannot be read, and try them again.
        Err((at, error)) => {
            tracing::warn!(dir = %at.display(), %error, "cannot look for volumes below a datatype");
        }
    }
    tracing::debug!(%datatype, ?volume, method = method.as_str(), "the datatype's directory works");
    tree.set_volume(datatype, volume, is_link);
    Ok((volume == Volume::Own).then(|| volume.place(spool, name, CLAIMED_DIR)))
}

/// Receipts and quarantine are the operator's alone. A directory that others made may have things of others in it, so only
/// what is the publisher's below it is closed.
fn make_state_dir(dir: &Path) -> Result<(), PublishError> {
    let close = |dir: &Path| {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(PublishError::io("set the mode of", dir))
    };
    let Ok(found) = std::fs::metadata(dir) else {
        std::fs::create_dir_all(dir).map_err(PublishError::io("create", dir))?;
        return close(dir);
    };
    if found.permissions().mode() & 0o077 != 0 {
        tracing::warn!(dir = %dir.display(), "others may look into the state directory; `chmod 700` closes it");
    }
    for name in [
        BUNDLES_DIR,
        CONFLICT_DIR,
        QUARANTINE_DIR,
        RECEIPTS_DIR,
        TABLES_DIR,
    ] {
        let own = dir.join(name);
        if own.symlink_metadata().is_ok_and(|own| own.is_dir()) {
            close(&own)?;
        }
    }
    Ok(())
}

/// Locks a file that only its owner may open: the state directory may be one that others can read, and hold locks on.
fn lock_state(dir: &Path) -> Result<File, PublishError> {
    let path = dir.join("lock");
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .open(&path)
        .map_err(PublishError::io("open", &path))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(PublishError::io("set the mode of", &path))?;
    lock_open(file, dir)
}

fn lock(dir: &Path) -> Result<File, PublishError> {
    lock_open(File::open(dir).map_err(PublishError::io("open", dir))?, dir)
}

fn lock_open(file: File, dir: &Path) -> Result<File, PublishError> {
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(PublishError::InUse {
            path: dir.to_path_buf(),
        }),
        Err(errno) => Err(PublishError::io("lock", dir)(errno.into())),
    }
}
