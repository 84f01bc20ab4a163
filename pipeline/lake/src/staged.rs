//! Data files that are written but not yet in place.
//!
//! Their names contain the table, the date and the number of the log entry that they belong to. In a directory, the writer
//! holds a lock on each of them. After the writer dies, the log decides: files that the entry lists are moved into place, others
//! are removed. A bucket has no locks. There, a file that no entry lists is removed when another sealer has taken the number of
//! the entry, or when the file is older than the longest time that a writer may run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use groma_disk::{create_dirs_durable, sync_dir};
use groma_lake_store::LakeStore;
use jiff::civil::Date;
use tempfile::TempPath;

use crate::LakeError;
use crate::log::{Log, Part};
use crate::table::{Table, list};
use groma_lake_layout::{STAGED_DIR, STAGED_DIR_IN_BUCKET, StagedPath};

/// A writer gives up after this time in a bucket. Files older than twice this time are abandoned.
const WRITER_LIVES: Duration = Duration::from_hours(12);

/// A staged file of this process. Dropped before its entry is in the log, it vanishes.
pub(crate) struct Staged {
    pub(crate) file: File,
    /// Where this process writes it.
    pub(crate) path: PathBuf,
    store: LakeStore,
    name: String,
    begun: Instant,
    /// It is written here and uploaded later.
    local: Option<TempPath>,
    keep: bool,
}

fn dir(store: &LakeStore) -> &'static str {
    if store.is_bucket() {
        STAGED_DIR_IN_BUCKET
    } else {
        STAGED_DIR
    }
}

impl Staged {
    /// A new file for the entry `number` of the log of this date.
    pub(crate) fn create(table: &Table, date: Date, number: usize) -> Result<Staged, LakeError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let nanos = jiff::Timestamp::now().as_nanosecond();
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{}.{}.{date}.{number}.{}-{nanos}-{serial}",
            table.experiment(),
            table.datatype(),
            std::process::id()
        );
        let staged = |file, path, local| Staged {
            file,
            path,
            store: table.store().clone(),
            name: name.clone(),
            begun: Instant::now(),
            local,
            keep: false,
        };
        if table.store().is_bucket() {
            let temporary = tempfile::NamedTempFile::with_prefix("groma-part-");
            let temporary = temporary.map_err(LakeError::io("create", std::env::temp_dir()))?;
            let (file, local) = temporary.into_parts();
            return Ok(staged(file, local.to_path_buf(), Some(local)));
        }
        let dir = table.lake().join(STAGED_DIR);
        create_dirs_durable(table.lake(), &dir).map_err(LakeError::io("create", &dir))?;
        let path = dir.join(&name);
        loop {
            let file = File::create_new(&path).map_err(LakeError::io("create", &path))?;
            file.lock().map_err(LakeError::io("lock", &path))?;
            // Before it was locked, another pass may have taken it for one of a dead writer.
            if path.exists() {
                return Ok(staged(file, path, None));
            }
        }
    }

    /// Its path below the lake.
    pub(crate) fn below_lake(&self) -> StagedPath {
        StagedPath::new(dir(&self.store), &self.name)
    }

    /// The log names it now: it stays until it is in place.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.keep {
            // A leftover is cleared by the next pass.
            let _ = match &self.local {
                Some(_) => self.store.remove(self.below_lake().as_ref()).map(drop),
                None => fs::remove_file(&self.path),
            };
        }
    }
}

/// Makes these files durable where others find them.
pub(crate) fn publish(table: &Table, staged: &[Staged]) -> Result<(), LakeError> {
    if !table.store().is_bucket() {
        let dir = table.lake().join(STAGED_DIR);
        return sync_dir(&dir).map_err(LakeError::io("sync", dir));
    }
    for file in staged {
        let target = PathBuf::from(file.below_lake().as_str());
        let uploaded = fs::read(&file.path).and_then(|bytes| table.store().create(&target, &bytes));
        match uploaded {
            // An earlier answer was lost: only this process uses the name.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result.map_err(LakeError::io("write", target))?,
        }
    }
    if staged
        .iter()
        .any(|file| file.begun.elapsed() > WRITER_LIVES)
    {
        let late = std::io::ErrorKind::TimedOut;
        return Err(LakeError::io("stage parts in", dir(table.store()))(
            late.into(),
        ));
    }
    Ok(())
}

/// Moves a data file of a durable entry into place, unless that was done before.
pub(crate) fn place(table: &Table, log: &Log, part: &Part) -> Result<(), LakeError> {
    let staged = table.lake().join(&part.staged);
    let target = table.dir().join(&part.path);
    // Another one may have placed it; a compacted file may also have been replaced since.
    let placed = if log.is_correction(part) {
        table.store().place_over(&staged, &target)
    } else {
        table.store().place(&staged, &target)
    };
    placed.map_err(LakeError::io("place", target))
}

/// Finishes what dead sealers left: parts that a log names are placed, others removed. Gives how many of each.
pub(crate) fn recover(lake: &LakeStore) -> Result<(usize, usize), LakeError> {
    let dir = lake.root().join(dir(lake));
    let (mut placed, mut removed) = (0, 0);
    for name in list(lake, &dir)? {
        let path = dir.join(&name);
        // Held until the file was seen to.
        let mut _locked = None;
        if !lake.is_bucket() {
            // Another sealer may move the file into place meanwhile.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if file.try_lock().is_err() {
                continue;
            }
            _locked = Some(file);
        }
        match owner(lake, &name)? {
            Owner::Part(table, log, part) => {
                place(&table, &log, &part)?;
                placed += 1;
            }
            Owner::Undecided if lake.is_bucket() && !is_leftover(lake, &path) => {}
            Owner::Undecided | Owner::Nobody => {
                let gone = lake.remove(&path).map_err(LakeError::io("remove", &path))?;
                removed += usize::from(gone);
            }
        }
    }
    Ok((placed, removed))
}

fn is_leftover(lake: &LakeStore, path: &Path) -> bool {
    lake.age(path).is_some_and(|age| age > 2 * WRITER_LIVES)
}

/// Whose a staged file is.
enum Owner {
    /// A log names it.
    Part(Table, Log, Box<Part>),
    /// Its entry may still be made.
    Undecided,
    /// Another sealer was faster, or Groma did not write the file.
    Nobody,
}

fn owner(lake: &LakeStore, name: &str) -> Result<Owner, LakeError> {
    let pieces: Vec<&str> = name.split('.').collect();
    let [experiment, datatype, date, number, ..] = pieces[..] else {
        return Ok(Owner::Nobody);
    };
    let (Ok(experiment), Ok(datatype), Ok(date), Ok(number)) = (
        experiment.parse(),
        datatype.parse(),
        date.parse(),
        number.parse::<usize>(),
    ) else {
        return Ok(Owner::Nobody);
    };
    let table = Table::new(lake.clone(), experiment, datatype);
    let log = Log::read(&table, date)?;
    let below = format!("{}/{name}", dir(lake));
    let part = log.parts().find(|part| *part.staged == *below).cloned();
    Ok(match part {
        Some(part) => Owner::Part(table, log, Box::new(part)),
        None if number < log.entries.len() => Owner::Nobody,
        None => Owner::Undecided,
    })
}
