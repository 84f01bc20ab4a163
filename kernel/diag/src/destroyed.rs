//! The kernel's last word on every socket: the destroy multicast (`SKNLGRP_INET_TCP_DESTROY`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::diag::open_socket;
use crate::message::{Messages, Said};
use crate::receive::{MOST, Slots};
use crate::{DiagError, Record};

/// Bit `n - 1` joins group `n`: 1 is TCP over IPv4, 3 over IPv6 (`include/uapi/linux/sock_diag.h`).
const TCP_DESTROY_GROUPS: u32 = 0b101;
const SLOT_BYTES: usize = 2048;
/// Datagrams that one [`Destroyed::drain`] takes at most, so that a flood cannot hold the caller.
const MOST_AT_ONCE: usize = 64 * 1024;

/// A subscription to the ends of all TCP sockets of a namespace.
pub struct Destroyed {
    socket: OwnedFd,
    slots: Slots,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "after an overrun, sockets may have ended unheard"]
pub struct Drained {
    /// Sockets shown.
    pub sockets: usize,
    /// The kernel dropped messages because the buffer was full (`ENOBUFS`).
    pub overrun: bool,
    /// Messages that could not be read.
    pub malformed: usize,
}

impl Destroyed {
    /// Subscribes in the network namespace of this thread. A message takes somewhat over 1 KB of `buffer_bytes`;
    /// without `CAP_NET_ADMIN` the kernel cuts the buffer to `net.core.rmem_max`.
    pub fn open(buffer_bytes: usize) -> Result<Self, DiagError> {
        let (socket, _) = open_socket(TCP_DESTROY_GROUPS, buffer_bytes)?;
        Ok(Self {
            socket,
            slots: Slots::new(MOST, SLOT_BYTES),
        })
    }

    /// Shows all sockets that ended since the last call to `visit`: state CLOSE, the attributes INFO and PROTOCOL and
    /// no others, counters zero after an abort. Does not wait.
    ///
    /// An overrun is part of the answer and no error: the messages behind the gap are shown.
    pub fn drain(&mut self, mut visit: impl FnMut(Record<'_>)) -> Result<Drained, DiagError> {
        let mut drained = Drained::default();
        let mut datagrams = 0;
        while datagrams < MOST_AT_ONCE {
            let received = match self.slots.receive(self.socket.as_fd()) {
                Ok(0) => break,
                Ok(received) => received,
                Err(error) if error.label() == "ENOBUFS" => {
                    drained.overrun = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            datagrams += received;
            for index in 0..received {
                for message in Messages(self.slots.datagram(index)) {
                    match message.and_then(|message| message.said()) {
                        Ok(Said::Socket(record)) => {
                            drained.sockets += 1;
                            visit(record);
                        }
                        Ok(_) => {}
                        Err(_) => drained.malformed += 1,
                    }
                }
            }
        }
        Ok(drained)
    }
}

impl AsFd for Destroyed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
