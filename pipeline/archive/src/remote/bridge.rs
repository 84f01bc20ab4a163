//! From threads that block to a client that does not: one small runtime for all buckets of the process.

use std::io::{self, Read};
use std::sync::mpsc::{self, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::Failure;

/// Chunks that are read ahead of the reader of a body.
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
        // The receiver is still waiting.
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
    let (sender, receiver) = mpsc::channel();
    let room = Arc::new(Semaphore::new(AHEAD_CHUNKS));
    let of_task = Arc::clone(&room);
    runtime()?.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        // Closed when the reader is dropped.
        while let Ok(place) = of_task.acquire().await {
            place.forget();
            let chunk = match tokio::time::timeout(stall, stream.next()).await {
                Ok(chunk) => chunk.transpose().map_err(io::Error::other),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no byte came for {stall:?}"),
                )),
            };
            let is_last = !matches!(chunk, Ok(Some(_)));
            if sender.send(chunk).is_err() || is_last {
                break;
            }
        }
    });
    Ok(Chunks {
        receiver,
        room,
        chunk: Bytes::new(),
        is_done: false,
    })
}

/// A body that comes in chunks.
pub(crate) struct Chunks {
    /// `None` is the end. A channel of the standard library, on which also a thread of a runtime may wait.
    receiver: mpsc::Receiver<io::Result<Option<Bytes>>>,
    /// How many chunks may come before one is taken.
    room: Arc<Semaphore>,
    chunk: Bytes,
    is_done: bool,
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.is_done {
            let next = self.receiver.recv();
            // The task that reads the body died before its end.
            let next = next.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            self.room.add_permits(1);
            match next? {
                Some(chunk) => self.chunk = chunk,
                None => self.is_done = true,
            }
        }
        let read = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const STALL: Duration = Duration::from_mins(1);

    fn chunks(count: usize) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
        stream::iter((0..count).map(|_| Ok(Bytes::from_static(b"chunk"))))
    }

    #[test]
    fn what_comes_whole_ends_and_stays_ended() {
        let mut reader = reader(chunks(100), STALL).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "chunk".repeat(100));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_bringer_that_dies_is_no_end() {
        let dies = chunks(10).map(|_| panic!("as a broken invariant does"));
        let mut reader = reader(dies, STALL).unwrap();
        for _ in 0..2 {
            let error = reader.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_thread_of_another_runtime_may_read() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let read = runtime.block_on(async {
            let mut bytes = Vec::new();
            reader(chunks(9), STALL)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap()
        });
        assert_eq!(read, 45);
    }
}
