//! Inflating with a limit.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use super::Content;

/// Reads all of `reader`, at most `limit` bytes.
pub(super) fn read_capped(reader: impl Read, limit: u64, what: &str) -> Result<Vec<u8>, String> {
    read_sized(reader, 0, limit, what)
}

/// As [`read_capped`], with room made for what is expected.
pub(super) fn read_sized(
    reader: impl Read,
    expected: usize,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(expected);
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| describe(&error, what))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{what} is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// A member as its writer wrote it, at most `limit` bytes: inflated if its name says that it is packed.
pub(crate) fn inflate(name: &str, bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, String> {
    if name.ends_with("gz") {
        gunzip(&bytes, limit)
    } else if name.ends_with(".zst") {
        unzstd(&bytes, limit)
    } else {
        Ok(bytes)
    }
}

/// Gunzips a member held in memory, to at most `limit` bytes.
fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    // The last four bytes say how long the content is, if they are to be believed.
    let said = bytes
        .last_chunk()
        .map_or(0, |tail| u32::from_le_bytes(*tail));
    let expected = u64::from(said).min(bytes.len() as u64 * 32).min(limit);
    let decoder = MultiGzDecoder::new(bytes);
    read_sized(decoder, expected as usize + 1, limit, "inflated member")
}

/// Gunzips a member that is of use up to where its stream ends early.
pub(super) fn beginning(bytes: &[u8], limit: u64) -> Content {
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(limit.saturating_add(1));
    let read = decoder.read_to_end(&mut inflated);
    if inflated.len() as u64 > limit {
        return Content::Bad(format!("inflated member is larger than {limit} bytes"));
    }
    match read {
        Ok(_) => Content::Whole(inflated),
        Err(error) if inflated.is_empty() => Content::Bad(describe(&error, "inflated member")),
        Err(error) => Content::Beginning(inflated, describe(&error, "inflated member")),
    }
}

/// Inflates a zstd member held in memory, to at most `limit` bytes.
fn unzstd(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    // Frames say how long their content can be, if not how long it is; into room for all of it zstd writes directly.
    if let Ok(most) = zstd::zstd_safe::decompress_bound(bytes)
        && most <= limit
        && let Ok(whole) = zstd::bulk::decompress(bytes, most as usize)
    {
        return Ok(whole);
    }
    let decoder =
        zstd::Decoder::with_buffer(bytes).map_err(|error| describe(&error, "inflated member"))?;
    read_sized(decoder, 0, limit, "inflated member")
}

/// An I/O error of a decoder, in words.
pub(super) fn describe(error: &io::Error, what: &str) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        format!("{what} is truncated")
    } else {
        format!("{what} cannot be read: {error}")
    }
}
