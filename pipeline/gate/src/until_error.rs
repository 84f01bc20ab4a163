//! Read errors as the end of a file.

use std::io::{self, Read};

use groma_disk::Disk;

/// A reader that ends at the first error. A file on a bad sector then looks too short: it waits for a later bundle instead of
/// stopping this one.
#[derive(Debug)]
pub struct UntilError<'a, R> {
    reader: R,
    disk: &'a Disk,
    has_failed: bool,
}

impl<'a, R> UntilError<'a, R> {
    /// Wraps a reader of a file on `disk`.
    pub fn new(reader: R, disk: &'a Disk) -> UntilError<'a, R> {
        UntilError {
            reader,
            disk,
            has_failed: false,
        }
    }
}

impl<R: Read> Read for UntilError<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Ok(0);
        }
        match self.disk.reading().and_then(|()| self.reader.read(buffer)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!(%error, "cannot read the rest of a claimed file");
                self.has_failed = true;
                Ok(0)
            }
            result => result,
        }
    }
}
