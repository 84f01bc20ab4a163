//! The steps on a directory.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use groma_spool::{Replace, create_dirs_durable, sync_dir, write_durable};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

pub(crate) fn list(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

pub(crate) fn sizes(dir: &Path) -> io::Result<HashMap<String, u64>> {
    let mut sizes = HashMap::new();
    for name in list(dir)? {
        match fs::metadata(dir.join(&name)) {
            Ok(found) if found.is_file() => drop(sizes.insert(name, found.len())),
            // Removed meanwhile, or a folder.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sizes)
}

pub(crate) fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
    SystemTime::now().duration_since(modified).ok()
}

pub(crate) fn write(root: &Path, path: &Path, bytes: &[u8], over: bool) -> io::Result<()> {
    create_parent(root, path)?;
    let replace = if over {
        Replace::Always
    } else {
        Replace::Never
    };
    write_durable(path, bytes, replace)
}

pub(crate) fn create_parent(root: &Path, path: &Path) -> io::Result<()> {
    if !root.exists() {
        fs::create_dir_all(root)?;
    }
    create_dirs_durable(root, path.parent().unwrap_or(root))
}

/// Gives a file of this file system its name unless that is taken.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems know no RENAME_NOREPLACE; a hard link is as atomic.
        Err(Errno::INVAL) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

pub(crate) fn place(root: &Path, staged: &Path, target: &Path) -> io::Result<()> {
    create_parent(root, target)?;
    match rename_new(staged, target) {
        Ok(()) => sync_dir(target.parent().unwrap_or(root)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
