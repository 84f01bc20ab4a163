//! The location of a lake's files: a directory, or a bucket (feature `s3`).
//!
//! Every call blocks. A file appears whole and durable, or not at all. Paths are those that [`LakeStore::root`] begins: in
//! a bucket names below its prefix. In a directory, a symbolic link that leads out of the lake is an error
//! ([`io::ErrorKind::PermissionDenied`]): nothing outside the lake is read, written or removed. A missing file is [`io::ErrorKind::NotFound`], a name that is taken
//! [`io::ErrorKind::AlreadyExists`].

#[cfg(feature = "s3")]
mod bucket;
mod digest;
mod directory;
mod file;
mod guard;
mod new_file;
mod origin;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "s3")]
use groma_archive::Opening;
use groma_archive::{Location, Provider, StoreError};
use groma_disk::{Disk, Replace, Taken};

pub use digest::{CREATED_BY, FILE_SHA256, NO_SHA256, is_damage};
pub use file::LakeFile;
pub use guard::guarded;
pub use new_file::{Committed, NewFile};
pub use origin::{Held, Origin};

/// The storage of a lake. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LakeStore {
    inner: Inner,
    /// The disk of a directory, and of the temporary files of a bucket.
    disk: Disk,
}

#[derive(Clone, Debug)]
enum Inner {
    Directory(PathBuf),
    #[cfg(feature = "s3")]
    Bucket(bucket::Bucket),
}

/// Its path, or its URL.
impl fmt::Display for LakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Directory(root) => root.display().fmt(f),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl<P: AsRef<Path>> From<P> for LakeStore {
    fn from(root: P) -> LakeStore {
        LakeStore::directory_on(Disk::default(), root)
    }
}

impl LakeStore {
    /// Returns the lake in a directory of a disk with faults, for tests.
    pub fn directory_on(disk: Disk, root: impl AsRef<Path>) -> LakeStore {
        LakeStore {
            inner: Inner::Directory(root.as_ref().to_owned()),
            disk,
        }
    }

    /// The lake at a path, a `file://` or an `s3://bucket/prefix` URL, with the credentials that the environment gives
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` and so on). Nothing is asked of it yet.
    #[cfg(feature = "s3")]
    pub fn open(location: &str) -> Result<LakeStore, StoreError> {
        LakeStore::open_with(location, &Opening::to_write())
    }

    /// As [`LakeStore::open`], with another environment.
    #[cfg(feature = "s3")]
    pub fn open_with(location: &str, opening: &Opening) -> Result<LakeStore, StoreError> {
        match Location::parse(location)? {
            Location::Directory(root) => Ok(LakeStore::from(root)),
            Location::Bucket {
                provider: Provider::S3,
                ..
            } => {
                let bucket = groma_archive::remote::s3::bucket(location, opening)?;
                Ok(LakeStore {
                    inner: Inner::Bucket(bucket::Bucket::new(bucket)),
                    disk: Disk::default(),
                })
            }
            Location::Bucket { .. } | Location::Web(_) => Err(not_a_lake(location)),
        }
    }

    /// The lake at a path or a `file://` URL; this build has no buckets.
    #[cfg(not(feature = "s3"))]
    pub fn open(location: &str) -> Result<LakeStore, StoreError> {
        match Location::parse(location)? {
            Location::Directory(root) => Ok(LakeStore::from(root)),
            Location::Bucket {
                provider: Provider::S3,
                ..
            } => Err(StoreError::NotBuilt {
                scheme: "s3",
                feature: "s3",
            }),
            Location::Bucket { .. } | Location::Web(_) => Err(not_a_lake(location)),
        }
    }

    /// Returns a name that no other lake has: the path without links, or the bucket's URL at its store. A directory has to be
    /// there.
    pub fn identity(&self) -> io::Result<String> {
        match &self.inner {
            Inner::Directory(root) => Ok(root.canonicalize()?.display().to_string()),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => Ok(bucket.identity()),
        }
    }

    /// Returns the path with which all paths begin; empty for a bucket.
    pub fn root(&self) -> &Path {
        match &self.inner {
            Inner::Directory(root) => root,
            #[cfg(feature = "s3")]
            Inner::Bucket(_) => Path::new(""),
        }
    }

    /// Whether it is a bucket, which has no locks.
    pub fn is_bucket(&self) -> bool {
        !matches!(self.inner, Inner::Directory(_))
    }

