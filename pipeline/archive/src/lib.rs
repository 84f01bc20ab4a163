//! The archive: a flat set of objects, each created once and never changed.
//!
//! A publisher puts objects, a loader lists and opens them. Both use the same [`Store`]: [`open`] chooses a directory
//! ([`LocalStore`]) or a bucket by the URL. All calls block.
//!
//! The cargo features `s3` and `gcs` contain the buckets.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

mod local;
mod location;
mod name;
mod open;
mod opening;
#[cfg(feature = "remote")]
pub mod remote;
mod url;

pub use local::LocalStore;
pub use location::{Location, Provider};
pub use name::{NameError, check_name};
pub use open::{open, open_to_put};
pub use opening::Opening;
pub use url::shown;

/// The result of [`Store::put_new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object did not exist; it does now, durably.
    Created,
    /// An object of this name is there already and was not touched. Compare [`Store::stat`] to know whether it is yours.
    Exists,
}

/// The state of the writer of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// The object is complete: the store shows only complete objects.
    Done,
    /// Some process has the file open for writing.
    Open,
    /// No process of this machine has the file open for writing. The value is the time since its last change.
    Closed(Duration),
    /// The file system cannot report writers. The value is the time since the last change of the file.
    Unknown(Duration),
}

/// Size and checksum of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the object, if the store knows it. Otherwise the caller must read the object.
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
    /// The URL is not the location of an archive.
    #[error("archive {url}: {reason}")]
    Url {
        /// The URL without user, password and query.
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
        /// The cargo feature that contains the store.
        feature: &'static str,
    },
    /// The store replaces an object in spite of the condition not to.
    #[error(
        "{store} ignores the condition not to overwrite objects (If-None-Match, ifGenerationMatch): a publisher that \
         shares names with another would destroy data. Use another store, or accept the risk with --weak-store"
    )]
    Overwrites {
        /// The URL of the store.
        store: String,
    },
    /// A bucket or web server failed; tests inject this error too.
    #[error("{operation} {name}: {reason}")]
    Remote {
        /// The operation that failed, as a verb phrase.
        operation: &'static str,
        /// The object.
        name: String,
        /// The answer of the store.
        reason: String,
    },
}

impl StoreError {
    /// Returns the error of a URL that is not the location of an archive. The error contains no secret of the URL.
    pub fn url(url: &str, reason: &str) -> StoreError {
        StoreError::Url {
            url: url::shown(url),
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

/// Returns the lower-case hexadecimal digits of a checksum.
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
    /// Checks that the store never overwrites an object, if that is not certain. [`Store::put_new`] does it before the first
    /// put; a caller that does it at the start can report the error early.
    fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stores the file `body` under `name` unless that name is taken. After success the object is durable and complete. After an
    /// error it may or may not exist, and the caller may call again with the same body.
    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError>;

    /// Returns size and checksum of an object, `None` if it does not exist.
    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError>;

    /// Returns the size of an object in bytes, `None` if it does not exist. Unlike [`Store::stat`], it never reads the object.
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(name)?.map(|stat| stat.size_bytes))
    }

    /// Returns a text that changes when the object changes: size, inode and time of the last change. Returns `None` if the store
    /// has no such text at the cost of one directory look-up.
    fn version(&self, _name: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Returns when an object was last changed, `None` if it does not exist. Also returns `None` if the store cannot tell at the
    /// cost of one directory look-up.
    fn modified(&self, _name: &str) -> Result<Option<SystemTime>, StoreError> {
        Ok(None)
    }

    /// Returns the state of the writer of an object. Buckets contain complete objects only.
    fn writing(&self, _name: &str) -> Result<Writing, StoreError> {
        Ok(Writing::Done)
    }

    /// Opens an object for reading from its start.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Returns all object names that begin with `prefix` (plain text, not a directory; `""` is everything), sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Returns the URL of an object, which need not exist yet, for people and for `ArchiveURL`: `file:///…`, `gs://…`.
    fn url(&self, name: &str) -> String;
}
