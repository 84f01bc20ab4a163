//! M-Lab's pusher form: a gzipped tar whose members carry PAX records `MLAB.*`.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::Hashed;

/// A member before its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// `YYYY/MM/DD/<file>`.
    pub(crate) name: &'a str,
    /// Exactly so many bytes are read.
    pub(crate) size_bytes: u64,
    /// Seconds since 1970.
    pub(crate) mtime_s: i64,
}

/// Why a member could not be added. The archive is unusable after either.
#[derive(Debug)]
pub(crate) enum TgzError {
    /// The reader ended before the size that stands in the header.
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

pub(crate) struct TgzWriter<W: Write> {
    builder: Builder<GzEncoder<W>>,
    records: Vec<(String, String)>,
}

impl<W: Write> TgzWriter<W> {
    /// `records` are the PAX records of every member. `packed` members, which do not compress any further, are not
    /// worth much effort.
    pub(crate) fn new(out: W, records: &[(String, String)], packed: bool) -> TgzWriter<W> {
        let level = if packed {
            Compression::fast()
        } else {
            Compression::default()
        };
        let mut records = records.to_vec();
        records.sort();
        TgzWriter {
            builder: Builder::new(GzEncoder::new(out, level)),
            records,
        }
    }

    /// Adds a member: mode 0666, owned by nobody in particular, modified at a whole second. Answers its SHA-256 in hex.
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
        let mut exact = Hashed::new(bytes.take(entry.size_bytes));
        self.builder.append(&header, &mut exact)?;
        let (_, size_bytes, sha256) = exact.into_parts();
        if size_bytes == entry.size_bytes {
            Ok(sha256)
        } else {
            Err(TgzError::Short)
        }
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        self.builder.into_inner()?.finish()
    }
}
