//! Frames in.

use super::{
    EIGHT_BYTE_LENGTH, LONGEST_CONTROL_BYTES, LONGEST_HEADER_BYTES, Opcode, TWO_BYTE_LENGTH,
    apply_mask, close,
};
use crate::protocol::LARGEST_RECEIVED_BYTES;

/// Longest text message that is passed on. Longer ones are legal, but are not kept in memory.
const LONGEST_TEXT_BYTES: u64 = 1 << 16;

/// An event in the bytes of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// This many bytes of load arrived, whatever their messages.
    Binary(usize),
    /// A whole text message, not yet known to be UTF-8.
    Text(Vec<u8>),
    /// The end of a text message too long to keep.
    LongText,
    /// A ping with its payload, to be answered.
    Ping(Vec<u8>),
    /// A pong, whatever it holds.
    Pong,
    /// The last frame of the peer and its code, 1005 when it has none.
    Close(u16),
}

/// How the peer broke the protocol; nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("reserved bits or an unknown opcode")]
    Reserved,
    #[error("a frame with the wrong masking")]
    Masking,
    #[error("a control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("fragments out of order")]
    Fragments,
    #[error("a malformed close frame")]
    Close,
    #[error("a close reason that is not UTF-8")]
    Reason,
    #[error("a message longer than {LARGEST_RECEIVED_BYTES} bytes")]
    TooBig,
}

impl Violation {
    /// The close code that informs the peer.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::TooBig => close::TOO_BIG,
            Self::Reason => close::INVALID_PAYLOAD,
            _ => close::PROTOCOL_ERROR,
        }
    }
}

/// Takes frames apart, however the bytes are cut. Load is counted and skipped without unmasking; text and control
/// payloads are collected.
#[derive(Debug)]
pub(crate) struct Decoder {
    masked: bool,
    header: [u8; LONGEST_HEADER_BYTES],
    header_bytes: usize,
    frame: Option<Frame>,
    message: Option<Message>,
    text: Vec<u8>,
    control: Vec<u8>,
}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    length: u64,
    remaining: u64,
    mask: [u8; 4],
}

/// The data message that has begun and not ended.
#[derive(Clone, Copy, Debug)]
struct Message {
    binary: bool,
    length: u64,
}

