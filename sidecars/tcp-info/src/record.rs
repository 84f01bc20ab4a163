//! The lines of a tcpinfo file: written from the kernel's bytes, read back into them.
//!
//! A file is a header line, one line per snapshot, and a last line of ours that repeats the header and says how the
//! file ended and how often the kernel was asked. Readers of M-Lab's format take that line for another header, which
//! has no snapshot in it.

mod anonymize;
mod polls;
mod read;
mod write;

pub use anonymize::Anonymize;
pub use polls::Polls;
pub use read::{ArchivalRecord, End, Line, Metadata, ReadError};
pub(crate) use write::{LineTime, write_end, write_header, write_record};
pub use write::{encode_line, encode_record};
