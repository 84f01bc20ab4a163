//! Scans JSON text while a parser reads it: line numbers, the longest string, and the position of the value.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

use crate::json::Extent;

/// A longer string makes a file malformed, because the loader keeps a string in memory.
const STRING_MAX_BYTES: u64 = 8 * 1024 * 1024;
pub(crate) const BUFFER_BYTES: usize = 32 * 1024;

/// The position in valid JSON: inside a string or not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quotes {
    in_string: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Passes a byte. Returns whether it belongs to a string; the closing quote does not.
    pub(crate) fn pass(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
        } else {
            self.in_string = byte == b'"';
        }
        self.in_string
    }
}

/// A reader that scans the bytes that pass through it. The parser reads single bytes, so the scan works on chunks.
pub(crate) struct Scanned<'a, R> {
    pub(crate) text: R,
    chunk: Vec<u8>,
    given: usize,
    filled: usize,
    seen: &'a Seen,
}

/// The part of a text that was read so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    scan: RefCell<Scan>,
    /// The number of bytes of the last chunk that the parser has read.
    given: Cell<usize>,
}

#[derive(Debug, Default)]
struct Scan {
    bytes: u64,
    /// Line breaks before the chunk, and their positions in it.
    newlines_before: u64,
    newlines: Vec<usize>,
    quotes: Quotes,
    string_bytes: u64,
    longest_string_bytes: u64,
    start: Option<u64>,
    end: u64,
    /// Whether a line ended after the start, and whether more of the value followed.
    had_break: bool,
    is_broken: bool,
}

impl Seen {
    /// Returns the position of the value in a text that was read to its end.
    pub(crate) fn into_extent(self) -> Extent {
        self.scan.into_inner().extent()
    }

    /// Returns the line of the last byte but one that the parser has read: a number ends only at the byte after it.
    pub(crate) fn line(&self) -> u64 {
        let scan = self.scan.borrow();
        let before = |place: &usize| place + 1 < self.given.get();
        scan.newlines_before + scan.newlines.partition_point(before) as u64 + 1
    }
}

impl Scan {
    fn extent(&self) -> Extent {
        Extent {
            start: self.start.unwrap_or(0),
            end: self.end,
            is_broken: self.is_broken,
        }
    }

    fn chunk(&mut self, chunk: &[u8]) {
        self.newlines_before += self.newlines.len() as u64;
        self.newlines.clear();
        for (place, byte) in chunk.iter().enumerate() {
            self.pass(place, *byte);
        }
    }

    fn pass(&mut self, place: usize, byte: u8) {
        self.bytes += 1;
        if self.quotes.pass(byte) {
            self.string_bytes += 1;
            self.longest_string_bytes = self.longest_string_bytes.max(self.string_bytes);
        } else {
            self.string_bytes = 0;
        }
        match byte {
            b'\n' | b'\r' => {
                if byte == b'\n' {
                    self.newlines.push(place);
                }
                self.had_break = self.start.is_some();
            }
            b' ' | b'\t' => {}
            _ => {
                self.start.get_or_insert(self.bytes - 1);
                self.end = self.bytes;
                self.is_broken |= self.had_break;
            }
        }
    }
}

impl<'a, R: Read> Scanned<'a, R> {
    pub(crate) fn new(text: R, seen: &'a Seen) -> Scanned<'a, R> {
        Scanned {
            text,
            chunk: vec![0; BUFFER_BYTES],
            given: 0,
            filled: 0,
            seen,
        }
    }

    /// Reads the next chunk; false at the end.
    #[cold]
    fn fill(&mut self) -> io::Result<bool> {
        let read = self.text.read(&mut self.chunk)?;
        if read == 0 {
            return Ok(false);
        }
        let mut scan = self.seen.scan.borrow_mut();
        scan.chunk(&self.chunk[..read]);
        if scan.longest_string_bytes > STRING_MAX_BYTES {
            let reason = format!("a string has more than {STRING_MAX_BYTES} bytes");
            return Err(io::Error::other(reason));
        }
        (self.given, self.filled) = (0, read);
        Ok(true)
    }
}

impl<R: Read> Read for Scanned<'_, R> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.filled && !self.fill()? {
            return Ok(0);
        }
        let ready = &self.chunk[self.given..self.filled];
        let length = buffer.len().min(ready.len());
        if let ([place], [byte, ..]) = (&mut *buffer, ready) {
            *place = *byte;
        } else {
            buffer[..length].copy_from_slice(&ready[..length]);
        }
        self.given += length;
        self.seen.given.set(self.given);
        Ok(length)
    }
}
