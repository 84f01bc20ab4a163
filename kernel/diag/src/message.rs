//! Netlink messages in a datagram, and everything that can be wrong with them.

use std::io;

use crate::Record;
use crate::request::HEADER_BYTES;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const DUMP_INTERRUPTED: u16 = 0x10;

/// Why the kernel's answer says nothing about which sockets exist.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// A system call failed; `ENOBUFS` means that messages were lost.
    #[error("{operation} on the netlink socket: {source}")]
    Io {
        /// `open`, `send` or `receive`.
        operation: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The kernel refused the request (`NLMSG_ERROR`, or an error in `NLMSG_DONE`).
    #[error("the kernel refused: {0}")]
    Refused(io::Error),
    /// A datagram was longer than the buffer (`MSG_TRUNC`).
    #[error("a netlink datagram was cut off")]
    Truncated,
    /// A length within a message is impossible.
    #[error("a netlink message is malformed")]
    Malformed,
    /// The answer is to a request that we did not make.
    #[error("netlink answer with sequence number {found} instead of {expected}")]
    WrongSequence {
        /// The number in the message.
        found: u32,
        /// The number that we sent.
        expected: u32,
    },
    /// The answer is for another socket.
    #[error("netlink answer for port {found} instead of {expected}")]
    WrongPort {
        /// The number in the message.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The kernel answered some requests and not others.
    #[error("{0} netlink requests got no answer")]
    Unanswered(usize),
}

impl DiagError {
    /// Every value of [`DiagError::label`].
    pub const LABELS: [&str; 8] = [
        "ENOBUFS",
        "system call",
        "NLMSG_ERROR",
        "truncated",
        "malformed",
        "wrong seq num",
        "wrong pid",
        "unanswered",
    ];

    /// A short name for metrics, where M-Lab has one the same.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENOBUFS) => "ENOBUFS",
            Self::Io { .. } => "system call",
            Self::Refused(_) => "NLMSG_ERROR",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::WrongSequence { .. } => "wrong seq num",
            Self::WrongPort { .. } => "wrong pid",
            Self::Unanswered(_) => "unanswered",
        }
    }
}

/// One netlink message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    kind: u16,
    flags: u16,
    pub(crate) sequence: u32,
    port: u32,
    body: &'a [u8],
}

/// The meaning of a message.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    Socket(Record<'a>),
    /// `NLMSG_ERROR` with its number, positive; 0 is an acknowledgement.
    Error(i32),
    /// The dump is over; a number other than 0 is an error in it.
    Done(i32),
    Nothing,
}

/// The messages of one datagram, one after another.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DiagError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = cut(self.0);
        self.0 = match &message {
            Some((_, rest)) => rest,
            None => &[],
        };
        Some(
            message
                .map(|(message, _)| message)
                .ok_or(DiagError::Malformed),
        )
    }
}

fn cut(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    let u16_at = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let u32_at =
        |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = u32_at(0) as usize;
    let message = Message {
        kind: u16_at(4),
        flags: u16_at(6),
        sequence: u32_at(8),
        port: u32_at(12),
        body: bytes.get(HEADER_BYTES..length)?,
    };
    Some((
        message,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

impl<'a> Message<'a> {
    /// Whether sockets changed during the dump, so that some may be missing.
    pub(crate) fn interrupted(&self) -> bool {
        self.flags & DUMP_INTERRUPTED != 0
    }

    pub(crate) fn check_port(&self, expected: u32) -> Result<(), DiagError> {
        if self.port == expected {
            Ok(())
        } else {
            Err(DiagError::WrongPort {
                found: self.port,
                expected,
            })
        }
    }

    pub(crate) fn said(&self) -> Result<Said<'a>, DiagError> {
        match self.kind {
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => Record::parse(self.body)
                .map(Said::Socket)
                .ok_or(DiagError::Malformed),
            NLMSG_ERROR => Ok(Said::Error(self.number().ok_or(DiagError::Malformed)?)),
            NLMSG_DONE => Ok(Said::Done(self.number().unwrap_or(0))),
            NLMSG_NOOP => Ok(Said::Nothing),
            _ => Err(DiagError::Malformed),
        }
    }

    /// The error number at the front of the body, which the kernel writes negative.
    fn number(&self) -> Option<i32> {
        let number = i32::from_ne_bytes(*self.body.first_chunk()?);
        Some(number.saturating_neg())
    }
}
