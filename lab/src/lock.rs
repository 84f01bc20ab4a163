//! One lab per directory.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::LabError;

/// A process that may open the file can hold its lock and keep the lab from starting.
const MODE: u32 = 0o600;

/// Holds the lab's directory for this process; the kernel lets go of it when
/// the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(root: &Path) -> Result<Self, LabError> {
        let path = root.join("lock");
        let at = |source| LabError::Directory {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&path)
            .map_err(at)?;
        // Also of a file that an earlier version created.
        file.set_permissions(Permissions::from_mode(MODE))
            .map_err(at)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LabError::Busy {
                root: root.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(at(source)),
        }
    }
}
