//! Finds out by trying which steps a file system can make.

use std::fs::{self, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use crate::unfinished::clear_one;
use crate::{Disk, Entry, Method, Rivals, Taken, rename_new_path, temporary_name};

/// The beginning of the names of probe files.
const PROBE: &str = ".probe-";

/// Makes every step of a file's life: creates it in `from`, writes, syncs, renames it to `to` without replacing, removes it.
/// Returns the method that renames there. The file has a hidden name and is removed also after an error. The files of probes
/// that were killed are removed first.
///
/// # Errors
///
/// The error of the first step that fails. `CrossesDevices` means that the directories are on different volumes.
pub fn probe(from: &Path, to: &Path, rivals: Rivals) -> io::Result<Method> {
    clear_probes(from);
    clear_probes(to);
    let mut attempts = 3;
    loop {
        attempts -= 1;
        match probe_once(from, to, rivals) {
            // Another probe removed the file before it was locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => {}
            tried => return tried,
        }
    }
}

/// Removes the files of killed probes. A file that cannot be removed stays: it is hidden, and the probe reports the failed step.
fn clear_probes(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(PROBE.as_bytes()) {
            let _ = clear_one(&Disk::default(), &entry.path());
        }
    }
}

fn probe_once(from: &Path, to: &Path, rivals: Rivals) -> io::Result<Method> {
    let disk = Disk::default();
    let name = || format!("{PROBE}{}", temporary_name());
    let (from, to) = (from.join(name()), to.join(name()));
    let steps = || {
        let mut file = disk.create_file(Entry::path(&from), 0o600, Taken::Refuse)?;
        match file.file().try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::NotFound.into()),
            // Without working locks no process removes the file.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        file.write_all(b"groma")?;
        file.sync()?;
        let method = rename_new_path(&from, &to, rivals)?;
        disk.remove(Entry::path(&to))?;
        Ok(method)
    };
    let tried = steps();
    if tried.is_err() {
        // The first error is the one to report.
        let _ = disk.remove(Entry::path(&from));
        let _ = disk.remove(Entry::path(&to));
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_no_file_and_reports_the_failed_step() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path(), dir.path(), Rivals::Possible).unwrap();
        let missing = probe(dir.path(), &dir.path().join("missing"), Rivals::Possible);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
