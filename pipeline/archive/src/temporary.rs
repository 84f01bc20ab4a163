//! Files being written: named in `.tmp/`, locked while their writer lives, so that the dead are told from the living.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use groma_spool::RENAME_LOCK;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::disk::{Disk, Place, Taken, WritableFile};

/// The mode of objects, less the umask: everybody who may enter the archive's directory may read them.
const MODE: u32 = 0o644;

/// A temporary file that this process owns for as long as it has it open.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) file: WritableFile,
    pub(crate) path: PathBuf,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Temporary {
    pub(crate) fn create(disk: &Disk, dir: &Path) -> io::Result<Temporary> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{number}", std::process::id()));
            let file = match disk.create_file(Place::path(&path), MODE, Taken::Refuse) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            let temporary = Temporary { file, path };
            // A cleaner may have taken the name for abandoned between the creation and the lock: then start over.
            match flock(
                temporary.file.file(),
                FlockOperation::NonBlockingLockExclusive,
            ) {
                Ok(()) if rustix::fs::fstat(temporary.file.file())?.st_nlink == 1 => {
                    return Ok(temporary);
                }
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(error) => {
                    // Where nothing can be locked nobody clears.
                    let _ = disk.remove(Place::path(&temporary.path));
                    return Err(error.into());
                }
            }
        }
    }
}

/// Removes the temporary files of writers that are gone. Answers how many there were.
pub(crate) fn clear_abandoned(disk: &Disk, dir: &Path) -> io::Result<usize> {
    let mut cleared = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() || entry.file_name() == RENAME_LOCK {
            continue;
        }
        // Another cleaner or the writer itself may be faster; neither is our error.
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && disk.remove(Place::path(&entry.path())).is_ok()
        {
            cleared += 1;
        }
    }
    Ok(cleared)
}
