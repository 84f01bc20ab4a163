//! Asking: one dump of everything, or exact gets of what is known.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, getsockname, send, socket_with,
    sockopt,
};

use crate::DiagError;
use crate::message::{Messages, Said};
use crate::receive::Slots;
use crate::record::{Key, Record};
use crate::request::{append_get, write_dump};

/// Requests that [`Diag::get`] puts into one send.
pub const GET_BATCH: usize = 64;

/// The kernel never fills more than this into one datagram of a dump.
const DUMP_SLOT_BYTES: usize = 1 << 15;
/// One socket with all its attributes, thrice over.
const GET_SLOT_BYTES: usize = 2048;
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// An open socket to the kernel's `sock_diag`, kept for the life of the collector.
pub struct Diag {
    /// `None` after an error: old answers may wait in the socket, so a new one is opened.
    socket: Option<(OwnedFd, u32)>,
    sequence: u32,
    request: Vec<u8>,
    dump_slots: Slots,
    get_slots: Slots,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after an interrupted dump, absence proves nothing"]
pub struct Dumped {
    /// Sockets that the dump had.
    pub sockets: usize,
    /// The kernel says that sockets may be missing (`NLM_F_DUMP_INTR`).
    pub interrupted: bool,
}

/// The answer of the kernel about one socket.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// It is there.
    Here(Record<'a>),
    /// It is not (`ENOENT`, or `ESTALE`: the same ends, another cookie).
    Gone,
}

pub(crate) fn open_socket(groups: u32, buffer_bytes: usize) -> Result<(OwnedFd, u32), DiagError> {
    let open = || {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(SOCK_DIAG),
        )?;
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it as much as there is.
        if sockopt::set_socket_recv_buffer_size_force(&fd, buffer_bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, buffer_bytes)?;
        }
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        let port = SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        Ok((fd, port))
    };
    open().map_err(|errno: rustix::io::Errno| DiagError::Io {
        operation: "open",
        source: errno.into(),
    })
}

impl Diag {
    /// Opens a socket in the network namespace of this thread.
    ///
    /// Errors: `EAFNOSUPPORT` or `EPROTONOSUPPORT` where the kernel has no `sock_diag`.
    pub fn open() -> Result<Self, DiagError> {
        Ok(Self {
            socket: Some(open_socket(0, RECEIVE_BUFFER_BYTES)?),
            sequence: 0,
            request: Vec::with_capacity(GET_BATCH * crate::request::GET_BYTES),
            dump_slots: Slots::new(1, DUMP_SLOT_BYTES),
            get_slots: Slots::new(GET_BATCH, GET_SLOT_BYTES),
        })
    }

