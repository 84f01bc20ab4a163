//! The body of a put: read once for its checksums, and streamed for each attempt.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

const CHUNK_BYTES: usize = 128 * 1024;

/// A body with its checksums.
pub(crate) struct Body {
    source: Source,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) md5: [u8; 16],
}

enum Source {
    File(PathBuf),
    Bytes(&'static [u8]),
}

/// A [`Body`] on its way.
pub(crate) struct Sent {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) md5: [u8; 16],
    pub(crate) progress: Progress,
    pub(crate) stream: BoxStream<'static, io::Result<Bytes>>,
}

/// When a body last moved.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(crate) fn begin() -> Progress {
        Progress(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    /// Reads a file through.
    pub(crate) fn of_file(path: &Path) -> io::Result<Body> {
        Body::read(File::open(path)?, Source::File(path.to_path_buf()))
    }

    pub(crate) fn of_bytes(bytes: &'static [u8]) -> Body {
        Body::read(bytes, Source::Bytes(bytes)).expect("reading from memory cannot fail")
    }

    fn read(mut reader: impl Read, source: Source) -> io::Result<Body> {
        let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
        let mut size_bytes = 0;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    sha256.update(&buffer[..read]);
                    md5.update(&buffer[..read]);
                    size_bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Body {
            source,
            size_bytes,
            sha256: sha256.finalize().into(),
            md5: md5.finalize().into(),
        })
    }

    /// Returns the bytes as a stream that holds one chunk and reports its progress. The stream fails, and with it the request, if
    /// the length of the file has changed.
    pub(crate) fn send(&self) -> Sent {
        let progress = Progress::begin();
        let moved = progress.clone();
        let stream = match &self.source {
            Source::Bytes(bytes) => stream::iter([Ok(Bytes::from_static(bytes))]).boxed(),
            Source::File(path) => file_stream(path.clone(), self.size_bytes).boxed(),
        };
        Sent {
            size_bytes: self.size_bytes,
            sha256: self.sha256,
            md5: self.md5,
            progress,
            stream: stream.inspect(move |_| moved.moved()).boxed(),
        }
    }
}

fn file_stream(path: PathBuf, size_bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    enum State {
        Closed(PathBuf),
        Open(tokio::fs::File),
        Failed,
    }
    stream::unfold((State::Closed(path), size_bytes), async |(state, left)| {
        if left == 0 {
            return None;
        }
        let next = async {
            let mut file = match state {
                State::Closed(path) => tokio::fs::File::open(path).await?,
                State::Open(file) => file,
                State::Failed => return Ok(None),
            };
            let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
            file.read_exact(&mut chunk).await?;
            Ok(Some((chunk, file)))
        };
        match next.await {
            Ok(None) => None,
            Ok(Some((chunk, file))) => {
                let left = left - chunk.len() as u64;
                Some((Ok(Bytes::from(chunk)), (State::Open(file), left)))
            }
            Err(error) => Some((Err(error), (State::Failed, left))),
        }
    })
}
