//! One lab per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::LabError;

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
            .open(&path)
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