    /// Returns the names of files and folders in a folder, unordered; none when it does not exist.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match &self.inner {
            Inner::Directory(root) => directory::list(root, dir),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.list(dir),
        }
    }

    /// The names of the folders in a folder.
    pub fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        match &self.inner {
            Inner::Directory(root) => directory::folders(root, dir),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.folders(dir),
        }
    }

    /// How long ago each file of a folder was written, as far as that is known.
    pub fn ages(&self, dir: &Path) -> io::Result<HashMap<String, Duration>> {
        match &self.inner {
            Inner::Directory(root) => {
                let names = directory::list(root, dir)?.into_iter();
                Ok(names
                    .filter_map(|name| {
                        let age = directory::age(root, &dir.join(&name))?;
                        Some((name, age))
                    })
                    .collect())
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.ages(dir),
        }
    }

    /// Returns the files of a folder with their sizes in bytes; none when it does not exist.
    pub fn sizes(&self, dir: &Path) -> io::Result<HashMap<String, u64>> {
        match &self.inner {
            Inner::Directory(root) => directory::sizes(root, dir),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.sizes(dir),
        }
    }

    /// The files of each folder in a folder, as [`LakeStore::sizes`]; asked of a bucket at once.
    pub fn sizes_by_folder(&self, dir: &Path) -> io::Result<HashMap<String, HashMap<String, u64>>> {
        match &self.inner {
            Inner::Directory(root) => {
                let folders = self.folders(dir)?.into_iter();
                folders
                    .map(|folder| {
                        let sizes = directory::sizes(root, &dir.join(&folder))?;
                        Ok((folder, sizes))
                    })
                    .collect()
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.sizes_by_folder(dir),
        }
    }

    /// How long ago a file was written; none when it is not there or that is not known.
    pub fn age(&self, path: &Path) -> Option<Duration> {
        match &self.inner {
            Inner::Directory(root) => directory::age(root, path),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.age(path),
        }
    }

    /// Whether a file exists. A store that does not answer is an error, because either answer would be acted on.
    pub fn try_exists(&self, path: &Path) -> io::Result<bool> {
        match &self.inner {
            Inner::Directory(root) => directory::try_exists(root, path),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.try_exists(path),
        }
    }

    /// A whole file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.inner {
            Inner::Directory(root) => {
                let mut bytes = Vec::new();
                directory::open_file(root, path)?.read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => Ok(bucket.read(path)?.into()),
        }
    }

    /// A file to be read in pieces.
    pub fn open_file(&self, path: &Path) -> io::Result<LakeFile> {
        match &self.inner {
            Inner::Directory(root) => LakeFile::local(directory::open_file(root, path)?),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => LakeFile::remote(bucket, path),
        }
    }

    /// Opens a table file whose bytes have the checksum in it; see [`LakeFile::verify`].
    pub fn open_verified(&self, path: &Path) -> io::Result<LakeFile> {
        let file = self.open_file(path)?;
        file.verify()?;
        Ok(file)
    }

    /// Creates a file of these bytes, durably. A name that is taken is an error and stays as it is.
    pub fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match &self.inner {
            Inner::Directory(root) => {
                directory::write(&self.disk, root, path, bytes, Replace::Never)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.create(path, bytes.to_vec().into()),
        }
    }

    /// Puts a file of these bytes at a path, in place of any other.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match &self.inner {
            Inner::Directory(root) => {
                directory::write(&self.disk, root, path, bytes, Replace::Always)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.replace(path, bytes.to_vec().into()),
        }
    }

    /// Removes a file and returns whether it existed. A bucket does not report that and returns `true`.
    pub fn remove(&self, path: &Path) -> io::Result<bool> {
        match &self.inner {
            Inner::Directory(root) => directory::remove(&self.disk, root, path),
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.remove(path),
        }
    }

    /// Moves a file that was written aside to its name, durably. When the name is taken, or the file gone, another one did
    /// so: that is success. Several may try at once with files of the same content.
    pub fn place(&self, staged: &Path, target: &Path) -> io::Result<()> {
        match &self.inner {
            Inner::Directory(root) => {
                directory::place(&self.disk, root, staged, target, Taken::Refuse)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.place(staged, target),
        }
    }

    /// As [`LakeStore::place`], in place of the file that has the name.
    pub fn place_over(&self, staged: &Path, target: &Path) -> io::Result<()> {
        match &self.inner {
            Inner::Directory(root) => {
                directory::place(&self.disk, root, staged, target, Taken::Replace)
            }
            #[cfg(feature = "s3")]
            Inner::Bucket(bucket) => bucket.place(staged, target),
        }
    }
}

fn not_a_lake(location: &str) -> StoreError {
    StoreError::url(location, "a lake is a directory or an s3:// bucket")
}
