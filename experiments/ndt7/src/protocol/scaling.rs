//! How large the next binary message is.

use super::{FIRST_MESSAGE_BYTES, LARGEST_SENT_BYTES};

/// Message sizes that double once a message is at most a sixteenth of everything sent, so that a slow path never waits
/// long for one message and a fast one is not held back by headers.
#[derive(Debug)]
pub(crate) struct Scaling {
    size_bytes: usize,
    total_bytes: u64,
}

impl Scaling {
    pub(crate) fn new() -> Self {
        Self {
            size_bytes: FIRST_MESSAGE_BYTES,
            total_bytes: 0,
        }
    }

    /// Payload bytes of the next message.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Notes that the message was sent, and chooses the size of the one after it. Returns the payload bytes sent.
    pub(crate) fn sent(&mut self) -> usize {
        let sent = self.size_bytes;
        self.total_bytes += sent as u64;
        if sent < LARGEST_SENT_BYTES && sent as u64 <= self.total_bytes / 16 {
            self.size_bytes = sent * 2;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_after_16_messages_and_then_after_every_8_up_to_1_mib() {
        let mut scaling = Scaling::new();
        let sizes: Vec<usize> = (0..100).map(|_| scaling.sent()).collect();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for size in sizes {
            match runs.last_mut() {
                Some((last, count)) if *last == size => *count += 1,
                _ => runs.push((size, 1)),
            }
        }
        assert_eq!(runs[0], (1 << 13, 16));
        for (doubling, run) in runs[1..7].iter().enumerate() {
            assert_eq!(*run, (1 << (14 + doubling), 8));
        }
        assert_eq!(runs[7].0, 1 << 20);
        assert_eq!(runs.len(), 8);
    }
}
