//! M-Lab's pusher form: a gzipped tar whose members carry PAX records `MLAB.*`.

use std::io::{self, Read, Write};

use groma_archive::hex;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::gz::GzWriter;

/// A member before its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// `YYYY/MM/DD/<file>`.
    pub(crate) name: &'a str,
    /// The exact number of bytes to read.
    pub(crate) size_bytes: u64,
    /// Seconds since 1970.
    pub(crate) mtime_s: i64,
    /// Whether its bytes are compressed already, so that they are stored as they are.
    pub(crate) is_packed: bool,
}

/// Why a member could not be added. The archive is unusable after either.
#[derive(Debug)]
pub(crate) enum TgzError {
    /// The reader ended before the size in the header.
    Short,
    /// Reading or writing failed.
    Io(io::Error),
}

impl From<io::Error> for TgzError {
    fn from(error: io::Error) -> TgzError {
        TgzError::Io(error)
    }
}

/// Longest name that a ustar header holds for certain.
const USTAR_NAME_BYTES: usize = 100;
/// Tar counts in blocks; the rest of a member's last one is zeros.
const BLOCK_BYTES: u64 = 512;
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) struct TgzWriter<W: Write> {
    builder: Builder<GzWriter<W>>,
    records: Vec<(String, String)>,
    buffer: Vec<u8>,
}

impl<W: Write> TgzWriter<W> {
    /// `records` are the PAX records of every member.
    pub(crate) fn new(out: W, records: &[(String, String)]) -> TgzWriter<W> {
        let mut records = records.to_vec();
        records.sort();
        TgzWriter {
            builder: Builder::new(GzWriter::new(out)),
            records,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Adds a member with mode 0666, without an owner, and with its modification time in seconds. Returns its SHA-256 in
    /// hexadecimal.
    pub(crate) fn add(&mut self, entry: Entry<'_>, bytes: impl Read) -> Result<String, TgzError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o666);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(entry.size_bytes);
        header.set_mtime(u64::try_from(entry.mtime_s).unwrap_or(0));
        let mut records: Vec<(&str, &[u8])> = self
            .records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_bytes()))
            .collect();
        if header.set_path(entry.name).is_err() {
            // The whole name goes into a PAX record; the header keeps its beginning for readers that know none.
            records.push(("path", entry.name.as_bytes()));
            header.set_path(&entry.name[..entry.name.floor_char_boundary(USTAR_NAME_BYTES)])?;
        }
        header.set_cksum();
        self.builder.append_pax_extensions(records)?;
        self.builder.get_mut().write_all(header.as_bytes())?;
        let sha256 = self.body(entry, bytes)?;
        let out = self.builder.get_mut();
        let rest = entry.size_bytes.next_multiple_of(BLOCK_BYTES) - entry.size_bytes;
        out.write_all(&[0; BLOCK_BYTES as usize][..rest as usize])?;
        Ok(sha256)
    }

    fn body(&mut self, entry: Entry<'_>, mut bytes: impl Read) -> Result<String, TgzError> {
        let mut hasher = Sha256::new();
        let mut left = entry.size_bytes;
        while left > 0 {
            let most = left.min(BUFFER_BYTES as u64) as usize;
            match bytes.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(TgzError::Short),
                Ok(read) => {
                    hasher.update(&self.buffer[..read]);
                    let out = self.builder.get_mut();
                    if entry.is_packed {
                        out.store(&self.buffer[..read])?;
                    } else {
                        out.write_all(&self.buffer[..read])?;
                    }
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(hex(&hasher.finalize()))
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        self.builder.into_inner()?.finish()
    }
}
