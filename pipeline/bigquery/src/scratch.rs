//! Files on their way, in a directory that is locked while its process lives.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "groma-bigquery-";

/// A new directory may be taken for an abandoned one before it is locked; then another is made.
const MOST_RACES: usize = 10;

/// A directory below the system's temporary one, removed when dropped, or by the next process if this one is killed.
pub(crate) struct Scratch {
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes one below `parent`, and removes those of processes that died.
    pub(crate) fn create(parent: &Path) -> io::Result<Scratch> {
        // A directory that cannot be cleared does no harm.
        let _ = clear_abandoned(parent);
        for _ in 0..MOST_RACES {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            // A process that clears directories may have locked this one, or removed it.
            if let Ok(lock) = File::open(dir.path())
                && lock.try_lock().is_ok()
                && dir.path().exists()
            {
                return Ok(Scratch { dir, _lock: lock });
            }
        }
        Err(io::Error::other("each is removed by another process"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn clear_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || !entry.file_type()?.is_dir() {
            continue;
        }
        // Those of other users cannot be opened, and a process that ends removes its own.
        if let Ok(dir) = File::open(entry.path())
            && dir.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_dead_go_and_those_of_the_living_stay() {
        let parent = TempDir::new().unwrap();
        let dead = parent.path().join("groma-bigquery-dead");
        fs::create_dir_all(dead.join("lake/table")).unwrap();
        let other = parent.path().join("groma-other");
        fs::create_dir(&other).unwrap();
        let first = Scratch::create(parent.path()).unwrap();
        let second = Scratch::create(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists() && other.exists());
        assert!(!dead.exists());
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
    }
}
