//! Quarantine: files that must not be published as they are, kept for a person to look at, never deleted.
//!
//! `<state>/quarantine/<datatype>/YYYY-MM-DD/<file>` with mode 0600, and `<file>.reason.json` beside it.

pub(crate) mod curate;

pub use curate::{Quarantine, Quarantined};

use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use groma_archive::hex;
use groma_disk::{Disk, Entry, Taken};
use groma_spool::SpoolPath;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::PublishError;
use crate::fault::{CrashPoint, reach};
use crate::files::{digest, visible_entries};
use crate::shared::{Lane, Misfit, Shared};
use crate::tree::{Found, STAT_BLOCK_BYTES};

const PRIVATE: u32 = 0o600;
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
pub(crate) const NOTE_END: &str = ".reason.json";
/// A name that leaves room for the end of a reason's, and for those of the hidden file it is written to first.
const LONGEST_WITH_NOTE: usize = 200;
/// The limit of Linux file systems.
const NAME_MAX_BYTES: usize = 255;

/// The content of a reason file.
#[derive(Serialize)]
struct Note<'a> {
    file: &'a str,
    path: String,
    reason: &'a str,
}

/// The smallest size of a file on disk, and the size of every reason: one block of most file systems. It limits the number of
/// empty files too.
const BLOCK_BYTES: u64 = 4096;

/// How much room is left in quarantine.
#[derive(Debug)]
pub(crate) struct Budget {
    dir: PathBuf,
    max_bytes: u64,
    used_bytes: Mutex<u64>,
}

impl Budget {
    pub(crate) fn of(state_dir: &Path, max_bytes: u64) -> Result<Budget, PublishError> {
        let dir = state_dir.join(QUARANTINE_DIR);
        Ok(Budget {
            used_bytes: Mutex::new(size_of(&dir)?),
            dir,
            max_bytes,
        })
    }

    /// Takes room for a file, if there is any, also after a look at what an operator took out meanwhile.
    fn take(&self, bytes: u64, file: &SpoolPath) -> Result<(), PublishError> {
        let mut used = self
            .used_bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if used.saturating_add(bytes) > self.max_bytes {
            *used = size_of(&self.dir)?;
        }
        let after = used.saturating_add(bytes);
        if after > self.max_bytes {
            return Err(PublishError::QuarantineFull {
                file: file.to_string(),
                max_bytes: self.max_bytes,
            });
        }
        *used = after;
        Ok(())
    }
}

/// Returns the size on disk of the files in `<datatype>/<date>/` below a directory.
fn size_of(dir: &Path) -> Result<u64, PublishError> {
    let mut bytes = 0;
    for datatype in visible_entries(dir)? {
        if !datatype.is_dir() {
            continue;
        }
        for date in visible_entries(&datatype)? {
            for file in visible_entries(&date)? {
                bytes += file.symlink_metadata().map_or(0, |found| {
                    let disk_bytes = found.blocks().saturating_mul(STAT_BLOCK_BYTES);
                    disk_bytes.max(BLOCK_BYTES)
                });
            }
        }
    }
    Ok(bytes)
}

/// Moves a claimed file into quarantine. `opened` is the file if it may be read; others are moved unread. If a file is
/// larger than the whole quarantine, only its reason goes there. The file itself stays, and nothing waits for it.
pub(crate) fn put(
    shared: &Shared,
    lane: &Lane,
    claimed: &OwnedFd,
    path: &SpoolPath,
    opened: Option<&File>,
    reason: &str,
) -> Result<(), PublishError> {
    let (config, budget) = (&shared.config, &shared.quarantine);
    let dir = config
        .state_dir
        .join(QUARANTINE_DIR)
        .join(path.datatype.as_str())
        .join(path.date.to_string());
    let found = shared
        .tree
        .look(claimed, path.file.as_str())
        .map_err(PublishError::io("look at", &dir))?;
    let Some(found) = found else {
        return Ok(());
    };
    let moved_bytes = with_reason(found.disk_bytes);
    if moved_bytes > budget.max_bytes {
        return keep_misfit(shared, lane, &dir, path, &found, reason);
    }
    budget.take(moved_bytes, path)?;
    let target = write_reason(&config.disk, &config.state_dir, &dir, path, reason)?;
    let failed = || PublishError::io("quarantine to", &target);
    let name = path.file.as_str();
    let is_moved = move_there(&config.disk, claimed, name, opened, &found, &target);
    if let (false, Some(file)) = (is_moved.map_err(failed())?, opened) {
        // A copy has no holes.
        let copied_bytes = with_reason(found.disk_bytes.max(found.identity.size_bytes));
        if copied_bytes > budget.max_bytes {
            return keep_misfit(shared, lane, &dir, path, &found, reason);
        }
        let is_copied = is_copied_already(file, &dir, name, &target).map_err(failed())?;
        let copied = if is_copied {
            config.disk.remove(Entry::path(&note_path(&target)))
        } else {
            budget.take(copied_bytes - moved_bytes, path)?;
            copy_durable(&config.disk, file, &target)
        };
        copied
            .and_then(|()| config.disk.remove(Entry::at(claimed, name)))
            .map_err(failed())?;
    }
    // The move is not made durable: after a power cut the file is in one of the two directories.
    lane.metrics.quarantined();
    tracing::warn!(file = %path, reason, "a file went to quarantine");
    reach(config, CrashPoint::Quarantined);
    Ok(())
}

