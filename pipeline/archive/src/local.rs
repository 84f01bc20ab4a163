//! The archive as a directory: object names are paths below its root.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::sync::{sync_dir, sync_up_to};
use crate::temporary::{Temporary, clear_abandoned};
use crate::{Put, Stat, Store, StoreError, check_name};

const TEMPORARY_DIR: &str = ".tmp";
const BUFFER_BYTES: usize = 64 * 1024;

/// An archive in a local directory. Several processes may put into one directory at once.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// Opens the archive at `root`, creating it where it is missing, and clears what writers that died have left.
    pub fn open(root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let root = root.as_ref();
        let is_new = !root.exists();
        fs::create_dir_all(root).map_err(StoreError::io("create archive", root))?;
        let root = root
            .canonicalize()
            .map_err(StoreError::io("resolve archive", root))?;
        if let (true, Some(parent)) = (is_new, root.parent()) {
            sync_dir(parent).map_err(StoreError::io("sync", parent))?;
        }
        let temporary = root.join(TEMPORARY_DIR);
        fs::create_dir_all(&temporary).map_err(StoreError::io("create", &temporary))?;
        let cleared = clear_abandoned(&temporary).map_err(StoreError::io("clear", &temporary))?;
        if cleared > 0 {
            tracing::info!(cleared, dir = %temporary.display(), "removed the unfinished objects of writers that died");
        }
        Ok(LocalStore { root })
    }

    /// The archive that is at `root`, for reading: nothing is created or cleared there. Putting into it fails unless a
    /// writer has opened it before.
    pub fn existing(root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let root = root.as_ref();
        let root = root
            .canonicalize()
            .map_err(StoreError::io("open archive", root))?;
        Ok(LocalStore { root })
    }

    /// The directory, absolute and without symbolic links.
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

    /// Opens a regular file, `None` when the name holds no object.
    fn open_object(path: &Path) -> Result<Option<File>, StoreError> {
        // Non-blocking, because a FIFO put here by someone else would otherwise hold us for ever.
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
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let put = if path.symlink_metadata().is_ok() {
            Put::Exists
        } else {
            let mut source = File::open(body).map_err(StoreError::io("open body", body))?;
            let temporary = self.root.join(TEMPORARY_DIR);
            let mut target = Temporary::create(&temporary)
                .map_err(StoreError::io("create a file in", &temporary))?;
            io::copy(&mut source, &mut target.file)
                .map_err(StoreError::io("write object", &target.path))?;
            target
                .file
                .sync_all()
                .map_err(StoreError::io("sync object", &target.path))?;
            name_new(&mut target, &path).map_err(StoreError::io("name object", &path))?
        };
        // Also for an object that exists: the writer that named it may have died before this.
        sync_up_to(&self.root, dir).map_err(StoreError::io("sync", dir))?;
        Ok(put)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        let path = self.path(name)?;
        let Some(mut file) = Self::open_object(&path)? else {
            return Ok(None);
        };
        let (size_bytes, sha256) =
            digest(&mut file).map_err(StoreError::io("read object", &path))?;
        Ok(Some(Stat {
            size_bytes,
            sha256: Some(sha256),
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path(name)?;
        match Self::open_object(&path)? {
            Some(file) => Ok(Box::new(file)),
            None => Err(StoreError::io("open object", &path)(
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // Only the directory part narrows the walk; what follows it is compared as text.
        let above = prefix.rsplit_once('/').map_or("", |(dir, _)| dir);
        if !above.is_empty() && check_name(above).is_err() {
            return Ok(Vec::new());
        }
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
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn url(&self, name: &str) -> String {
        let mut url = String::from("file://");
        for &byte in self.root.join(name).as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte) {
                url.push(char::from(byte));
            } else {
                write!(url, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        }
        url
    }
}

/// Gives the temporary file its final name unless that is taken.
fn name_new(temporary: &mut Temporary, path: &Path) -> io::Result<Put> {
    match renameat_with(CWD, &temporary.path, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {
            temporary.renamed = true;
            Ok(Put::Created)
        }
        Err(Errno::EXIST) => Ok(Put::Exists),
        // File systems without this flag (NFS among them) still refuse to link over a name.
        Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(&temporary.path, path) {
            Ok(()) => Ok(Put::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(error) => Err(error),
        },
        Err(errno) => Err(errno.into()),
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