impl Decoder {
    /// A decoder of frames that must all be masked (those of clients) or must not (those of servers).
    pub(crate) fn new(masked: bool) -> Self {
        Self {
            masked,
            header: [0; LONGEST_HEADER_BYTES],
            header_bytes: 0,
            frame: None,
            message: None,
            text: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Takes bytes off the front of `input` up to the end of one event; `None` when all are taken.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                if !self.take_header(input) {
                    return Ok(None);
                }
                let frame = self.parse_header()?;
                self.begin(&frame)?;
                self.frame = Some(frame);
                continue;
            };
            if frame.remaining > 0 && input.is_empty() {
                self.frame = Some(frame);
                return Ok(None);
            }
            let available = frame.remaining.min(input.len() as u64) as usize;
            let (chunk, rest) = input.split_at(available);
            *input = rest;
            self.collect(&frame, chunk);
            frame.remaining -= available as u64;
            let event = if frame.remaining > 0 {
                self.frame = Some(frame);
                self.is_binary(frame.opcode)
                    .then_some(Event::Binary(available))
            } else {
                self.end(&frame, available)?
            };
            if let Some(event) = event
                && event != Event::Binary(0)
            {
                return Ok(Some(event));
            }
        }
    }

    /// Bytes of load that come next whatever they are, so that they need not be shown to [`Decoder::next`]. The last
    /// byte of a frame is not among them: what happens at its end is decided in one place.
    pub(crate) fn load_ahead(&self) -> u64 {
        self.frame
            .filter(|frame| self.is_binary(frame.opcode))
            .map_or(0, |frame| frame.remaining.saturating_sub(1))
    }

    /// Records that this many bytes of [`Decoder::load_ahead`] came and went.
    pub(crate) fn skip(&mut self, bytes: usize) {
        if let Some(frame) = &mut self.frame {
            frame.remaining -= bytes as u64;
        }
    }

    /// Bytes of memory that the payloads being collected take.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.text.capacity() + self.control.capacity()
    }

    fn is_binary(&self, opcode: Opcode) -> bool {
        !opcode.is_control() && self.message.is_some_and(|message| message.binary)
    }

    /// Collects header bytes; false when `input` ends before the header does.
    fn take_header(&mut self, input: &mut &[u8]) -> bool {
        loop {
            let missing = self.header_length() - self.header_bytes;
            if missing == 0 {
                return true;
            }
            let available = missing.min(input.len());
            if available == 0 {
                return false;
            }
            let (chunk, rest) = input.split_at(available);
            self.header[self.header_bytes..self.header_bytes + available].copy_from_slice(chunk);
            self.header_bytes += available;
            *input = rest;
        }
    }

    /// Bytes of the header, as its first two bytes show.
    fn header_length(&self) -> usize {
        if self.header_bytes < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7F {
            TWO_BYTE_LENGTH => 2,
            EIGHT_BYTE_LENGTH => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn parse_header(&mut self) -> Result<Frame, Violation> {
        let header = &self.header[..self.header_bytes];
        self.header_bytes = 0;
        if header[0] & 0x70 != 0 {
            return Err(Violation::Reserved);
        }
        let opcode = Opcode::from_bits(header[0] & 0x0F).ok_or(Violation::Reserved)?;
        if (header[1] & 0x80 != 0) != self.masked {
            return Err(Violation::Masking);
        }
        let (short, extended) = (header[1] & 0x7F, &header[2..]);
        let (length, mask) = match short {
            TWO_BYTE_LENGTH => (be_number(&extended[..2]), &extended[2..]),
            EIGHT_BYTE_LENGTH => (be_number(&extended[..8]), &extended[8..]),
            _ => (u64::from(short), extended),
        };
        Ok(Frame {
            opcode,
            last: header[0] & 0x80 != 0,
            length,
            remaining: length,
            mask: mask.try_into().unwrap_or_default(),
        })
    }

    /// Checks a frame against the message that it belongs to.
    fn begin(&mut self, frame: &Frame) -> Result<(), Violation> {
        if frame.opcode.is_control() {
            let fits = frame.last && frame.length <= LONGEST_CONTROL_BYTES as u64;
            return if fits {
                Ok(())
            } else {
                Err(Violation::Control)
            };
        }
        let before = match (frame.opcode, self.message) {
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Continuation, None) | (_, Some(_)) => return Err(Violation::Fragments),
            (opcode, None) => Message {
                binary: opcode == Opcode::Binary,
                length: 0,
            },
        };
        let length = before.length.saturating_add(frame.length);
        if length > LARGEST_RECEIVED_BYTES {
            return Err(Violation::TooBig);
        }
        self.message = Some(Message { length, ..before });
        Ok(())
    }

    /// Keeps the part of a payload that the application reads.
    fn collect(&mut self, frame: &Frame, chunk: &[u8]) {
        let phase = (frame.length - frame.remaining) as usize;
        let kept = if frame.opcode.is_control() {
            &mut self.control
        } else if self
            .message
            .is_some_and(|message| !message.binary && message.length <= LONGEST_TEXT_BYTES)
        {
            &mut self.text
        } else {
            return;
        };
        let start = kept.len();
        kept.extend_from_slice(chunk);
        if self.masked {
            apply_mask(&mut kept[start..], frame.mask, phase);
        }
    }

    /// The event at the end of a frame, whose last `available` bytes just came.
    fn end(&mut self, frame: &Frame, available: usize) -> Result<Option<Event>, Violation> {
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut self.control);
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Event::Ping(payload),
                Opcode::Pong => Event::Pong,
                _ => Event::Close(close_code(&payload)?),
            }));
        }
        let Some(message) = self.message else {
            return Ok(None);
        };
        if frame.last {
            self.message = None;
        }
        Ok(if message.binary {
            Some(Event::Binary(available))
        } else if !frame.last {
            None
        } else {
            let text = std::mem::take(&mut self.text);
            Some(if message.length <= LONGEST_TEXT_BYTES {
                Event::Text(text)
            } else {
                Event::LongText
            })
        })
    }
}

fn be_number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The code of a close frame (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(close::NO_STATUS),
        [_] => return Err(Violation::Close),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Close);
    }
    std::str::from_utf8(reason)
        .map(|_| code)
        .map_err(|_| Violation::Reason)
}
