//! The content of a claimed JSON file: read once to be judged, and once more to be bundled.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use flate2::bufread::MultiGzDecoder;
use groma_disk::Disk;
use groma_schema::Schema;

use super::admit::UntilError;
use crate::bundle::Hashed;
use crate::json::{self, Extent};

/// Up to here a text is kept in memory between the two readings; most results are far smaller.
const KEPT_BYTES: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = 32 * 1024;

/// What the first reading of a file found.
pub(super) struct Judged {
    /// Where its value stands, or the reason for the quarantine.
    pub(super) verdict: Result<Extent, String>,
    /// How much could be read of it.
    pub(super) size_bytes: u64,
    /// SHA-256 of that, in hex.
    pub(super) sha256: String,
    is_kept: bool,
}

/// A claimed file, whose text may be gzip.
pub(super) struct Content<'a> {
    pub(super) file: &'a File,
    pub(super) size_bytes: u64,
    pub(super) is_packed: bool,
    pub(super) disk: &'a Disk,
}

impl<'a> Content<'a> {
    fn bytes(&self) -> Hashed<impl Read + 'a> {
        Hashed::new(UntilError::new(self.file, self.disk).take(self.size_bytes))
    }

    /// Reads the file to its end. `kept` takes its text if that is not long, and keeps its room for the next.
    pub(super) fn judge(
        &self,
        schema: Option<&Schema>,
        max_bytes: u64,
        kept: &mut Vec<u8>,
    ) -> io::Result<Judged> {
        kept.clear();
        let mut bytes = self.bytes();
        let mut read =
            |mut text: Box<dyn Read + '_>| match (&mut text).take(KEPT_BYTES).read_to_end(kept) {
                Ok(read) if (read as u64) < KEPT_BYTES => {
                    (json::inspect_slice(kept, schema, max_bytes), true)
                }
                Ok(_) => (json::inspect(kept.chain(text), schema, max_bytes), false),
                Err(error) => (Err(format!("it is not gzip: {error}")), false),
            };
        let (verdict, is_kept) = if self.is_packed {
            let packed = BufReader::with_capacity(BUFFER_BYTES, &mut bytes);
            read(Box::new(MultiGzDecoder::new(packed)))
        } else {
            read(Box::new(&mut bytes))
        };
        // What the verdict did not need counts as well: a file that is cut short is not judged at all.
        io::copy(&mut bytes, &mut io::sink())?;
        let (_, size_bytes, sha256) = bytes.into_parts();
        Ok(Judged {
            verdict,
            size_bytes,
            sha256,
            is_kept,
        })
    }

    /// Writes the value as one line. False if the file has other bytes than when it was judged.
    pub(super) fn copy_line(
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
