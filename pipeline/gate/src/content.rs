//! The content of a JSON file: read once for the verdict, and once more for the bundle.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use flate2::bufread::MultiGzDecoder;
use groma_disk::Disk;

use crate::json::{self, Extent};
use crate::{Gate, Hashed, UntilError};

/// A text of up to this size is kept in memory between the two readings. Most results are much smaller.
const KEPT_BYTES: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = 32 * 1024;

/// The result of the first reading of a file.
#[derive(Debug)]
pub struct Judged {
    /// The position of its value, or the reason for the refusal.
    pub verdict: Result<Extent, String>,
    /// The number of bytes that were read.
    pub size_bytes: u64,
    /// SHA-256 of these bytes, in hexadecimal.
    pub sha256: String,
    is_kept: bool,
}

/// A file, whose text may be gzip.
#[derive(Debug)]
pub struct Content<'a> {
    /// The open file.
    pub file: &'a File,
    /// Its size when it was opened.
    pub size_bytes: u64,
    /// Whether it is gzip.
    pub is_packed: bool,
    /// The disk with the file.
    pub disk: &'a Disk,
}

impl<'a> Content<'a> {
    fn bytes(&self) -> Hashed<impl Read + 'a> {
        Hashed::new(UntilError::new(self.file, self.disk).take(self.size_bytes))
    }

    /// Reads the file to its end and judges it. `kept` receives its text if that is short; its capacity serves the next file.
    pub fn judge(&self, gate: Gate<'_>, kept: &mut Vec<u8>) -> io::Result<Judged> {
        kept.clear();
        let mut bytes = self.bytes();
        let mut read =
            |mut text: Box<dyn Read + '_>| match (&mut text).take(KEPT_BYTES).read_to_end(kept) {
                Ok(read) if (read as u64) < KEPT_BYTES => (json::inspect_slice(kept, gate), true),
                Ok(_) => (json::inspect(kept.chain(text), gate), false),
                Err(error) => (Err(format!("it is not gzip: {error}")), false),
            };
        let (verdict, is_kept) = if self.is_packed {
            let packed = BufReader::with_capacity(BUFFER_BYTES, &mut bytes);
            read(Box::new(MultiGzDecoder::new(packed)))
        } else {
            read(Box::new(&mut bytes))
        };
        // The checksum includes bytes that the verdict did not need.
        io::copy(&mut bytes, &mut io::sink())?;
        let (_, size_bytes, sha256) = bytes.into_parts();
        Ok(Judged {
            verdict,
            size_bytes,
            sha256,
            is_kept,
        })
    }

    /// Writes the value as one line. Returns `false` if the file no longer has the bytes that were judged.
    pub fn copy_line(
        &self,
        judged: &Judged,
        extent: Extent,
        kept: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        if judged.is_kept {
            json::copy_line(kept, extent, out)?;
            return Ok(true);
        }
        let mut file = self.file;
        file.rewind()?;
        let mut bytes = self.bytes();
        if self.is_packed {
            let packed = BufReader::with_capacity(BUFFER_BYTES, &mut bytes);
            json::copy_line(MultiGzDecoder::new(packed), extent, out)?;
        } else {
            json::copy_line(&mut bytes, extent, out)?;
        }
        io::copy(&mut bytes, &mut io::sink())?;
        Ok(bytes.into_parts().2 == judged.sha256)
    }
}
