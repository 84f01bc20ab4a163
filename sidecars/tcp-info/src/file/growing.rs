//! The form of files while they grow, made for writing a little of ten thousand of them every second.
//!
//! Eight bytes that name the form, then blocks: length, sum, content. A block is a number of items; a snapshot is written
//! as its difference from the previous one in the file, which costs a comparison instead of a compressor. A process or a
//! machine that dies leaves half a block; the file is valid up to there. Only this program reads it: a complete file
//! is turned into lines ([`next_line`](Reader::next_line)) and one zstd frame.

use std::io::{self, Read};

use groma_diag::Record;
use jiff::Timestamp;

use crate::record::{LineTime, write_record};

/// The first bytes of a growing file.
pub(crate) const MAGIC: [u8; 8] = *b"groma/t1";
/// Length and sum in front of a block.
const HEAD_BYTES: usize = 8;
/// A block is flushed long before; what claims to be longer is none.
const MOST_BLOCK_BYTES: usize = 1 << 20;

/// A line, unchanged.
const LINE: u8 = 0;
/// A snapshot, all bytes of it.
const FULL: u8 = 1;
/// A snapshot as runs of bytes that differ from the one before.
const DELTA: u8 = 2;
/// Kind, seconds, nanoseconds, length of the snapshot, length of what is written of it.
const RECORD_HEAD_BYTES: usize = 1 + 8 + 4 + 2 + 2;
/// Differences are looked for in steps of this: the kernel's numbers have 4 or 8 bytes.
const STEP: usize = 8;

/// The items of a file that are not yet written.
#[derive(Default)]
pub(crate) struct Items {
    bytes: Vec<u8>,
    last: Vec<u8>,
}

impl Items {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.last.capacity()
    }

    /// They are written.
    pub(crate) fn written(&mut self) {
        self.bytes.clear();
    }

    /// Another file begins.
    pub(crate) fn restart(&mut self) {
        self.bytes.clear();
        self.last.clear();
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, line: &[u8]) {
        self.bytes.push(LINE);
        self.bytes
            .extend_from_slice(&(line.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(line);
    }

    /// Adds the body of a message of the kernel.
    pub(crate) fn record(&mut self, time: Timestamp, body: &[u8]) {
        let is_delta = self.last.len() == body.len();
        let begin = self.bytes.len();
        self.bytes.push(if is_delta { DELTA } else { FULL });
        self.bytes
            .extend_from_slice(&time.as_second().to_le_bytes());
        self.bytes
            .extend_from_slice(&time.subsec_nanosecond().to_le_bytes());
        self.bytes
            .extend_from_slice(&(body.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&[0; 2]);
        if is_delta {
            push_runs(&mut self.bytes, &self.last, body);
        } else {
            self.bytes.extend_from_slice(body);
        }
        let written = (self.bytes.len() - begin - RECORD_HEAD_BYTES) as u16;
        self.bytes[begin + RECORD_HEAD_BYTES - 2..begin + RECORD_HEAD_BYTES]
            .copy_from_slice(&written.to_le_bytes());
        self.last.clear();
        self.last.extend_from_slice(body);
    }

    /// Appends them to `frame` as one block.
    pub(crate) fn write_block(&self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(&sum(&self.bytes).to_le_bytes());
        frame.extend_from_slice(&self.bytes);
    }

    /// Appends them to `text` as lines; to be called on the items of a whole file.
    pub(crate) fn write_lines(&self, text: &mut Vec<u8>) {
        let mut decoder = Decoder::default();
        let mut rest = &self.bytes[..];
        while decoder.write_next(&mut rest, text).is_some() {}
    }
}

/// Runs of bytes of `new` that differ from `old`, which is as long: how many to skip, how many follow, the bytes.
fn push_runs(out: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let (mut at, mut written) = (0, 0);
    // Whole steps as numbers: a call of memcmp for each would cost more than all else here.
    let differs = |at: usize| {
        let step = |bytes: &[u8]| {
            bytes[at..]
                .first_chunk::<STEP>()
                .map(|step| u64::from_ne_bytes(*step))
        };
        match (step(old), step(new)) {
            (Some(old), Some(new)) => old != new,
            _ => old[at..] != new[at..],
        }
    };
    while at < new.len() {
        if !differs(at) {
            at += STEP;
            continue;
        }
        let begin = at;
        while at < new.len() && differs(at) {
            at += STEP;
        }
        let end = at.min(new.len());
        out.extend_from_slice(&((begin - written) as u16).to_le_bytes());
        out.extend_from_slice(&((end - begin) as u16).to_le_bytes());
        out.extend_from_slice(&new[begin..end]);
        written = end;
    }
}

/// Distinguishes a complete block from half a block. It need not resist forgery, because only this program writes the file.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^= sum >> 32;
    }
    sum as u32
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_bytes<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

/// Items, one after another, of one file.
#[derive(Default)]
struct Decoder {
    last: Vec<u8>,
    time: LineTime,
}

impl Decoder {
    /// Takes the next item from `rest` and appends its line to `text`; its kind, `None` at the end and at what is
    /// no item.
    fn write_next(&mut self, rest: &mut &[u8], text: &mut Vec<u8>) -> Option<u8> {
        let [kind] = take(rest)?;
        if kind == LINE {
            let length = u32::from_le_bytes(take(rest)?) as usize;
            text.extend_from_slice(take_bytes(rest, length)?);
            return Some(kind);
        }
        let (second, nanosecond) = (
            i64::from_le_bytes(take(rest)?),
            i32::from_le_bytes(take(rest)?),
        );
        let length = u16::from_le_bytes(take(rest)?) as usize;
        let written = u16::from_le_bytes(take(rest)?) as usize;
        let mut content = take_bytes(rest, written)?;
        match kind {
            FULL => {
                self.last.clear();
                self.last.extend_from_slice(content);
            }
            DELTA if self.last.len() == length => self.apply_runs(&mut content)?,
            _ => return None,
        }
        self.time.set(Timestamp::new(second, nanosecond).ok()?);
        write_record(text, &self.time, Record::parse(&self.last)?);
        Some(kind)
    }

    fn apply_runs(&mut self, content: &mut &[u8]) -> Option<()> {
        let mut at = 0;
        while !content.is_empty() {
            at += u16::from_le_bytes(take(content)?) as usize;
            let count = u16::from_le_bytes(take(content)?) as usize;
            let run = take_bytes(content, count)?;
            self.last.get_mut(at..at + count)?.copy_from_slice(run);
            at += count;
        }
        Some(())
    }
}

/// The lines of a growing file whose end may be damaged.
pub(crate) struct Reader<R> {
    file: R,
    block: Vec<u8>,
    used: usize,
    decoder: Decoder,
    line: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader of what follows [`MAGIC`].
    pub(crate) fn new(file: R) -> Self {
        Self {
            file,
            block: Vec::new(),
            used: 0,
            decoder: Decoder::default(),
            line: Vec::new(),
        }
    }

    /// The next line with its line feed, and whether it is a snapshot; `None` at the end and at damage.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<(bool, &[u8])>> {
        while self.used == self.block.len() {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let mut rest = &self.block[self.used..];
        self.line.clear();
        let item = self.decoder.write_next(&mut rest, &mut self.line);
        self.used = self.block.len() - rest.len();
        Ok(item.map(|kind| (kind != LINE, &self.line[..])))
    }

    fn next_block(&mut self) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES];
        if !read_whole(&mut self.file, &mut head)? {
            return Ok(false);
        }
        let [l0, l1, l2, l3, s0, s1, s2, s3] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length == 0 || length > MOST_BLOCK_BYTES {
            return Ok(false);
        }
        self.used = 0;
        self.block.resize(length, 0);
        let whole = read_whole(&mut self.file, &mut self.block)?
            && sum(&self.block) == u32::from_le_bytes([s0, s1, s2, s3]);
        if !whole {
            self.block.clear();
        }
        Ok(whole)
    }
}

