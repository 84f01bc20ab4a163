//! The archive as a directory: object names are paths below its root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use groma_disk::{DIR_MODE, Dir, Disk, Entry, FILE_MODE, Taken, Unfinished, clear_abandoned};
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::url::encode_file_path;
use crate::{Put, Stat, Store, StoreError, Writing, check_name};

const TEMPORARY_DIR: &str = ".tmp";
const BUFFER_BYTES: usize = 64 * 1024;

/// An archive in a local directory. Several processes may put into one directory at once.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
    disk: Disk,
}

impl LocalStore {
    /// Opens the archive at `root`, creates it if it is missing, and removes the unfinished objects of writers that died.
    pub fn open(root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        LocalStore::open_on(Disk::default(), root)
    }

    /// As [`LocalStore::open`], on a disk with faults, for tests.
    pub fn open_on(disk: Disk, root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let root = root.as_ref();
        let root = create_root(&disk, root).map_err(StoreError::io("create archive", root))?;
        let temporary = root.join(TEMPORARY_DIR);
        // Only its owner may open unfinished objects, so that no other user can hold their locks.
        disk.create_private_dir(&temporary)
            .map_err(StoreError::io("create", &temporary))?;
        let cleared =
            clear_abandoned(&disk, &temporary).map_err(StoreError::io("clear", &temporary))?;
        if cleared > 0 {
            tracing::info!(cleared, dir = %temporary.display(), "removed the unfinished objects of writers that died");
        }
        Ok(LocalStore { root, disk })
    }

    /// Opens the archive at `root` for reading: the function creates and removes nothing. A put fails unless a writer has opened
    /// the archive before.
    pub fn existing(root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let root = root.as_ref();
        let root = root
            .canonicalize()
            .map_err(StoreError::io("open archive", root))?;
        Ok(LocalStore {
            root,
            disk: Disk::default(),
        })
    }

    /// Returns the directory, absolute and without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name).map_err(|source| StoreError::Name {
            name: name.to_owned(),
            source,
        })?;
        Ok(self.root.join(name))
    }

    /// Opens a regular file; `None` if the name is not an object.
    fn open_object(&self, path: &Path) -> Result<Option<File>, StoreError> {
        self.disk
            .reading()
            .map_err(StoreError::io("open object", path))?;
        // Non-blocking, because opening a FIFO of another program would block.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC)
            .bits()
            .cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if is_no_object(&error) => return Ok(None),
            Err(error) => return Err(StoreError::io("open object", path)(error)),
        };
        let metadata = file
            .metadata()
            .map_err(StoreError::io("stat object", path))?;
        Ok(metadata.is_file().then_some(file))
    }

    /// Writes an object to the temporary directory, and gives it its name when its bytes are durable, unless the name is taken.
    fn write_new(&self, path: &Path, body: &Path) -> Result<Put, StoreError> {
        let source = File::open(body).map_err(StoreError::io("open body", body))?;
        let dir = self.root.join(TEMPORARY_DIR);
        let mut object = Unfinished::create(&self.disk, &dir, "", FILE_MODE)
            .map_err(StoreError::io("create a file in", &dir))?;
        let copied = object.file().copy_from(&source);
        copied.map_err(StoreError::io("write object", object.path()))?;
        match object.commit(path, Taken::Refuse) {
            Ok(()) => Ok(Put::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(error) => Err(StoreError::io("name object", path)(error)),
        }
    }
}

