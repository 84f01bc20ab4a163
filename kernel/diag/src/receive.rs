//! Receiving datagrams, many in one system call.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::DiagError;

/// Most datagrams that one call takes.
pub(crate) const MOST: usize = 64;

/// A block of memory cut into equal slots, one per datagram.
pub(crate) struct Slots {
    memory: Box<[u8]>,
    slot_bytes: usize,
    lengths: [usize; MOST],
}

impl Slots {
    /// `count` slots, at most [`MOST`].
    pub(crate) fn new(count: usize, slot_bytes: usize) -> Self {
        Self {
            memory: vec![0; count.min(MOST) * slot_bytes].into_boxed_slice(),
            slot_bytes,
            lengths: [0; MOST],
        }
    }

    /// Datagram `index` of the last call.
    pub(crate) fn datagram(&self, index: usize) -> &[u8] {
        let start = index * self.slot_bytes;
        &self.memory[start..start + self.lengths[index]]
    }

    /// Takes what waits, without waiting; returns how many datagrams came, 0 when none waits.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> Result<usize, DiagError> {
        // SAFETY: all-zero bytes are valid values of these plain C structures (null pointers, zero lengths).
        let mut vectors: [libc::iovec; MOST] = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (slot, (vector, header)) in self
            .memory
            .chunks_exact_mut(self.slot_bytes)
            .zip(vectors.iter_mut().zip(&mut headers))
        {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` headers each point to one vector, and each vector to a slot of its own in
        // `memory`; all of them outlive the call, and nothing else touches `memory` while it is borrowed mutably.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            let source = io::Error::last_os_error();
            return match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(DiagError::Io {
                    operation: "receive",
                    source,
                }),
            };
        }
        let received = received as usize;
        for (header, length) in headers[..received].iter().zip(&mut self.lengths) {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                return Err(DiagError::Truncated);
            }
            *length = header.msg_len as usize;
        }
        Ok(received)
    }
}
