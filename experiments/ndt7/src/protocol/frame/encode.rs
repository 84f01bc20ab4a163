//! Frames out.

use super::{EIGHT_BYTE_LENGTH, Opcode, TWO_BYTE_LENGTH, apply_mask};

/// Bytes of the longest header: two, an eight-byte length and a mask.
pub(crate) const LONGEST_HEADER_BYTES: usize = 14;

/// A frame header with its length.
pub(crate) struct Header {
    bytes: [u8; LONGEST_HEADER_BYTES],
    length: usize,
}

impl Header {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// The header of an unfragmented frame; the length is written in as few bytes as it needs.
pub(crate) fn header(opcode: Opcode, payload_bytes: usize, mask: Option<[u8; 4]>) -> Header {
    let mut header = Header {
        bytes: [0; LONGEST_HEADER_BYTES],
        length: 0,
    };
    let masked = u8::from(mask.is_some()) << 7;
    header.push(&[0x80 | opcode.bits()]);
    match payload_bytes {
        0..=125 => header.push(&[masked | payload_bytes as u8]),
        126..=0xFFFF => {
            header.push(&[masked | TWO_BYTE_LENGTH]);
            header.push(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            header.push(&[masked | EIGHT_BYTE_LENGTH]);
            header.push(&(payload_bytes as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        header.push(&mask);
    }
    header
}

/// Appends a whole unfragmented frame to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    out.extend_from_slice(header(opcode, payload.len(), mask).as_slice());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut out[start..], mask, 0);
    }
}
