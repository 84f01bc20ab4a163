//! A checksum of a whole table file that the file itself holds.
//!
//! The Parquet format has checksums of pages, which cover neither page headers nor the footer. A table file therefore holds a
//! SHA-256 of all its bytes in its footer, under the metadata key [`FILE_SHA256`]. It is computed with 64 zeros in the place of
//! its own digits. Any changed bit in the file, the digits included, makes the two differ.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use parquet::file::reader::ChunkReader as _;
use sha2::{Digest as _, Sha256};

use crate::LakeFile;

/// The metadata key of the checksum, in hexadecimal.
pub const FILE_SHA256: &str = "groma.file_sha256";

/// The value of [`FILE_SHA256`] while the checksum is computed.
pub const NO_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `created_by` of every file that has the checksum. A changed bit cannot remove both this name and the key.
pub const CREATED_BY: &str = "groma-load 2";

/// Between the key and its value in the compact protocol of Thrift: the header of a field of bytes, and their number.
const VALUE_BEGINS: [u8; 2] = [0x18, 64];

/// The footer and what is searched beside it where its length may be damaged.
const TAIL_BYTES: u64 = 4 << 20;
const PIECE_BYTES: u64 = 1 << 20;

fn damaged(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it is damaged: {reason}"),
    )
}

/// Whether an error says that a file is damaged; others may pass when the file is read again.
pub fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == first) {
        at += next;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Where the 64 digits begin in the tail of a file.
fn digits(tail: &[u8]) -> Option<usize> {
    let key = [FILE_SHA256.as_bytes(), &VALUE_BEGINS].concat();
    let at = find(tail, &key)? + key.len();
    (at + NO_SHA256.len() <= tail.len()).then_some(at)
}

/// Writes the checksum of a finished file into it; `sha256` is the one of its bytes with [`NO_SHA256`].
pub(crate) fn stamp(file: &File, sha256: &[u8; 32]) -> io::Result<()> {
    let size_bytes = file.metadata()?.len();
    let start = size_bytes.saturating_sub(footer_bytes(file, size_bytes)?);
    let mut tail = vec![0; usize::try_from(size_bytes - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start)?;
    let at = digits(&tail).ok_or_else(|| damaged("it has no place for its checksum"))?;
    file.write_all_at(groma_archive::hex(sha256).as_bytes(), start + at as u64)
}

fn footer_bytes(file: &File, size_bytes: u64) -> io::Result<u64> {
    let mut end = [0; 8];
    file.read_exact_at(&mut end, size_bytes.saturating_sub(8))?;
    let [a, b, c, d, ..] = end;
    Ok(u64::from(u32::from_le_bytes([a, b, c, d])) + 8)
}

impl LakeFile {
    /// Compares all bytes of a table file with the checksum in it. A file from before there were checksums passes.
    ///
    /// The error has the kind `InvalidData` where the file is damaged.
    pub fn verify(&self) -> io::Result<()> {
        let size_bytes = self.size_bytes();
        let start = size_bytes.saturating_sub(self.tail_bytes()?);
        let tail = self.piece(start, size_bytes - start)?;
        let Some(at) = digits(&tail) else {
            return match find(&tail, CREATED_BY.as_bytes()) {
                Some(_) => Err(damaged("its checksum is missing")),
                None => Ok(()),
            };
        };
        let digits = tail.slice(at..at + NO_SHA256.len());
        let at = start + at as u64;
        let mut sha256 = Sha256::new();
        self.hash(&mut sha256, 0, at)?;
        sha256.update(NO_SHA256);
        self.hash(&mut sha256, at + NO_SHA256.len() as u64, size_bytes)?;
        if groma_archive::hex(&sha256.finalize()).as_bytes() == digits {
            Ok(())
        } else {
            Err(damaged("its bytes do not have its checksum"))
        }
    }

    /// Compares all bytes of a file with a SHA-256 in hexadecimal that is recorded elsewhere.
    pub fn verify_sha256(&self, expected: &str) -> io::Result<()> {
        let mut sha256 = Sha256::new();
        self.hash(&mut sha256, 0, self.size_bytes())?;
        if groma_archive::hex(&sha256.finalize()) == expected {
            Ok(())
        } else {
            Err(damaged(
                "its bytes do not have the checksum that the log records",
            ))
        }
    }

    fn tail_bytes(&self) -> io::Result<u64> {
        let size_bytes = self.size_bytes();
        if size_bytes < 12 {
            return Err(damaged("it is too short for a Parquet file"));
        }
        let end = self.piece(size_bytes - 8, 8)?;
        if !end.ends_with(b"PAR1") {
            return Err(damaged("it does not end as a Parquet file does"));
        }
        let length = end
            .first_chunk()
            .map_or(0, |length| u32::from_le_bytes(*length));
        Ok((u64::from(length) + 8).clamp(TAIL_BYTES, size_bytes.max(TAIL_BYTES)))
    }

    fn hash(&self, sha256: &mut Sha256, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let length = PIECE_BYTES.min(to - at);
            sha256.update(&self.piece(at, length)?);
            at += length;
        }
        Ok(())
    }

    fn piece(&self, at: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.get_bytes(at, length).map_err(io::Error::other)
    }
}
