//! WebSocket frames (RFC 6455, section 5): headers out, events in. Without input and output, and without copying load.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoder, Event, Violation};
pub(crate) use encode::{LONGEST_HEADER_BYTES, encode, header};

/// Longest payload of a control frame (RFC 6455, section 5.5).
pub(crate) const LONGEST_CONTROL_BYTES: usize = 125;

/// In place of a length of one byte: one of two bytes follows (RFC 6455, section 5.2).
const TWO_BYTE_LENGTH: u8 = 0x7E;
/// In place of a length of one byte: one of eight bytes follows (RFC 6455, section 5.2).
const EIGHT_BYTE_LENGTH: u8 = 0x7F;

/// Status codes of a close frame (RFC 6455, section 7.4.1).
pub(crate) mod close {
    /// The purpose of the connection is fulfilled.
    pub(crate) const NORMAL: u16 = 1000;
    /// The peer broke the protocol.
    pub(crate) const PROTOCOL_ERROR: u16 = 1002;
    /// The peer's close frame had no code; never sent.
    pub(crate) const NO_STATUS: u16 = 1005;
    /// Text that is not UTF-8 where it must be.
    pub(crate) const INVALID_PAYLOAD: u16 = 1007;
    /// A message longer than we accept.
    pub(crate) const TOO_BIG: u16 = 1009;
}

/// The opcode of a frame (RFC 6455, section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// XORs `payload` with the mask, whose next byte is `phase` modulo 4 (RFC 6455, section 5.3).
fn apply_mask(payload: &mut [u8], mask: [u8; 4], phase: usize) {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[(phase + index) % 4];
    }
}
