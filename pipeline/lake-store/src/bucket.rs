//! The steps on a bucket.
//!
//! An object appears whole; what S3 answers to `If-None-Match: *` makes a name created once. A file that was written aside
//! is copied within the bucket and then removed: copying it twice gives the same object.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use groma_archive::remote::s3::S3Bucket;
use groma_archive::remote::{Failure, wait};
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{
    Error, ListResult, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload,
};

/// A bucket, or the part of it below a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Bucket(S3Bucket);

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let S3Bucket { bucket, prefix, .. } = &self.0;
        write!(f, "s3://{bucket}/{prefix}")
    }
}

/// Files of a folder with their sizes in bytes.
type Sizes = HashMap<String, u64>;

impl Bucket {
    pub(crate) fn new(bucket: S3Bucket) -> Bucket {
        Bucket(bucket)
    }

    pub(crate) fn identity(&self) -> String {
        match &self.0.endpoint {
            Some(endpoint) => format!("{self} at {endpoint}"),
            None => self.to_string(),
        }
    }

    fn key(&self, path: &Path) -> io::Result<Key> {
        let name = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let whole = format!("{}/{name}", self.0.prefix);
        Key::parse(whole.trim_matches('/')).map_err(io::Error::other)
    }

    /// Runs a request until it is answered.
    fn ask<T, F>(&self, request: impl FnOnce(Arc<AmazonS3>) -> F + Send + 'static) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let client = Arc::clone(&self.0.client);
        let answer = wait(async move { request(client).await }).map_err(io::Error::other)?;
        answer.map_err(|error| {
            let kind = match &error {
                Error::NotFound { .. } => io::ErrorKind::NotFound,
                Error::AlreadyExists { .. } | Error::Precondition { .. } => {
                    io::ErrorKind::AlreadyExists
                }
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, Failure::of_library(&error))
        })
    }

    fn listing(&self, dir: &Path) -> io::Result<ListResult> {
        let key = self.key(dir)?;
        let key = (!key.as_ref().is_empty()).then_some(key);
        self.ask(|client| async move { client.list_with_delimiter(key.as_ref()).await })
    }

    pub(crate) fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(names(&self.listing(dir)?.common_prefixes))
    }

    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let listing = self.listing(dir)?;
        let mut all = names(&listing.common_prefixes);
        all.extend(listing.objects.iter().filter_map(name));
        Ok(all)
    }

    pub(crate) fn ages(&self, dir: &Path) -> io::Result<HashMap<String, Duration>> {
        let objects = self.listing(dir)?.objects;
        let aged = |object: &ObjectMeta| Some((name(object)?, age(object)?));
        Ok(objects.iter().filter_map(aged).collect())
    }

    pub(crate) fn sizes_by_folder(&self, dir: &Path) -> io::Result<HashMap<String, Sizes>> {
        let key = self.key(dir)?;
        let above = key.clone();
        let listed = self.ask(|client| async move {
            client
                .list(Some(&key))
                .try_collect::<Vec<ObjectMeta>>()
                .await
        })?;
        let mut folders: HashMap<String, Sizes> = HashMap::new();
        for object in listed {
            let below: Vec<_> = object
                .location
                .prefix_match(&above)
                .into_iter()
                .flatten()
                .collect();
            if let [folder, file] = &below[..] {
                let sizes = folders.entry(folder.as_ref().to_owned()).or_default();
                sizes.insert(file.as_ref().to_owned(), object.size);
            }
        }
        Ok(folders)
    }

    pub(crate) fn sizes(&self, dir: &Path) -> io::Result<Sizes> {
        let objects = self.listing(dir)?.objects;
        let sized = |object: &ObjectMeta| Some((name(object)?, object.size));
        Ok(objects.iter().filter_map(sized).collect())
    }

    fn head(&self, path: &Path) -> io::Result<ObjectMeta> {
        let key = self.key(path)?;
        self.ask(|client| async move { client.head(&key).await })
    }

    pub(crate) fn age(&self, path: &Path) -> Option<Duration> {
        age(&self.head(path).ok()?)
    }

    pub(crate) fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(self.head(path)?.size)
    }

    pub(crate) fn try_exists(&self, path: &Path) -> io::Result<bool> {
        match self.head(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Bytes> {
        let key = self.key(path)?;
        self.ask(|client| async move { client.get(&key).await?.bytes().await })
    }

    pub(crate) fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Bytes> {
        let key = self.key(path)?;
        self.ask(|client| async move { client.get_range(&key, range).await })
    }

    pub(crate) fn create(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        self.put(path, bytes, PutMode::Create)
    }

    pub(crate) fn replace(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        self.put(path, bytes, PutMode::Overwrite)
    }

    fn put(&self, path: &Path, bytes: Bytes, mode: PutMode) -> io::Result<()> {
        let key = self.key(path)?;
        self.ask(|client| async move {
            let payload = PutPayload::from_bytes(bytes);
            client.put_opts(&key, payload, mode.into()).await.map(drop)
        })
    }

    /// A file of this machine; a lake's are at most as large as a part.
    pub(crate) fn upload(&self, from: &Path, to: &Path, over: bool) -> io::Result<()> {
        let bytes = Bytes::from(std::fs::read(from)?);
        if over {
            self.replace(to, bytes)
        } else {
            self.create(to, bytes)
        }
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<bool> {
        let key = self.key(path)?;
        match self.ask(|client| async move { client.delete(&key).await }) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn place(&self, staged: &Path, target: &Path) -> io::Result<()> {
        let (from, to) = (self.key(staged)?, self.key(target)?);
        match self.ask(|client| async move { client.copy(&from, &to).await }) {
            Ok(()) => self.remove(staged).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn names(folders: &[Key]) -> Vec<String> {
    let last = |folder: &Key| folder.filename().map(str::to_owned);
    folders.iter().filter_map(last).collect()
}

fn name(object: &ObjectMeta) -> Option<String> {
    object.location.filename().map(str::to_owned)
}

fn age(object: &ObjectMeta) -> Option<Duration> {
    SystemTime::now()
        .duration_since(object.last_modified.into())
        .ok()
}
