//! Parts that are written but not yet in place.
//!
//! They wait in `<lake>/.staged` under a name that says for which entry of which log they are, locked while their writer
//! lives. When the writer dies, the log says what becomes of them: named by that entry, they belong in place; else they go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use groma_spool::{create_dirs_durable, sync_dir};
use jiff::civil::Date;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::LakeError;
use crate::log::{Log, Part};
use crate::table::{Table, list};

const DIR: &str = ".staged";

/// A staged file of this process. Dropped before its entry is in the log, it vanishes.
pub(crate) struct Staged {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    name: String,
    keep: bool,
}

impl Staged {
    /// A new file for the entry `number` of the log of this date.
    pub(crate) fn create(table: &Table, date: Date, number: usize) -> Result<Staged, LakeError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let dir = table.lake().join(DIR);
        create_dirs_durable(table.lake(), &dir).map_err(LakeError::io("create", &dir))?;
        let nanos = jiff::Timestamp::now().as_nanosecond();
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{}.{}.{date}.{number}.{}-{nanos}-{serial}",
            table.experiment(),
            table.datatype(),
            std::process::id()
        );
        let path = dir.join(&name);
        loop {
            let file = File::create_new(&path).map_err(LakeError::io("create", &path))?;
            file.lock().map_err(LakeError::io("lock", &path))?;
            // Before it was locked, another pass may have taken it for one of a dead writer.
            if path.exists() {
                return Ok(Staged {
                    file,
                    path,
                    name,
                    keep: false,
                });
            }
        }
    }

    /// Its path below the lake's directory.
    pub(crate) fn below_lake(&self) -> String {
        format!("{DIR}/{}", self.name)
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
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in the staging directory durable.
pub(crate) fn sync(table: &Table) -> Result<(), LakeError> {
    let dir = table.lake().join(DIR);
    sync_dir(&dir).map_err(LakeError::io("sync", dir))
}

/// Puts a part of a durable entry in place, unless somebody did.
pub(crate) fn place(table: &Table, part: &Part) -> Result<(), LakeError> {
    let staged = table.lake().join(&part.staged);
    let target = table.dir().join(&part.path);
    let Some(dir) = target.parent() else {
        return Ok(());
    };
    create_dirs_durable(table.lake(), dir).map_err(LakeError::io("create", dir))?;
    let moved = match renameat_with(CWD, &staged, CWD, &target, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL) => {
            fs::hard_link(&staged, &target).and_then(|()| fs::remove_file(&staged))
        }
        result => result.map_err(io::Error::from),
    };
    match moved {
        Ok(()) => sync_dir(dir).map_err(LakeError::io("sync", dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Another one placed it; a compacted file may also have been replaced since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(LakeError::io("place", target)(error)),
    }
}

/// Finishes what dead sealers left: parts that a log names are placed, others removed. Gives how many of each.
pub(crate) fn recover(lake: &Path) -> Result<(usize, usize), LakeError> {
    let dir = lake.join(DIR);
    let (mut placed, mut removed) = (0, 0);
    for name in list(&dir)? {
        let path = dir.join(&name);
        // Whoever finishes meanwhile takes the file away, which is as good.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if file.try_lock().is_err() {
            continue;
        }
        match owner(lake, &name, &format!("{DIR}/{name}"))? {
            Some((table, part)) => {
                place(&table, &part)?;
                placed += 1;
            }
            None => {
                removed += usize::from(remove(&path)?);
            }
        }
    }
    Ok((placed, removed))
}

fn remove(path: &Path) -> Result<bool, LakeError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LakeError::io("remove", path)(error)),
    }
}

/// The part that a log's entry says this staged file is.
fn owner(lake: &Path, name: &str, below: &str) -> Result<Option<(Table, Part)>, LakeError> {
    let pieces: Vec<&str> = name.split('.').collect();
    let [experiment, datatype, date, ..] = pieces[..] else {
        return Ok(None);
    };
    let (Ok(experiment), Ok(datatype), Ok(date)) =
        (experiment.parse(), datatype.parse(), date.parse())
    else {
        return Ok(None);
    };
    let table = Table::new(lake, experiment, datatype);
    let log = Log::read(&table, date)?;
    let part = log.parts().find(|part| part.staged == below).cloned();
    Ok(part.map(|part| (table, part)))
}
