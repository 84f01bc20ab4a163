//! The steps on a directory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use groma_disk::{DIR_MODE, Dir, Disk, Entry, FILE_MODE, Replace, Taken};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// How often a path is resolved again while directories on it are renamed.
const RESOLVE_ATTEMPTS: usize = 16;

/// Opens what is at `path` if no symbolic link leads out of `root`. The error of one that does is `PermissionDenied`.
fn open_beneath(root: &Path, path: &Path, flags: OFlags) -> io::Result<File> {
    let below = path
        .strip_prefix(root)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it is not in the lake"))?;
    let below = if below.as_os_str().is_empty() {
        Path::new(".")
    } else {
        below
    };
    let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(root, dir, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    for _ in 0..RESOLVE_ATTEMPTS {
        match openat2(&dir, below, flags, Mode::empty(), resolve) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::AGAIN) => {}
            Err(Errno::XDEV) => return Err(leads_out()),
            Err(Errno::NOSYS) => return open_resolved(root, path, flags),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

/// The same on kernels before 5.6 and in sandboxes without `openat2`. Directories must not be exchanged meanwhile.
fn open_resolved(root: &Path, path: &Path, flags: OFlags) -> io::Result<File> {
    let resolved = path.canonicalize()?;
    if resolved.starts_with(root.canonicalize()?) {
        Ok(File::from(open(&resolved, flags, Mode::empty())?))
    } else {
        Err(leads_out())
    }
}

fn leads_out() -> io::Error {
    let reason = "a symbolic link leads out of the lake; replace it by the files themselves";
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// Refuses a path whose directories lead out of the lake, as far as they exist.
pub(crate) fn check(root: &Path, path: &Path) -> io::Result<()> {
    for dir in path.ancestors().skip(1) {
        if !dir.starts_with(root) {
            break;
        }
        match open_beneath(root, dir, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(drop),
        }
    }
    if path.starts_with(root) {
        Ok(())
    } else {
        Err(leads_out())
    }
}

/// Opens a regular file for reading.
pub(crate) fn open_file(root: &Path, path: &Path) -> io::Result<File> {
    // Without NONBLOCK, a FIFO with a name of the lake would block the reader.
    let file = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ))
    }
}

pub(crate) fn list(root: &Path, dir: &Path) -> io::Result<Vec<String>> {
    let opened = match open_beneath(root, dir, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(opened)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

pub(crate) fn folders(root: &Path, dir: &Path) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    for name in list(root, dir)? {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open_beneath(root, &dir.join(&name), flags) {
            Ok(_) => folders.push(name),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folders)
}

pub(crate) fn sizes(root: &Path, dir: &Path) -> io::Result<HashMap<String, u64>> {
    let mut sizes = HashMap::new();
    for name in list(root, dir)? {
        match open_beneath(root, &dir.join(&name), OFlags::PATH).and_then(|file| file.metadata()) {
            Ok(found) if found.is_file() => drop(sizes.insert(name, found.len())),
            // Removed meanwhile, or a folder.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sizes)
}

pub(crate) fn age(root: &Path, path: &Path) -> Option<Duration> {
    let file = open_beneath(root, path, OFlags::PATH).ok()?;
    let modified = file.metadata().and_then(|meta| meta.modified()).ok()?;
    SystemTime::now().duration_since(modified).ok()
}

pub(crate) fn try_exists(root: &Path, path: &Path) -> io::Result<bool> {
    match open_beneath(root, path, OFlags::PATH) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn remove(disk: &Disk, root: &Path, path: &Path) -> io::Result<bool> {
    check(root, path)?;
    match disk.remove(Entry::path(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn write(
    disk: &Disk,
    root: &Path,
    path: &Path,
    bytes: &[u8],
    replace: Replace,
) -> io::Result<()> {
    create_parent(disk, root, path)?;
    disk.write_durable(path, bytes, FILE_MODE, replace)
}

pub(crate) fn create_parent(disk: &Disk, root: &Path, path: &Path) -> io::Result<()> {
    if !root.exists() {
        fs::create_dir_all(root)?;
    }
    check(root, path)?;
    disk.create_dirs(root, path.parent().unwrap_or(root), DIR_MODE)
}

pub(crate) fn place(
    disk: &Disk,
    root: &Path,
    staged: &Path,
    target: &Path,
    taken: Taken,
) -> io::Result<()> {
    check(root, staged)?;
    create_parent(disk, root, target)?;
    match disk.rename(Entry::path(staged), Entry::path(target), taken) {
        // Both directories: otherwise a power cut may take the rename back.
        Ok(()) => [target, staged].iter().try_for_each(|path| {
            let dir = path.parent().unwrap_or(root);
            disk.sync_dir(Dir::Path(dir))
        }),
        // Another sealer was faster.
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
