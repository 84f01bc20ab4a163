//! Archives in buckets.
//!
//! This module contains the common behaviour of all providers: object names, the check that the store refuses to overwrite, and
//! the recovery from lost answers. Each provider's protocol is in a module of its own, behind `Remote`.

mod body;
mod bridge;
mod failure;
#[cfg(feature = "gcs")]
pub(crate) mod gcs;
#[cfg(feature = "gcs")]
pub mod google;
mod http;
#[cfg(feature = "s3")]
mod listing;
mod protocol;
#[cfg(feature = "s3")]
pub mod s3;
pub(crate) mod web;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::{Put, Stat, Store, StoreError, check_name};
use ::http::StatusCode;
use body::Body;
pub use bridge::wait;
pub use failure::{Failure, one_line};

/// The answer of a bucket to a put.
enum Answer {
    /// The object was created. The tag identifies this content of this object; none if the provider did not confirm the
    /// checksum of the body.
    Created(Option<String>),
    /// The object exists and was not touched. Only the answer to the condition means this.
    Exists,
    /// The bucket refuses the request itself. Providers without conditional puts do.
    Unknown(Failure),
}

impl Answer {
    /// Returns the meaning of an answer other than "created". Status 409 is a temporary failure: another request for this name is
    /// in progress and may fail.
    fn of_refusal(status: StatusCode, failure: Failure) -> Result<Answer, Failure> {
        match status {
            StatusCode::PRECONDITION_FAILED => Ok(Answer::Exists),
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => Ok(Answer::Unknown(failure)),
            _ => Err(failure),
        }
    }
}

/// A bucket's behaviour if a put has the condition not to replace an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    /// The bucket honours the condition.
    CreateOnly,
    /// The bucket replaces the object.
    Overwrites,
    /// The bucket refuses the condition, so that puts must not have it.
    Refuses,
}

/// A bucket's description of an object.
struct Held {
    size_bytes: u64,
    /// Identifies this content of this object.
    tag: Option<String>,
    /// None if the provider does not compute it.
    sha256: Option<[u8; 32]>,
}

/// A bucket in one provider's protocol. Keys include the prefix.
trait Remote: Send + Sync {
    /// Puts an object; with `condition`, only if the key is free.
    fn put(&self, key: &str, body: &Body, condition: bool) -> Result<Answer, Failure>;
    fn head(&self, key: &str) -> Result<Option<Held>, Failure>;
    fn get(&self, key: &str) -> Result<Box<dyn Read + Send>, Failure>;
    fn list(&self, prefix: &str) -> Result<Vec<String>, Failure>;
    fn url(&self, key: &str) -> String;
}

/// The key of the probe below the prefix, the same for all programs. Its first component is hidden, so that it is not a valid
/// object name: lists omit it, and no object can have its name.
const PROBE: &str = ".groma/create-only";
const PROBE_BODY: &[u8] =
    b"Groma tries to put this object a second time to see that the bucket refuses it.\n";

/// The largest number of recent puts whose checksum is remembered until the first look-up.
const REMEMBERED: usize = 64;

/// A bucket as an archive.
struct BucketStore<R> {
    remote: R,
    /// Empty, or ends with a slash.
    prefix: String,
    allow_weak: bool,
    /// None until it is known.
    strength: Mutex<Option<Strength>>,
    /// Tag and SHA-256 of each object that was just put.
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
            strength: Mutex::new(None),
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

    /// Checks once whether the bucket honours the condition not to replace; other threads wait for the answer.
    fn strength(&self) -> Result<Strength, StoreError> {
        let mut known = self.strength.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(strength) = *known {
            return Ok(strength);
        }
        let key = format!("{}{PROBE}", self.prefix);
        let strength = self.try_create_only(&key);
        let strength = strength.map_err(failed("try create-only with", &key))?;
        *known = Some(strength);
        Ok(strength)
    }

    fn try_create_only(&self, key: &str) -> Result<Strength, Failure> {
        let body = Body::of_bytes(PROBE_BODY);
        let mut strength = Strength::Overwrites;
        // The first time may create it; the second must not.
        for _ in 0..2 {
            match self.remote.put(key, &body, true)? {
                Answer::Created(_) => strength = Strength::Overwrites,
                Answer::Exists => return Ok(Strength::CreateOnly),
                Answer::Unknown(failure) if !self.allow_weak => {
                    return Err(Failure::new(format!(
                        "{failure} (if it knows no If-None-Match or ifGenerationMatch, --weak-store does without)"
                    )));
                }
                // The condition is the cause only if the same put succeeds without it.
                Answer::Unknown(failure) => match self.remote.put(key, &body, false)? {
                    Answer::Created(_) => strength = Strength::Refuses,
                    _ => return Err(failure),
                },
            }
        }
        Ok(strength)
    }

    fn remember(&self, key: &str, tag: String, sha256: [u8; 32]) {
        let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        if put.len() >= REMEMBERED {
            put.clear();
        }
        put.insert(key.to_owned(), (tag, sha256));
    }

    /// Returns the SHA-256 of the last put, if the bucket still has that object.
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
        if self.strength()? == Strength::CreateOnly || self.allow_weak {
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
        let strength = self.strength()?;
        let is_weak = strength != Strength::CreateOnly;
        if is_weak && self.remote.head(&key).map_err(failed)?.is_some() {
            return Ok(Put::Exists);
        }
        match self.remote.put(&key, &body, strength != Strength::Refuses) {
            Ok(Answer::Created(tag)) => {
                if let Some(tag) = tag {
                    self.remember(&key, tag, body.sha256);
                }
                Ok(Put::Created)
            }
            Ok(Answer::Exists) => Ok(Put::Exists),
            // The object may be there although the answer was lost; then it need not be sent again.
            Ok(Answer::Unknown(failure)) | Err(failure) => match self.remote.head(&key) {
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

#[cfg(test)]
mod tests;