    /// Shows every TCP socket of both families to `visit`: connections only, no listeners, no TIME-WAIT.
    ///
    /// Sockets that were visited before an error are valid; others may exist.
    /// After an error, the next call opens a new socket, in the namespace of the calling thread.
    pub fn dump(&mut self, mut visit: impl FnMut(Record<'_>)) -> Result<Dumped, DiagError> {
        let (fd, port) = self.take()?;
        self.sequence = self.sequence.wrapping_add(1);
        write_dump(&mut self.request, self.sequence);
        send_all(&fd, &self.request)?;
        let mut dumped = Dumped {
            sockets: 0,
            interrupted: false,
        };
        loop {
            // The kernel puts the next part into the socket before it hands out this one, so nothing is ever waited for.
            if self.dump_slots.receive(fd.as_fd())? == 0 {
                return Err(DiagError::Unanswered(1));
            }
            let datagram = self.dump_slots.datagram(0);
            if scan_dump(datagram, self.sequence, port, &mut dumped, &mut visit)? {
                self.socket = Some((fd, port));
                return Ok(dumped);
            }
        }
    }

    /// Asks for each of these sockets and shows the answers to `visit` with the index of the key.
    ///
    /// Errors leave open which keys exist; as with [`Diag::dump`], what was shown is true.
    pub fn get(
        &mut self,
        keys: &[Key],
        mut visit: impl FnMut(usize, Answer<'_>),
    ) -> Result<(), DiagError> {
        for (batch, chunk) in keys.chunks(GET_BATCH).enumerate() {
            self.get_batch(chunk, &mut |index, answer| {
                visit(batch * GET_BATCH + index, answer);
            })?;
        }
        Ok(())
    }

    fn get_batch(
        &mut self,
        keys: &[Key],
        visit: &mut impl FnMut(usize, Answer<'_>),
    ) -> Result<(), DiagError> {
        let (fd, port) = self.take()?;
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(keys.len() as u32);
        self.request.clear();
        for (index, key) in keys.iter().enumerate() {
            append_get(&mut self.request, key, first.wrapping_add(index as u32));
        }
        send_all(&fd, &self.request)?;
        let mut open = keys.len();
        while open > 0 {
            let datagrams = self.get_slots.receive(fd.as_fd())?;
            if datagrams == 0 {
                return Err(DiagError::Unanswered(open));
            }
            for index in 0..datagrams {
                let datagram = self.get_slots.datagram(index);
                open = open.saturating_sub(scan_gets(datagram, first, keys.len(), port, visit)?);
            }
        }
        self.socket = Some((fd, port));
        Ok(())
    }

    /// The socket leaves its place until the answer is complete, so that every early return drops it.
    fn take(&mut self) -> Result<(OwnedFd, u32), DiagError> {
        match self.socket.take() {
            Some(socket) => Ok(socket),
            None => open_socket(0, RECEIVE_BUFFER_BYTES),
        }
    }
}

fn send_all(fd: &OwnedFd, request: &[u8]) -> Result<(), DiagError> {
    let failed = |source| DiagError::Io {
        operation: "send",
        source,
    };
    let sent = send(fd, request, SendFlags::empty()).map_err(|errno| failed(errno.into()))?;
    if sent == request.len() {
        Ok(())
    } else {
        Err(failed(std::io::ErrorKind::WriteZero.into()))
    }
}

/// Reads one datagram of a dump; `true` when it was the last.
fn scan_dump(
    datagram: &[u8],
    sequence: u32,
    port: u32,
    dumped: &mut Dumped,
    visit: &mut impl FnMut(Record<'_>),
) -> Result<bool, DiagError> {
    for message in Messages(datagram) {
        let message = message?;
        message.check_port(port)?;
        if message.sequence != sequence {
            return Err(DiagError::WrongSequence {
                found: message.sequence,
                expected: sequence,
            });
        }
        dumped.interrupted |= message.interrupted();
        match message.said()? {
            Said::Socket(record) => {
                dumped.sockets += 1;
                visit(record);
            }
            Said::Done(0) => return Ok(true),
            Said::Error(0) | Said::Nothing => {}
            Said::Done(number) | Said::Error(number) => return Err(refused(number)),
        }
    }
    Ok(false)
}

/// Reads one datagram of exact answers; returns how many requests it answers.
fn scan_gets(
    datagram: &[u8],
    first: u32,
    asked: usize,
    port: u32,
    visit: &mut impl FnMut(usize, Answer<'_>),
) -> Result<usize, DiagError> {
    let mut answered = 0;
    for message in Messages(datagram) {
        let message = message?;
        message.check_port(port)?;
        let index = message.sequence.wrapping_sub(first) as usize;
        if index >= asked {
            return Err(DiagError::WrongSequence {
                found: message.sequence,
                expected: first,
            });
        }
        match message.said()? {
            Said::Socket(record) => visit(index, Answer::Here(record)),
            Said::Error(libc::ENOENT | libc::ESTALE) => visit(index, Answer::Gone),
            Said::Error(0) | Said::Nothing | Said::Done(0) => continue,
            Said::Error(number) | Said::Done(number) => return Err(refused(number)),
        }
        answered += 1;
    }
    Ok(answered)
}

fn refused(number: i32) -> DiagError {
    DiagError::Refused(std::io::Error::from_raw_os_error(number))
}

#[cfg(test)]
mod tests;
