//! Inflating with a limit.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Reads all of `reader`, at most `limit` bytes.
pub(super) fn read_capped(reader: impl Read, limit: u64, what: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| describe(&error, what))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{what} is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// Gunzips a member held in memory, to at most `limit` bytes.
pub(super) fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    read_capped(MultiGzDecoder::new(bytes), limit, "inflated member")
}

/// An I/O error of a decoder, in words.
pub(super) fn describe(error: &io::Error, what: &str) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        format!("{what} is truncated")
    } else {
        format!("{what} cannot be read: {error}")
    }
}
