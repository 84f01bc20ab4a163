//! Binary messages ready to be written: the bulk path copies nothing in user space.

use std::sync::{Arc, OnceLock};

use rand::Rng;

use super::frame::{LONGEST_HEADER_BYTES, Opcode, header};
use super::scaling::Scaling;
use super::{FIRST_MESSAGE_BYTES, LARGEST_SENT_BYTES};

/// A source of load: one frame after another, each as one slice that a single write can take.
pub(crate) trait Load: Send {
    /// The next frame, header included. Asked again before [`Load::sent`], it is of the same size.
    fn frame(&mut self) -> &[u8];
    /// Notes that the frame was written and returns the bytes of its payload.
    fn sent(&mut self) -> usize;
}

/// Every frame that a server may send, made once and shared by all its connections.
pub(crate) struct Prepared {
    frames: Vec<Box<[u8]>>,
}

impl Prepared {
    pub(crate) fn new() -> Self {
        let payload = random_payload();
        let doublings = (LARGEST_SENT_BYTES / FIRST_MESSAGE_BYTES).ilog2();
        let frames = (0..=doublings)
            .map(|doubling| {
                let size_bytes = FIRST_MESSAGE_BYTES << doubling;
                let header = header(Opcode::Binary, size_bytes, None);
                [header.as_slice(), &payload[..size_bytes]].concat().into()
            })
            .collect();
        Self { frames }
    }

    fn of_size(&self, size_bytes: usize) -> &[u8] {
        &self.frames[(size_bytes / FIRST_MESSAGE_BYTES).ilog2() as usize]
    }
}

/// The load of a server.
pub(crate) struct ServerLoad {
    prepared: Arc<Prepared>,
    scaling: Scaling,
}

impl ServerLoad {
    pub(crate) fn new(prepared: Arc<Prepared>) -> Self {
        Self {
            prepared,
            scaling: Scaling::new(),
        }
    }
}

impl Load for ServerLoad {
    fn frame(&mut self) -> &[u8] {
        self.prepared.of_size(self.scaling.size_bytes())
    }

    fn sent(&mut self) -> usize {
        self.scaling.sent()
    }
}

/// The load of a client: each frame has a mask of its own, but the payload is not rewritten for it. Random bytes are
/// as random under any mask, and no peer can choose them.
pub(crate) struct ClientLoad {
    /// Room for the longest header, then the payload. The header is written to end where the payload begins.
    buffer: Vec<u8>,
    scaling: Scaling,
}

impl ClientLoad {
    pub(crate) fn new() -> Self {
        let mut buffer = vec![0; LONGEST_HEADER_BYTES];
        buffer.extend_from_slice(client_payload());
        Self {
            buffer,
            scaling: Scaling::new(),
        }
    }
}

impl Load for ClientLoad {
    fn frame(&mut self) -> &[u8] {
        let size_bytes = self.scaling.size_bytes();
        let header = header(Opcode::Binary, size_bytes, Some(rand::random()));
        let start = LONGEST_HEADER_BYTES - header.as_slice().len();
        self.buffer[start..LONGEST_HEADER_BYTES].copy_from_slice(header.as_slice());
        &self.buffer[start..LONGEST_HEADER_BYTES + size_bytes]
    }

    fn sent(&mut self) -> usize {
        self.scaling.sent()
    }
}

/// Returns the payload of all uploads of this process. Call it before the first test starts: generating random bytes takes time.
pub(crate) fn client_payload() -> &'static [u8] {
    static PAYLOAD: OnceLock<Vec<u8>> = OnceLock::new();
    PAYLOAD.get_or_init(random_payload)
}

fn random_payload() -> Vec<u8> {
    let mut payload = vec![0; LARGEST_SENT_BYTES];
    rand::rng().fill_bytes(&mut payload);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{Decoder, Event};

    /// Every frame up to the largest size is one whole binary message of the size that scaling says.
    fn check(load: &mut impl Load, masked: bool) {
        let mut decoder = Decoder::new(masked);
        let mut largest = 0;
        for _ in 0..80 {
            let frame = load.frame().to_vec();
            let mut rest = frame.as_slice();
            let event = decoder.next(&mut rest).unwrap();
            let sent = load.sent();
            assert_eq!(event, Some(Event::Binary(sent)));
            assert!(rest.is_empty());
            largest = largest.max(sent);
        }
        assert_eq!(largest, LARGEST_SENT_BYTES);
    }

    #[test]
    fn frames_are_whole_messages() {
        check(&mut ServerLoad::new(Arc::new(Prepared::new())), false);
        check(&mut ClientLoad::new(), true);
    }

    #[test]
    fn every_client_frame_has_its_own_mask() {
        let mut load = ClientLoad::new();
        let masks: Vec<[u8; 4]> = (0..4)
            .map(|_| load.frame()[4..8].try_into().unwrap())
            .collect();
        assert!(masks.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
