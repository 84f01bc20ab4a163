//! Files: written beside the spool while the connection lives, moved into it when complete.
//!
//! All folders are in `<experiment dir>/.tcpinfo/`, on the volume of the datatype and outside every datatype. Complete files
//! of rows are in `.unadmitted`, beside it.
//!
//! | folder | files |
//! |---|---|
//! | `open` | growing files of admitted connections, in a form that is cheap to write, at most a second behind the memory |
//! | `held` | growing and complete files of connections that are not admitted yet |
//! | `done` | complete files of admitted connections, on their way into the spool |
//! | `unadmitted` | files of connections that ended without admission; each becomes a row without address |
//! | `new` | where the finisher writes |
//! | `refused` | files that can never be published |
//!
//! A file moves by renaming only, so that at any instant it exists exactly once: a process that dies leaves nothing that
//! its next life would publish twice. Nothing is published from `held`, so a death publishes no connection that was not
//! admitted. `held` and `unadmitted` are for the user of the recorder alone.
//!
//! The folders are not in the spool's `.tmp/`: the next program to start removes abandoned files from there, and no
//! measurement may be lost here.

mod finish;
mod growing;
mod journal;
mod layout;
mod output;
mod undecided;
mod writer;

pub(crate) use finish::Finisher;
pub(crate) use finish::Lines;
pub(crate) use journal::Journal;
pub use journal::Totals;
pub(crate) use layout::{Layout, ROWS, create_private};
pub(crate) use writer::{Writer, WriterSetup};
