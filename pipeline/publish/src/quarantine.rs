//! Quarantine: files that must not be published as they are, kept for a person to look at, never deleted.
//!
//! `<state>/quarantine/<datatype>/YYYY-MM-DD/<file>` with mode 0600, and `<file>.reason.json` beside it.

use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use groma_archive::disk::{Disk, Place, Taken};
use groma_spool::SpoolPath;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::PublishError;
use crate::fault::{CrashPoint, reach};
use crate::files::{hex, visible_entries};
use crate::shared::{Lane, Shared};
use crate::tree::Found;

const PRIVATE: u32 = 0o600;
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
pub(crate) const NOTE_END: &str = ".reason.json";
/// A name that leaves room for the end of a reason's, and for those of the hidden file it is written to first.
const LONGEST_WITH_NOTE: usize = 200;
/// The limit of Linux file systems.
const NAME_MAX_BYTES: usize = 255;

/// What the reason file says.
#[derive(Serialize)]
struct Note<'a> {
    file: &'a str,
    path: String,
    reason: &'a str,
}

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

    /// Takes room for a file; false if there is none, also after a look at what an operator took out meanwhile.
    fn take(&self, bytes: u64) -> Result<bool, PublishError> {
        let mut used = self
            .used_bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if used.saturating_add(bytes) > self.max_bytes {
            *used = size_of(&self.dir)?;
        }
        let after = used.saturating_add(bytes);
        let fits = after <= self.max_bytes;
        if fits {
            *used = after;
        }
        Ok(fits)
    }
}

/// Bytes of the files in `<datatype>/<date>/` below a directory.
fn size_of(dir: &Path) -> Result<u64, PublishError> {
    let mut bytes = 0;
    for datatype in visible_entries(dir)? {
        if !datatype.is_dir() {
            continue;
        }
        for date in visible_entries(&datatype)? {
            for file in visible_entries(&date)? {
                bytes += file.symlink_metadata().map_or(0, |found| found.len());
            }
        }
    }
    Ok(bytes)
}

/// Moves a claimed file into quarantine. `opened` is the file if it may be read; what may not is moved unread.
pub(crate) fn put(
    shared: &Shared,
    lane: &Lane,
    claimed: &OwnedFd,
    path: &SpoolPath,
    opened: Option<&File>,
    reason: &str,
) -> Result<(), PublishError> {
    let disk = &shared.config.disk;
    let state_dir = &shared.config.state_dir;
    let dir = state_dir
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
    if !shared.quarantine.take(found.identity.size_bytes)? {
        lane.hold_for_quarantine(true);
        return Err(PublishError::QuarantineFull {
            file: path.to_string(),
            max_bytes: shared.config.quarantine_max_bytes,
        });
    }
    lane.hold_for_quarantine(false);
    disk.create_dirs(state_dir, &dir, 0o700)
        .map_err(PublishError::io("create", &dir))?;
    let target = free_name(&dir, path.file.as_str());
    let note = Note {
        file: path.file.as_str(),
        path: path.to_string(),
        reason,
    };
    let note = serde_json::to_vec(&note).expect("a reason has string keys only");
    let note_path = note_path(&target);
    // The reason first: a file without one would be a riddle, a reason without a file is written again.
    disk.write_durable(&note_path, &note, PRIVATE)
        .map_err(PublishError::io("write reason of quarantine", &target))?;
    move_there(disk, claimed, path.file.as_str(), opened, found, &target)
        .map_err(PublishError::io("quarantine to", &target))?;
    // The move is not made durable: after a power cut the file stands in the one place or the other.
    lane.metrics.quarantined();
    tracing::warn!(file = %path, reason, "a file went to quarantine");
    reach(&shared.config, CrashPoint::Quarantined);
    Ok(())
}

/// The name of the reason of a file in quarantine. Of a long name it has the beginning and a checksum.
pub(crate) fn note_path(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name.len() <= LONGEST_WITH_NOTE {
        return file.with_file_name(format!("{name}{NOTE_END}"));
    }
    let digest = hex(&Sha256::digest(name.as_bytes()));
    file.with_file_name(format!("{}-{}{NOTE_END}", &name[..150], &digest[..16]))
}

/// The file's own name, or with a number behind it when that is taken.
fn free_name(dir: &Path, name: &str) -> PathBuf {
    let mut path = dir.join(name);
    let mut number = 1_u64;
    while path.symlink_metadata().is_ok() {
        number += 1;
        let end = format!(".{number}");
        let kept = name.len().min(NAME_MAX_BYTES - end.len());
        path = dir.join(format!("{}{end}", &name[..kept]));
    }
    path
}

fn move_there(
    disk: &Disk,
    claimed: &OwnedFd,
    name: &str,
    opened: Option<&File>,
    found: Found,
    target: &Path,
) -> io::Result<()> {
    if let Some(file) = opened {
        match file.set_permissions(Permissions::from_mode(PRIVATE)) {
            // Only the owner may change a mode; a copy is ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                copy_durable(disk, file, target)?;
                return disk.remove(Place::at(claimed, name));
            }
            other => other?,
        }
    }
    match (
        disk.rename(Place::at(claimed, name), Place::path(target), Taken::Refuse),
        opened,
    ) {
        (Ok(()), _) => Ok(()),
        // The state directory may be another file system than the spool.
        (Err(error), Some(file)) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_durable(disk, file, target)?;
            disk.remove(Place::at(claimed, name))
        }
        // What has no bytes of its own, or other names for them, is known by its reason.
        (Err(error), None)
            if error.kind() == io::ErrorKind::CrossesDevices && found.objection().is_some() =>
        {
            let file = disk.create_file(Place::path(target), PRIVATE, Taken::Refuse)?;
            file.sync()?;
            disk.sync_dir(Place::path(target).dir)?;
            disk.remove(Place::at(claimed, name))
        }
        (Err(error), _) => Err(error),
    }
}

fn copy_durable(disk: &Disk, mut file: &File, target: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let short = hex(&Sha256::digest(name.as_bytes()));
    let temporary = target.with_file_name(format!(".{short}.partial"));
    let mut copy = disk.create_file(Place::path(&temporary), PRIVATE, Taken::Replace)?;
    file.rewind()?;
    io::copy(&mut file, &mut copy)?;
    copy.sync()?;
    let target = Place::path(target);
    disk.rename(Place::path(&temporary), target, Taken::Refuse)?;
    disk.sync_dir(target.dir)
}
