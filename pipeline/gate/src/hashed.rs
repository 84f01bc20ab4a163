//! A reader or writer that counts and hashes its bytes.

use std::io::{self, Read, Write};

use groma_archive::hex;
use sha2::{Digest, Sha256};

/// A reader or writer that counts and hashes the bytes that pass through it.
#[derive(Debug)]
pub struct Hashed<T> {
    inner: T,
    hasher: Sha256,
    size_bytes: u64,
}

impl<T> Hashed<T> {
    /// Wraps a reader or writer.
    pub fn new(inner: T) -> Hashed<T> {
        Hashed {
            inner,
            hasher: Sha256::new(),
            size_bytes: 0,
        }
    }

    /// Returns the wrapped value, the number of bytes, and their SHA-256 in hexadecimal.
    pub fn into_parts(self) -> (T, u64, String) {
        (self.inner, self.size_bytes, hex(&self.hasher.finalize()))
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.pass(&buffer[..read]);
        Ok(read)
    }
}
