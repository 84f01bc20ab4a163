//! Recognises by its first bytes what an object is, whatever its name says.
//!
//! A store or a proxy may have unpacked a body on its way, packed it once more, or answered with a page of its own.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes that are looked at: the first header of a tar.
const AHEAD_BYTES: usize = 512;

/// The content of an object inside its compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Tar,
    Lines,
}

/// Whether a block is the header of a tar entry.
pub(crate) fn is_tar(block: &[u8]) -> bool {
    let Some(header) = block.first_chunk::<512>() else {
        return false;
    };
    let Ok(expected) = tar::Header::from_byte_slice(header).cksum() else {
        return false;
    };
    // The checksum is computed with blanks in its own place.
    let sum = |range: std::ops::Range<usize>| -> u32 {
        header[range].iter().map(|byte| u32::from(*byte)).sum()
    };
    let blanks = 8 * u32::from(b' ');
    expected == sum(0..148) + blanks + sum(156..512) && header.iter().any(|byte| *byte != 0)
}

/// The content of an object, inflated once or twice. The error says why it is not an archive.
pub(crate) fn unpack<'a>(
    reader: impl Read + 'a,
    inside: Inside,
) -> Result<Box<dyn Read + 'a>, String> {
    let outer = Ahead::new(reader);
    if outer.seen().is_empty() {
        return Err(match outer.failure {
            Some(error) => format!("archive cannot be read: {error}"),
            None => "the object is empty".to_owned(),
        });
    }
    if outer.seen().starts_with(&GZIP) {
        let inner = Ahead::new(MultiGzDecoder::new(outer));
        if inner.seen().starts_with(&GZIP) {
            return Ok(Box::new(MultiGzDecoder::new(inner)));
        }
        return Ok(Box::new(inner));
    }
    let text = outer.seen().trim_ascii_start();
    match inside {
        Inside::Tar if is_tar(outer.seen()) => Ok(Box::new(outer)),
        // A whole tar without members.
        Inside::Tar if outer.seen().len() == AHEAD_BYTES && outer.seen().iter().all(|b| *b == 0) => {
            Ok(Box::new(outer))
        }
        Inside::Lines if text.starts_with(b"{") => Ok(Box::new(outer)),
        _ if text.starts_with(b"<") => Err(
            "the object is an HTML or XML page and not an archive; a proxy or a login page may have answered for the store"
                .to_owned(),
        ),
        _ => Err(format!(
            "the object is not an archive: it begins with {}",
            groma_archive::hex(&outer.seen()[..outer.seen().len().min(8)])
        )),
    }
}

/// A reader whose first bytes were looked at.
struct Ahead<R> {
    seen: Cursor<Vec<u8>>,
    /// The error that ended the look, once the bytes before it are read.
    failure: Option<io::Error>,
    inner: R,
}

impl<R: Read> Ahead<R> {
    fn new(mut inner: R) -> Ahead<R> {
        let mut seen = vec![0; AHEAD_BYTES];
        let (mut filled, mut failure) = (0, None);
        while filled < seen.len() {
            match inner.read(&mut seen[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        seen.truncate(filled);
        Ahead {
            seen: Cursor::new(seen),
            failure,
            inner,
        }
    }

    fn seen(&self) -> &[u8] {
        self.seen.get_ref()
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.seen.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.inner.read(buffer),
        }
    }
}
