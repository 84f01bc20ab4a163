//! How far an object is read.

use std::io::{self, Read};

/// Bytes between two reports. Smaller objects are not reported.
const STEP_BYTES: u64 = 1 << 20;

/// How far an object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the object that were read.
    pub read_bytes: u64,
    /// Its size, if the archive knows it.
    pub object_bytes: Option<u64>,
}

/// Receives the name of an object and how far it is read.
pub(crate) type Tell = dyn Fn(&str, Progress) + Send + Sync;

/// A reader that reports its progress.
pub(crate) struct Told<'a, R> {
    inner: R,
    name: &'a str,
    tell: Option<&'a Tell>,
    now: Progress,
    /// The number of bytes of the next report.
    next: u64,
}

impl<'a, R> Told<'a, R> {
    pub(crate) fn new(
        inner: R,
        name: &'a str,
        object_bytes: Option<u64>,
        tell: Option<&'a Tell>,
    ) -> Self {
        Told {
            inner,
            name,
            tell,
            now: Progress {
                read_bytes: 0,
                object_bytes,
            },
            next: STEP_BYTES,
        }
    }
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.now.read_bytes += count as u64;
        if let Some(tell) = self.tell
            && self.now.read_bytes >= self.next
        {
            self.next = self.now.read_bytes + STEP_BYTES;
            tell(self.name, self.now);
        }
        Ok(count)
    }
}