/// Returns the size of a file and its reason in the quarantine.
fn with_reason(bytes: u64) -> u64 {
    bytes.max(BLOCK_BYTES).saturating_add(BLOCK_BYTES)
}

/// Puts on record why a file is not published that has no place in quarantine, and leaves it among the claimed ones.
fn keep_misfit(
    shared: &Shared,
    lane: &Lane,
    dir: &Path,
    path: &SpoolPath,
    found: &Found,
    reason: &str,
) -> Result<(), PublishError> {
    let config = &shared.config;
    let max_bytes = config.quarantine_max_bytes;
    shared.quarantine.take(BLOCK_BYTES, path)?;
    let reason = format!(
        "{reason}; it is larger than the quarantine of {max_bytes} bytes and stays among the claimed files"
    );
    write_reason(&config.disk, &config.state_dir, dir, path, &reason)?;
    tracing::error!(file = %path, reason, "delete the file, or start again with a larger quarantine");
    let misfit = Misfit {
        identity: found.identity,
        since: Instant::now(),
    };
    let mut misfits = lane.misfits();
    // Its age grows on although it was changed.
    let known = misfits.entry(path.clone()).or_insert(misfit);
    known.identity = found.identity;
    Ok(())
}

/// Makes the reason of a file durable, and answers where the file is to go.
fn write_reason(
    disk: &Disk,
    state_dir: &Path,
    dir: &Path,
    path: &SpoolPath,
    reason: &str,
) -> Result<PathBuf, PublishError> {
    disk.create_dirs(state_dir, dir, 0o700)
        .map_err(PublishError::io("create", dir))?;
    let target = free_name(dir, path.file.as_str());
    let note = Note {
        file: path.file.as_str(),
        path: path.to_string(),
        reason,
    };
    let note = serde_json::to_vec(&note).expect("a reason has string keys only");
    // The reason first: a file without one would be a riddle, a reason without a file is written again.
    disk.rewrite_durable(&note_path(&target), &note, PRIVATE)
        .map_err(PublishError::io("write reason of quarantine", &target))?;
    Ok(target)
}

/// Returns the path of the reason of a file in quarantine. It contains the beginning of the name and a checksum.
pub(crate) fn note_path(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name.len() <= LONGEST_WITH_NOTE {
        return file.with_file_name(format!("{name}{NOTE_END}"));
    }
    let digest = hex(&Sha256::digest(name.as_bytes()));
    // A name of another program may have a multi-byte character at the cut.
    let begin = &name[..name.floor_char_boundary(150)];
    file.with_file_name(format!("{begin}-{}{NOTE_END}", &digest[..16]))
}

/// The file's own name, or with a number behind it when that is taken, or its reason's is by a file with a reason of its own.
fn free_name(dir: &Path, name: &str) -> PathBuf {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    numbered(dir, name)
        .find(|path| !is_there(path) && !is_there(&note_path(&note_path(path))))
        .expect("the numbers do not end")
}

fn numbered(dir: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    let numbered = (2_u64..).map(move |number| {
        let end = format!(".{number}");
        let kept = name.len().min(NAME_MAX_BYTES - end.len());
        dir.join(format!("{}{end}", &name[..kept]))
    });
    std::iter::once(dir.join(name)).chain(numbered)
}

/// Reports whether a copy with the same bytes exists under a name before `target`: the process that copied the file may have
/// died before it removed the original.
fn is_copied_already(mut file: &File, dir: &Path, name: &str, target: &Path) -> io::Result<bool> {
    let mut earlier = numbered(dir, name)
        .take_while(|path| path != target)
        .filter_map(|path| curate::open_plain(&path).ok())
        .peekable();
    if earlier.peek().is_none() {
        return Ok(false);
    }
    file.rewind()?;
    let bytes = digest(file)?;
    Ok(earlier.any(|earlier| digest(earlier).is_ok_and(|found| found == bytes)))
}

/// Moves a file by one rename; false if only a copy can do it.
fn move_there(
    disk: &Disk,
    claimed: &OwnedFd,
    name: &str,
    opened: Option<&File>,
    found: &Found,
    target: &Path,
) -> io::Result<bool> {
    if let Some(file) = opened {
        match file.set_permissions(Permissions::from_mode(PRIVATE)) {
            // Only the owner may change a mode; a copy is ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
            other => other?,
        }
    }
    let renamed = disk.rename(Entry::at(claimed, name), Entry::path(target), Taken::Refuse);
    match (renamed, opened) {
        (Ok(()), _) => Ok(true),
        // The state directory may be another file system than the spool.
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
        // A link or special file is identified by its reason.
        (Err(error), None)
            if error.kind() == io::ErrorKind::CrossesDevices && found.objection().is_some() =>
        {
            let file = disk.create_file(Entry::path(target), PRIVATE, Taken::Refuse)?;
            file.sync()?;
            disk.sync_dir(Entry::path(target).dir)?;
            disk.remove(Entry::at(claimed, name))?;
            Ok(true)
        }
        (Err(error), _) => Err(error),
    }
}

fn copy_durable(disk: &Disk, mut file: &File, target: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let short = hex(&Sha256::digest(name.as_bytes()));
    let temporary = target.with_file_name(format!(".{short}.partial"));
    let mut copy = disk.create_file(Entry::path(&temporary), PRIVATE, Taken::Replace)?;
    file.rewind()?;
    copy.copy_from(file)?;
    copy.sync()?;
    let target = Entry::path(target);
    disk.rename(Entry::path(&temporary), target, Taken::Refuse)?;
    disk.sync_dir(target.dir)
}
