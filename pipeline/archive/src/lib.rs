//! The archive: a flat set of objects, each created once and never changed.
//!
//! A publisher puts, a loader lists and opens. Both see the same [`Store`], whether the archive is a directory
//! ([`LocalStore`]) or a bucket; [`open`] tells by its URL. All calls block.
//!
//! Buckets are behind cargo features: `s3` and `gcs`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod disk;
mod local;
mod name;
mod open;
#[cfg(feature = "remote")]
pub mod remote;
mod temporary;

pub use local::LocalStore;
pub use name::{NameError, check_name};
pub use open::{Kind, Location, Opening, open, open_to_put, shown};

/// The answer of [`Store::put_new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object did not exist; it does now, durably.
    Created,
    /// An object of this name is there already and was not touched. Compare [`Store::stat`] to know whether it is yours.
    Exists,
}

/// Whether an object is still being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// The object is whole: the store shows no other.
    Done,
    /// Some process has the file open for writing.
    Open,
    /// No process of this machine has the file open for writing; it changed so long ago.
    Closed(Duration),
    /// The file system does not say who has the file open; it changed so long ago.
    Unknown(Duration),
}

/// What an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the object, where the store can tell. Without it the caller reads the object.
    pub sha256: Option<[u8; 32]>,
}

/// Why an archive operation failed. [`StoreError::Io`] and [`StoreError::Remote`] may pass when tried again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is not one that an archive accepts.
    #[error("object name {name:?}: {source}")]
    Name {
        /// The name as given.
        name: String,
        /// The reason.
        source: NameError,
    },
    /// A file or directory operation failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The thing it was tried on.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// What was given is no place of an archive.
    #[error("archive {url}: {reason}")]
    Url {
        /// As it was given, without user, password and query.
        url: String,
        /// The reason.
        reason: String,
    },
    /// This program was built without the store.
    #[error(
        "{scheme}:// needs a build with the cargo feature {feature}: cargo build --release --features {feature}"
    )]
    NotBuilt {
        /// The scheme of the URL.
        scheme: &'static str,
        /// What to build with.
        feature: &'static str,
    },
    /// The store replaces an object although it was told not to.
    #[error(
        "{store} overwrites objects although it is told not to (If-None-Match, ifGenerationMatch): a publisher that \
         shares names with another would destroy data. Use a store that keeps to it, or accept the risk with --weak-store"
    )]
    Overwrites {
        /// The URL of the store.
        store: String,
    },
    /// A store that is not a directory failed; also what tests inject.
    #[error("{operation} {name}: {reason}")]
    Remote {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The object.
        name: String,
        /// What the store answered.
        reason: String,
    },
}

impl StoreError {
    /// What was given is no place of an archive; of a URL only what is no secret is kept.
    pub fn url(url: &str, reason: &str) -> StoreError {
        StoreError::Url {
            url: open::shown(url),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Io {
            operation,
            path,
            source,
        }
    }
}

/// Lower-case hexadecimal digits, in which checksums are told.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// An archive. Names are `/`-separated paths without a leading slash (see [`check_name`]).
pub trait Store: Send + Sync {
    /// Asks, where that has to be asked, whether the store keeps its promise never to overwrite. Not needed before
    /// [`Store::put_new`], which sees to it; but who begins with it can tell a person in time.
    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stores the file `body` under `name` unless that name is taken. When it answers, the object is durable and
    /// complete; when it fails, the object may or may not exist, and calling again with the same body is right.
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError>;

    /// Size and checksum of an object, `None` when there is none.
    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError>;

    /// The size of an object in bytes, `None` when there is none: [`Store::stat`], where that reads no object for its checksum.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(name)?.map(|stat| stat.size_bytes))
    }

    /// A text that changes when the object does, where the store has one at the cost of a look at a directory: size, inode and
    /// time of the last change. `None` where it has none.
    fn version(&self, _name: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// What a writer may still do to an object. Buckets have whole objects only.
    fn writing(&self, _name: &str) -> Result<Writing, StoreError> {
        Ok(Writing::Done)
    }

    /// Opens an object for reading from its start.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;

    /// All object names that begin with `prefix` (plain text, not a directory; `""` is everything), sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Where the object is, or will be, for people and for `ArchiveURL`: `file:///…`, `gs://…`.
    fn url(&self, name: &str) -> String;
}