fn create_dir(disk: &Disk, dir: &Path) -> io::Result<()> {
    match disk.create_dir(Entry::path(dir), DIR_MODE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Creates `root` and its missing parents, durably, and returns the path without symbolic links.
fn create_root(disk: &Disk, root: &Path) -> io::Result<PathBuf> {
    let root = std::path::absolute(root)?;
    let missing: Vec<_> = root.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        create_dir(disk, dir)?;
    }
    let root = root.canonicalize()?;
    let device = root.metadata()?.dev();
    // Existing directories too: the process that created them may have died before it synced them.
    for above in root.ancestors().skip(1) {
        if above.metadata()?.dev() != device {
            break;
        }
        match disk.sync_dir(Dir::Path(above)) {
            // In a directory that this process may not read, the operator has created the child.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(root)
}

fn is_no_object(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

impl Store for LocalStore {
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        let path = self.path(name)?;
        let dir = path
            .parent()
            .expect("a checked name has a parent below the root");
        self.disk
            .create_dirs(&self.root, dir, DIR_MODE)
            .map_err(StoreError::io("create", dir))?;
        if path.symlink_metadata().is_err() {
            return self.write_new(&path, body);
        }
        // The writer that named the object may have died before it synced the directory.
        let synced = self.disk.sync_dir(Dir::Path(dir));
        synced.map_err(StoreError::io("sync", dir))?;
        Ok(Put::Exists)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        let path = self.path(name)?;
        let Some(mut file) = self.open_object(&path)? else {
            return Ok(None);
        };
        let (size_bytes, sha256) =
            digest(&mut file).map_err(StoreError::io("read object", &path))?;
        Ok(Some(Stat {
            size_bytes,
            sha256: Some(sha256),
        }))
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(name)?;
        let Some(file) = self.open_object(&path)? else {
            return Ok(None);
        };
        let metadata = file.metadata();
        let metadata = metadata.map_err(StoreError::io("stat object", &path))?;
        Ok(Some(metadata.len()))
    }

    fn modified(&self, name: &str) -> Result<Option<SystemTime>, StoreError> {
        let path = self.path(name)?;
        match fs::symlink_metadata(&path).and_then(|found| found.modified()) {
            Ok(modified) => Ok(Some(modified)),
            Err(error) if is_no_object(&error) => Ok(None),
            Err(error) => Err(StoreError::io("stat object", &path)(error)),
        }
    }

    fn version(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.path(name)?;
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok(Some(format!(
                "{}-{}-{}.{:09}",
                found.len(),
                found.ino(),
                found.mtime(),
                found.mtime_nsec()
            ))),
            Err(error) if is_no_object(&error) => Ok(None),
            Err(error) => Err(StoreError::io("stat object", &path)(error)),
        }
    }

    fn writing(&self, name: &str) -> Result<Writing, StoreError> {
        let path = self.path(name)?;
        let Some(file) = self.open_object(&path)? else {
            return Ok(Writing::Done);
        };
        let modified = file.metadata().and_then(|found| found.modified());
        let modified = modified.map_err(StoreError::io("stat object", &path))?;
        // A time in the future means that the clock was set back: the file does not change now.
        let age = SystemTime::now()
            .duration_since(modified)
            .unwrap_or(Duration::MAX);
        Ok(match groma_lease::has_writer(file.as_fd()) {
            Ok(true) => Writing::Open,
            Ok(false) => Writing::Closed(age),
            Err(_) => Writing::Unknown(age),
        })
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path(name)?;
        match self.open_object(&path)? {
            Some(file) => Ok(Box::new(file)),
            None => Err(StoreError::io("open object", &path)(
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // Only the directories of the prefix limit the walk; the rest is compared as text.
        let above = prefix.rsplit_once('/').map_or("", |(dir, _)| dir);
        if !above.is_empty() && check_name(above).is_err() {
            return Ok(Vec::new());
        }
        self.disk
            .reading()
            .map_err(StoreError::io("list", &self.root))?;
        let mut names = Vec::new();
        let mut pending = vec![above.to_owned()];
        while let Some(dir) = pending.pop() {
            let path = self.root.join(&dir);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if is_no_object(&error) => continue,
                Err(error) => return Err(StoreError::io("list", &path)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(StoreError::io("list", &path))?;
                let kind = entry.file_type().map_err(StoreError::io("list", &path))?;
                let Ok(part) = entry.file_name().into_string() else {
                    tracing::warn!(path = %entry.path().display(), "left out of the archive: its name is not UTF-8");
                    continue;
                };
                let name = if dir.is_empty() {
                    part
                } else {
                    format!("{dir}/{part}")
                };
                if check_name(&name).is_err() {
                    continue;
                }
                if kind.is_dir() && (name.starts_with(prefix) || prefix.starts_with(&name)) {
                    pending.push(name);
                } else if kind.is_file() && name.starts_with(prefix) {
                    names.push(name);
                } else if !kind.is_dir() && !kind.is_file() {
                    tracing::warn!(path = %self.root.join(&name).display(), "left out of the archive: it is a link or a special file");
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn url(&self, name: &str) -> String {
        let path = self.root.join(name);
        format!("file://{}", encode_file_path(path.as_os_str().as_bytes()))
    }
}

fn digest(reader: &mut impl Read) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((size_bytes, hasher.finalize().into())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                size_bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
