//! Keeps what rustls copies out of places from which copying is slow.
//!
//! AMD's processors copy with `rep movsb`, which the C library takes for a record, at 4 GB/s instead of 100 when the
//! target lies 1 to 15 bytes behind the source, whole pages left out. rustls copies every record out of the buffer where
//! it was decrypted, and an allocator that puts the two side by side makes it just so for a whole test. A block of the
//! record's size, taken where the record was, sends the next records elsewhere.

use std::io::{self, Read};

const PAGE_BYTES: usize = 1 << 12;
/// A distance at which copying is fast again.
const SAFE_BYTES: usize = 16;
/// Shorter copies are done in another way.
const LEAST_BYTES: usize = 1 << 13;
/// Header of a record (RFC 8446, section 5.1): in TLS 1.3 the plaintext follows it.
const HEADER_BYTES: usize = 5;
/// Length of the buffer that rustls reads into: the longest record (RFC 5246, section 6.2.3).
const LONGEST_RECORD_BYTES: usize = HEADER_BYTES + (1 << 14) + 2048;
/// Blocks that one connection may keep.
const MOST_BLOCKS: usize = 4;

/// The blocks of one connection.
#[derive(Debug, Default)]
pub(crate) struct Spacers {
    blocks: Vec<Vec<u8>>,
    /// Address at which the plaintext of a record is decrypted.
    decrypted_at: usize,
    /// Bytes of a record that was copied slowly.
    slow_bytes: Option<usize>,
}

impl Spacers {
    /// The same reader, but where it reads to is noted.
    pub(crate) fn noting<R>(&mut self, reader: R) -> Noting<'_, R> {
        Noting {
            reader,
            spacers: self,
        }
    }

    /// Notes where a plaintext lies that was copied out of the buffer.
    pub(crate) fn note(&mut self, plaintext: &[u8]) {
        if plaintext.len() >= LEAST_BYTES && is_slow(self.decrypted_at, plaintext.as_ptr().addr()) {
            self.slow_bytes = Some(plaintext.len());
        }
    }

    /// Takes the place of the last record if it was a bad one; to be called when the record is gone.
    pub(crate) fn fill(&mut self) {
        if let Some(bytes) = self.slow_bytes.take()
            && self.blocks.len() < MOST_BLOCKS
        {
            self.blocks.push(Vec::with_capacity(bytes));
        }
    }
}

fn is_slow(source: usize, target: usize) -> bool {
    (1..SAFE_BYTES).contains(&(target.wrapping_sub(source) % PAGE_BYTES))
}

/// See [`Spacers::noting`].
pub(crate) struct Noting<'a, R> {
    reader: R,
    spacers: &'a mut Spacers,
}

impl<R: Read> Read for Noting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.as_ptr_range().end.addr();
        self.spacers.decrypted_at = end.wrapping_sub(LONGEST_RECORD_BYTES - HEADER_BYTES);
        self.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_behind_its_source_is_given_another_place() {
        assert!(is_slow(0x1000, 0x9001) && is_slow(0x1ff8, 0x8004));
        assert!(!is_slow(0x1000, 0x8000) && !is_slow(0x1000, 0x8010) && !is_slow(0x1001, 0x8000));

        let mut spacers = Spacers::default();
        let record = vec![0; LEAST_BYTES];
        for slow in [true, false] {
            spacers.decrypted_at = record.as_ptr().addr().wrapping_sub(usize::from(slow));
            spacers.note(&record);
            spacers.note(&record[..100]);
            spacers.fill();
            assert_eq!(spacers.blocks.len(), 1);
        }
        for _ in 0..2 * MOST_BLOCKS {
            spacers.decrypted_at = record.as_ptr().addr().wrapping_sub(1);
            spacers.note(&record);
            spacers.fill();
        }
        assert_eq!(spacers.blocks.len(), MOST_BLOCKS);
    }
}
