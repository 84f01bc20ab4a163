//! Which volume a datatype's directory is on, found by trying.
//!
//! A datatype's directory may be a mount, a symbolic link to another disk, a btrfs subvolume or a bind mount. No file can
//! be renamed into it from a directory on another volume, and device numbers do not show it: a bind mount has the number of
//! its source. So a probe makes the steps of a real file: create, write, sync, rename without replacing, remove.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use groma_disk::{Method, Rivals, create_private_dir};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// The volume of a datatype's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// The one of the experiment's directory: both share `<experiment>/.tmp` and `<experiment>/.claimed`.
    Shared,
    /// One of its own: it has `.tmp` and `.claimed` inside the datatype's directory.
    Own,
}

impl Volume {
    /// Returns the directory `name` (`.tmp` or `.claimed`) of a datatype.
    pub fn place(self, experiment: &Path, datatype: &str, name: &str) -> PathBuf {
        match self {
            Self::Shared => experiment.join(name),
            Self::Own => experiment.join(datatype).join(name),
        }
    }
}

/// Finds the volume of `<experiment>/<datatype>`, whose directory must exist, and the method that renames there. Creates
/// the directory `name` where it is missing, with mode 0700, and leaves no file behind.
///
/// `is_from` says in which direction files will move: out of the directory `name` into the datatype's, or into it.
/// On a full disk nothing can be tried; then the kernel's numbers of the mount and the device decide.
///
/// # Errors
///
/// The first step that fails on the datatype's own volume, with the directory.
pub fn probe(
    experiment: &Path,
    datatype: &str,
    name: &str,
    rivals: Rivals,
    is_from: bool,
) -> Result<(Volume, Method), (PathBuf, io::Error)> {
    let datatype_dir = experiment.join(datatype);
    for volume in [Volume::Shared, Volume::Own] {
        let dir = volume.place(experiment, datatype, name);
        let tried = create_private_dir(&dir).and_then(|()| {
            if is_from {
                groma_disk::probe(&dir, &datatype_dir, rivals)
            } else {
                groma_disk::probe(&datatype_dir, &dir, rivals)
            }
        });
        match tried {
            Ok(method) => return Ok((volume, method)),
            Err(error)
                if error.kind() == io::ErrorKind::CrossesDevices && volume == Volume::Shared => {}
            Err(error) if is_full(&error) => {
                let volume = by_numbers(experiment, &datatype_dir)
                    .map_err(|error| (datatype_dir.clone(), error))?;
                return Ok((volume, Method::NoReplace));
            }
            Err(error) => return Err((datatype_dir, error)),
        }
    }
    Err((datatype_dir, io::ErrorKind::CrossesDevices.into()))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Returns the first directory of a year, month or day that is on another volume than `datatype_dir`. No file can be renamed
/// from there to where the datatype's files are claimed.
///
/// # Errors
///
/// The directory that cannot be looked at, and why.
pub fn volume_below(datatype_dir: &Path) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    const DATE_DEPTH: usize = 3;
    let at = |dir: &Path| {
        let dir = dir.to_owned();
        move |error| (dir, error)
    };
    let own = numbers(datatype_dir).map_err(at(datatype_dir))?;
    let mut waiting = vec![(datatype_dir.to_owned(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let entry = entry.map_err(at(&dir))?;
            let path = entry.path();
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if is_hidden || !entry.file_type().map_err(at(&path))?.is_dir() {
                continue;
            }
            match numbers(&path) {
                Ok(found) if found != own => return Ok(Some(path)),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => drop(found.map_err(at(&path))?),
            }
            if depth + 1 < DATE_DEPTH {
                waiting.push((path, depth + 1));
            }
        }
    }
    Ok(None)
}

fn by_numbers(experiment: &Path, datatype: &Path) -> io::Result<Volume> {
    Ok(if numbers(experiment)? == numbers(datatype)? {
        Volume::Shared
    } else {
        Volume::Own
    })
}

/// Returns the kernel's numbers of a directory's mount and device.
fn numbers(dir: &Path) -> io::Result<(u64, u32, u32)> {
    let found = statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID)?;
    Ok((found.stx_mnt_id, found.stx_dev_major, found.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_of_one_volume_shares_the_directories_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ndt7")).unwrap();
        for is_from in [true, false] {
            let found = probe(dir.path(), "ndt7", ".tmp", Rivals::Possible, is_from);
            assert_eq!(found.unwrap().0, Volume::Shared);
            assert_eq!(fs::read_dir(dir.path().join("ndt7")).unwrap().count(), 0);
            assert_eq!(fs::read_dir(dir.path().join(".tmp")).unwrap().count(), 0);
        }
        assert_eq!(
            by_numbers(dir.path(), &dir.path().join("ndt7")).unwrap(),
            Volume::Shared
        );
    }

    #[test]
    fn a_probe_removes_the_files_of_killed_probes_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (ndt7, tmp) = (dir.path().join("ndt7"), dir.path().join(".tmp"));
        fs::create_dir(&ndt7).unwrap();
        fs::create_dir(&tmp).unwrap();
        for dead in [&ndt7, &tmp] {
            fs::write(dead.join(".probe-1-2-3"), "groma").unwrap();
        }
        let living = fs::File::create(ndt7.join(".probe-4-5-6")).unwrap();
        living.lock().unwrap();
        fs::write(ndt7.join(".hidden"), "another program's").unwrap();
        probe(dir.path(), "ndt7", ".tmp", Rivals::Possible, true).unwrap();
        let mut left: Vec<_> = [&ndt7, &tmp]
            .iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".hidden", ".probe-4-5-6"]);
    }

    #[test]
    fn a_linked_datatype_on_another_file_system_has_its_own_directories() {
        let (dir, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in("/dev/shm"),
        );
        let Ok(other) = other else {
            println!("skipped: there is no second file system at /dev/shm");
            return;
        };
        if by_numbers(dir.path(), other.path()).unwrap() == Volume::Shared {
            println!("skipped: the temporary directory is on the file system of /dev/shm");
            return;
        }
        std::os::unix::fs::symlink(other.path(), dir.path().join("ndt7")).unwrap();
        let found = probe(dir.path(), "ndt7", ".claimed", Rivals::Excluded, false);
        assert_eq!(found.unwrap().0, Volume::Own);
        assert!(other.path().join(".claimed").is_dir());
        assert_eq!(
            by_numbers(dir.path(), &dir.path().join("ndt7")).unwrap(),
            Volume::Own
        );
    }

    #[test]
    fn a_directory_that_takes_no_file_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ndt7"), "a file").unwrap();
        let (at, error) = probe(dir.path(), "ndt7", ".tmp", Rivals::Possible, true).unwrap_err();
        assert_eq!(at, dir.path().join("ndt7"));
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
