//! Quarantine: files that must not be published as they are, kept for a person to look at, never deleted.
//!
//! `<state>/quarantine/<datatype>/YYYY-MM-DD/<file>` with mode 0600, and `<file>.reason.json` beside it.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use groma_spool::{Replace, SpoolPath, create_dirs_durable, sync_dir, write_durable};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Serialize;

use crate::fault::{CrashPoint, reach};
use crate::shared::{Lane, Shared};
use crate::{PublishError, tree};

const PRIVATE: u32 = 0o600;

/// What the reason file says.
#[derive(Serialize)]
struct Note<'a> {
    file: &'a str,
    path: String,
    reason: &'a str,
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
    let state_dir = &shared.config.state_dir;
    let dir = state_dir
        .join("quarantine")
        .join(path.datatype.as_str())
        .join(path.date.to_string());
    create_dirs_durable(state_dir, &dir).map_err(PublishError::io("create", &dir))?;
    let target = free_name(&dir, path.file.as_str());
    let note = Note {
        file: path.file.as_str(),
        path: path.to_string(),
        reason,
    };
    let note = serde_json::to_vec(&note).expect("a reason has string keys only");
    let mut note_path = target.clone().into_os_string();
    note_path.push(".reason.json");
    // The reason first: a file without one would be a riddle, a reason without a file is written again.
    write_durable(Path::new(&note_path), &note, Replace::Always)
        .map_err(PublishError::io("write reason of quarantine", &target))?;
    move_there(claimed, path.file.as_str(), opened, &target)
        .map_err(PublishError::io("quarantine to", &target))?;
    sync_dir(&dir).map_err(PublishError::io("sync", &dir))?;
    tree::sync(claimed).map_err(PublishError::io(
        "sync the claimed directory of",
        Path::new(path.file.as_str()),
    ))?;
    lane.metrics.quarantined();
    tracing::warn!(file = %path, reason, "a file went to quarantine");
    reach(&shared.config, CrashPoint::Quarantined);
    Ok(())
}

/// The file's own name, or with a number behind it when that is taken.
fn free_name(dir: &Path, name: &str) -> PathBuf {
    let mut path = dir.join(name);
    let mut number = 1_u64;
    while path.symlink_metadata().is_ok() {
        number += 1;
        path = dir.join(format!("{name}.{number}"));
    }
    path
}

fn move_there(
    claimed: &OwnedFd,
    name: &str,
    opened: Option<&File>,
    target: &Path,
) -> io::Result<()> {
    if let Some(file) = opened {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    match (
        renameat_with(claimed, name, CWD, target, RenameFlags::NOREPLACE),
        opened,
    ) {
        (Ok(()), _) => Ok(()),
        // The state directory may be another file system than the spool.
        (Err(Errno::XDEV), Some(file)) => {
            copy_durable(file, target)?;
            tree::unlink(claimed, name)
        }
        (Err(errno), _) => Err(errno.into()),
    }
}

fn copy_durable(mut file: &File, target: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.partial"));
    let mut copy = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE)
        .open(&temporary)?;
    file.rewind()?;
    io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    fs::rename(&temporary, target)?;
    sync_dir(target.parent().unwrap_or(target))
}
