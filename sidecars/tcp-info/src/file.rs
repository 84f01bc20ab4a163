//! Files: written beside the spool while the connection lives, moved into it when complete.
//!
//! `<experiment dir>/.tcpinfo/open/` holds files that grow, in a form that is cheap to write, at most a second behind
//! the memory; `.tcpinfo/done/` those that are complete but not yet lines in one frame, durable and published. Both are on the file
//! system of the spool and outside every datatype. A file moves by renaming only, so that at any instant it exists
//! exactly once: a process that dies leaves nothing that its next life would publish twice.
//!
//! It is not the spool's `.tmp/`: what is left there counts as abandoned and is removed by whoever starts next, and
//! here nothing that was measured may be thrown away.

mod finish;
mod growing;
mod journal;
mod layout;
mod output;
mod writer;

pub(crate) use finish::Finisher;
pub(crate) use journal::Journal;
pub use journal::Totals;
pub(crate) use layout::Layout;
pub(crate) use writer::{Writer, WriterSetup};
