//! Files being written: named in `.tmp/`, locked while their writer lives, so that the dead are told from the living.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

/// A temporary file that this process owns. Dropping it removes the name, unless it got another.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) renamed: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Temporary {
    pub(crate) fn create(dir: &Path) -> io::Result<Temporary> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{number}", std::process::id()));
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // A cleaner may have taken the name for abandoned between the creation and the lock: then start over.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
                && rustix::fs::fstat(&file)?.st_nlink == 1
            {
                return Ok(Temporary {
                    file,
                    path,
                    renamed: false,
                });
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporary files of writers that are gone. Answers how many there were.
pub(crate) fn clear_abandoned(dir: &Path) -> io::Result<usize> {
    let mut cleared = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        // Another cleaner or the writer itself may be faster; neither is our error.
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fs::remove_file(entry.path()).is_ok()
        {
            cleared += 1;
        }
    }
    Ok(cleared)
}
