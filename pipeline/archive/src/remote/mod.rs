//! Archives in buckets.
//!
//! What is the same for every keeper stands here: names, the check that the store refuses to overwrite, and what it
//! means when an answer is lost. How each is spoken to stands in its own module, behind [`Remote`].

mod body;
mod bridge;
mod failure;
#[cfg(feature = "gcs")]
pub(crate) mod gcs;
mod http;
#[cfg(feature = "s3")]
pub mod s3;
pub(crate) mod web;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::{Put, Stat, Store, StoreError, check_name};
use body::Body;
pub use bridge::wait;
pub use failure::Failure;

/// What of a bucket's answers counts.
struct Answer {
    put: Put,
    /// Names this content of this object, where the keeper has told that its own checksum is that of the body.
    tag: Option<String>,
}

/// What a bucket says of an object.
struct Held {
    size_bytes: u64,
    /// Names this content of this object, so that it changes with it.
    tag: Option<String>,
    /// Where the keeper computes it.
    sha256: Option<[u8; 32]>,
}

/// A bucket, as one keeper's protocol offers it. Keys are whole, with the prefix.
trait Remote: Send + Sync {
    /// Puts an object, and only a new one.
    fn put(&self, key: &str, body: &Body) -> Result<Answer, Failure>;
    fn head(&self, key: &str) -> Result<Option<Held>, Failure>;
    fn get(&self, key: &str) -> Result<Box<dyn Read + Send>, Failure>;
    fn list(&self, prefix: &str) -> Result<Vec<String>, Failure>;
    fn url(&self, key: &str) -> String;
}

/// Stands below the prefix and is the same for every program that asks. Its first part is hidden, so that it is no name
/// of the archive: no list has it, and nothing can be put there.
const PROBE: &str = ".groma/create-only";
const PROBE_BODY: &[u8] =
    b"Groma tries to put this object a second time to see that the bucket refuses it.\n";

/// So many objects that were just put are remembered, each until it is asked for.
const REMEMBERED: usize = 64;

/// A bucket as an archive.
struct BucketStore<R> {
    remote: R,
    /// Empty, or ends with a slash.
    prefix: String,
    allow_weak: bool,
    /// Whether it keeps to create-only, once that is known.
    is_strong: Mutex<Option<bool>>,
    /// Of objects that were just put: the tag, and the SHA-256 of what it stands for.
    put: Mutex<HashMap<String, (String, [u8; 32])>>,
}

impl<R: Remote> BucketStore<R> {
    fn new(remote: R, prefix: &str, allow_weak: bool) -> BucketStore<R> {
        BucketStore {
            remote,
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            allow_weak,
            is_strong: Mutex::new(None),
            put: Mutex::default(),
        }
    }

    fn key(&self, name: &str) -> Result<String, StoreError> {
        check_name(name).map_err(|source| StoreError::Name {
            name: name.to_owned(),
            source,
        })?;
        Ok(format!("{}{name}", self.prefix))
    }

    /// Whether the bucket keeps to create-only: asked once, the other threads wait for the answer.
    fn is_strong(&self) -> Result<bool, StoreError> {
        let mut known = self
            .is_strong
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(is_strong) = *known {
            return Ok(is_strong);
        }
        let body = Body::of_bytes(PROBE_BODY);
        let key = format!("{}{PROBE}", self.prefix);
        let mut is_strong = false;
        // The first time may create it; the second must not.
        for _ in 0..2 {
            let answer = self.remote.put(&key, &body);
            is_strong = answer.map_err(failed("try create-only with", &key))?.put == Put::Exists;
            if is_strong {
                break;
            }
        }
        *known = Some(is_strong);
        Ok(is_strong)
    }

    fn remember(&self, key: &str, tag: String, sha256: [u8; 32]) {
        let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        if put.len() >= REMEMBERED {
            put.clear();
        }
        put.insert(key.to_owned(), (tag, sha256));
    }

    /// The SHA-256 of what was put, if that is what the bucket holds.
    fn recall(&self, key: &str, held: &Held) -> Option<[u8; 32]> {
        let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        let (tag, sha256) = put.remove(key)?;
        (held.tag.as_ref() == Some(&tag)).then_some(sha256)
    }
}

fn failed(operation: &'static str, name: &str) -> impl FnOnce(Failure) -> StoreError {
    let name = name.to_owned();
    move |failure| StoreError::Remote {
        operation,
        name,
        reason: failure.to_string(),
    }
}

impl<R: Remote> Store for BucketStore<R> {
    fn probe(&self) -> Result<(), StoreError> {
        if self.is_strong()? || self.allow_weak {
            return Ok(());
        }
        Err(StoreError::Overwrites {
            store: self.url(""),
        })
    }

    fn put_new(&self, name: &str, body: &Path) -> Result<Put, StoreError> {
        let key = self.key(name)?;
        self.probe()?;
        let body = Body::of_file(body).map_err(StoreError::io("read body", body))?;
        let failed = |failure| failed("put", name)(failure);
        if !self.is_strong()? && self.remote.head(&key).map_err(failed)?.is_some() {
            return Ok(Put::Exists);
        }
        match self.remote.put(&key, &body) {
            Ok(answer) => {
                if let (Put::Created, Some(tag)) = (answer.put, answer.tag) {
                    self.remember(&key, tag, body.sha256);
                }
                Ok(answer.put)
            }
            // The object may be there although the answer was lost; then it need not be sent again.
            Err(failure) => match self.remote.head(&key) {
                Ok(Some(_)) => Ok(Put::Exists),
                _ => Err(failed(failure)),
            },
        }
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        let key = self.key(name)?;
        let held = self.remote.head(&key).map_err(failed("stat", name))?;
        Ok(held.map(|held| Stat {
            size_bytes: held.size_bytes,
            sha256: held.sha256.or_else(|| self.recall(&key, &held)),
        }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        let key = self.key(name)?;
        self.remote.get(&key).map_err(failed("read", name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = self.remote.list(&format!("{}{prefix}", self.prefix));
        let mut names: Vec<String> = keys
            .map_err(failed("list", prefix))?
            .iter()
            .filter_map(|key| key.strip_prefix(&self.prefix))
            .filter(|name| check_name(name).is_ok())
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn url(&self, name: &str) -> String {
        self.remote.url(&format!("{}{name}", self.prefix))
    }
}
