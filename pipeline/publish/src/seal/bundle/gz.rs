//! A gzip stream (RFC 1952) in which bytes that are compressed already are stored as they are.

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

const BUFFER_BYTES: usize = 32 * 1024;
/// Deflate, no name, no time, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// Most that a stored block holds (RFC 1951, section 3.2.4).
const STORED_MAX_BYTES: usize = 65_535;

/// Compresses what is written, at the level that gzip has by default, 6. Without [`GzWriter::finish`] it is cut short.
pub(crate) struct GzWriter<W: Write> {
    out: W,
    state: Compress,
    crc: Crc,
    buffer: Vec<u8>,
    /// Whether the header is written.
    is_begun: bool,
    /// Whether the compressor has given out all that it was given.
    is_drained: bool,
}

impl<W: Write> GzWriter<W> {
    pub(crate) fn new(out: W) -> GzWriter<W> {
        GzWriter {
            out,
            state: Compress::new(Compression::default(), false),
            crc: Crc::new(),
            buffer: vec![0; BUFFER_BYTES],
            is_begun: false,
            is_drained: true,
        }
    }

    /// Adds bytes without compressing them.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.begin()?;
        if !self.is_drained {
            // A full flush ends at a whole byte, and what is compressed later does not look back beyond it.
            self.drain(FlushCompress::Full)?;
            self.is_drained = true;
        }
        for block in bytes.chunks(STORED_MAX_BYTES) {
            let length = block.len() as u16;
            let [a, b] = length.to_le_bytes();
            let [c, d] = (!length).to_le_bytes();
            self.out.write_all(&[0, a, b, c, d])?;
            self.out.write_all(block)?;
        }
        self.crc.update(bytes);
        Ok(())
    }

    /// Ends the stream.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.begin()?;
        self.drain(FlushCompress::Finish)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.is_begun {
            self.out.write_all(&HEADER)?;
            self.is_begun = true;
        }
        Ok(())
    }

    /// Writes what a step with this input and flush gives; answers how much input it took and how much it gave.
    fn step(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, usize, Status)> {
        let (taken, given) = (self.state.total_in(), self.state.total_out());
        let status = self.state.compress(input, &mut self.buffer, flush)?;
        let taken = (self.state.total_in() - taken) as usize;
        let given = (self.state.total_out() - given) as usize;
        self.out.write_all(&self.buffer[..given])?;
        Ok((taken, given, status))
    }

    fn drain(&mut self, flush: FlushCompress) -> io::Result<()> {
        loop {
            let (_, given, status) = self.step(&[], flush)?;
            if status == Status::StreamEnd || given < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

impl<W: Write> Write for GzWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        self.is_drained = false;
        loop {
            let (taken, ..) = self.step(bytes, FlushCompress::None)?;
            if taken > 0 {
                self.crc.update(&bytes[..taken]);
                return Ok(taken);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin()?;
        self.drain(FlushCompress::Sync)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use flate2::read::GzDecoder;

    proptest::proptest! {
        #[test]
        fn compressed_or_stored_the_bytes_come_back(
            pieces in proptest::collection::vec((proptest::bool::ANY, 0_usize..200_000, proptest::bool::ANY), 0..8)
        ) {
            let mut writer = GzWriter::new(Vec::new());
            let mut written = Vec::new();
            for (is_packed, length, random) in pieces {
                let piece: Vec<u8> = (0..length).map(|n| if random { rand::random() } else { n as u8 }).collect();
                if is_packed {
                    writer.store(&piece).unwrap();
                } else {
                    writer.write_all(&piece).unwrap();
                }
                written.extend(piece);
            }
            let mut read = Vec::new();
            GzDecoder::new(&writer.finish().unwrap()[..]).read_to_end(&mut read).unwrap();
            proptest::prop_assert!(read == written);
        }
    }

    #[test]
    fn stored_bytes_grow_by_their_frames_only() {
        let packed: Vec<u8> = (0..1_000_000).map(|_| rand::random()).collect();
        let mut writer = GzWriter::new(Vec::new());
        writer.store(&packed).unwrap();
        let size = writer.finish().unwrap().len();
        assert!(size < packed.len() + 1_000, "{size}");
    }
}