/// Whether there was enough to fill the buffer.
pub(crate) fn read_whole(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groma_diag::MESSAGE_BYTES;
    use proptest::prelude::*;

    fn time(number: usize) -> Timestamp {
        Timestamp::new(1_800_000_000 + number as i64, number as i32).unwrap()
    }

    /// The expected lines of these bodies.
    fn expected(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut text = b"header\n".to_vec();
        for (number, body) in bodies.iter().enumerate() {
            let mut at = LineTime::default();
            at.set(time(number));
            write_record(&mut text, &at, Record::parse(body).unwrap());
        }
        text
    }

    /// A body with one attribute of `length` bytes, multiple of four.
    fn body(message: &[u8], attribute: &[u8]) -> Vec<u8> {
        let mut body = message.to_vec();
        body.extend_from_slice(&(4 + attribute.len() as u16).to_ne_bytes());
        body.extend_from_slice(&2_u16.to_ne_bytes());
        body.extend_from_slice(attribute);
        body
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let one = (
            prop::collection::vec(0..3_u8, MESSAGE_BYTES),
            prop::sample::select(vec![0, 20, 232, 280]),
            any::<u64>(),
        );
        prop::collection::vec(one, 0..20).prop_map(|all| {
            all.into_iter()
                .map(|(message, length, seed)| {
                    let attribute: Vec<u8> = (0..length)
                        .map(|at| (seed >> (at % 61)) as u8 & 1)
                        .collect();
                    body(&message, &attribute)
                })
                .collect()
        })
    }

    fn read(file: &[u8]) -> Vec<u8> {
        let mut reader = Reader::new(file);
        let mut text = Vec::new();
        while let Some((_, line)) = reader.next_line().unwrap() {
            text.extend_from_slice(line);
        }
        text
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_in_blocks_and_in_one_piece(bodies in bodies(), every in 1..7_usize) {
            let (mut blocks, mut whole) = (Items::default(), Items::default());
            let mut file = Vec::new();
            for items in [&mut blocks, &mut whole] {
                items.restart();
                items.line(b"header\n");
            }
            for (number, body) in bodies.iter().enumerate() {
                blocks.record(time(number), body);
                whole.record(time(number), body);
                if number % every == 0 {
                    blocks.write_block(&mut file);
                    blocks.written();
                }
            }
            if blocks.len() > 0 {
                blocks.write_block(&mut file);
            }
            let mut text = Vec::new();
            whole.write_lines(&mut text);
            prop_assert_eq!(&text, &expected(&bodies));
            prop_assert_eq!(&read(&file), &text);
            // Whatever is cut off or damaged, what is read is a beginning of it.
            for cut in (0..file.len()).step_by(97) {
                prop_assert!(text.starts_with(&read(&file[..cut])));
                let mut damaged = file.clone();
                damaged[cut] ^= 0x10;
                prop_assert!(text.starts_with(&read(&damaged)));
            }
        }
    }

    #[test]
    fn a_small_change_takes_little_room() {
        let mut items = Items::default();
        let mut body = body(&[0; MESSAGE_BYTES], &[0; 280]);
        items.record(time(0), &body);
        let before = items.len();
        body[200] = 1;
        items.record(time(1), &body);
        assert_eq!(items.len() - before, RECORD_HEAD_BYTES + 4 + STEP);
    }
}
