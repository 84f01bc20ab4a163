//! From threads that block to a client that does not: one small runtime for all buckets of the process.

use std::io::{self, Read};
use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::Failure;

/// Chunks that are read ahead of whoever reads a body.
const AHEAD_CHUNKS: usize = 4;

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("bucket")
        .enable_all()
        .build()
});

fn runtime() -> Result<&'static Runtime, Failure> {
    RUNTIME
        .as_ref()
        .map_err(|error| Failure::new(format!("start threads: {error}")))
}

/// Runs a future on the runtime of the buckets and blocks until it is done. May be called from any thread, also from one
/// that another runtime owns.
pub fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever waits cannot have gone.
        let _ = sender.send(future.await);
    });
    receiver
        .recv()
        .map_err(|_| Failure::new("the client ended by a broken invariant"))
}

/// Reads a stream of chunks; one that brings nothing for `stall` has failed.
pub(crate) fn reader(
    stream: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    stall: Duration,
) -> Result<Chunks, Failure> {
    let (sender, receiver) = mpsc::channel(AHEAD_CHUNKS);
    runtime()?.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        loop {
            let chunk = match tokio::time::timeout(stall, stream.next()).await {
                Ok(None) => break,
                Ok(Some(chunk)) => chunk.map_err(io::Error::other),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no byte came for {stall:?}"),
                )),
            };
            let is_last = chunk.is_err();
            if sender.send(chunk).await.is_err() || is_last {
                break;
            }
        }
    });
    Ok(Chunks {
        receiver,
        chunk: Bytes::new(),
    })
}

/// A body that comes in chunks.
pub(crate) struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let read = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
