//! Carries the files of one experiment from the spool into the archive.
//!
//! Invariants:
//!
//! - Every file that was closed in the spool ends in exactly one archive object, or in quarantine; a crash at any
//!   instant changes nothing of that.
//! - A bundle's name, members and checksums are durable before the first attempt to put it; every attempt puts those
//!   bytes under that name, and the archive creates only. So a lost answer is found out by comparison.
//! - Nothing is unlinked before the receipt is durable, and only files with the name, the size and the checksum of the journal.
//! - Memory is bounded: bodies are streamed, the queue of files is the directory of claimed files.
//!
//! A file goes: spool → `.claimed/` → `<state>/bundles/<id>/` → archive → `<state>/receipts/` → unlinked.

mod aging;
pub mod compat;
mod config;
mod deliver;
mod error;
mod events;
mod fault;
mod files;
mod metrics;
mod pick_up;
mod publisher;
mod quarantine;
mod recover;
mod reserve;
mod seal;
mod shared;
mod tree;

pub use config::{Config, DatatypeConfig, Form, GIT_COMMIT, VERSION, WriterProbe};
pub use deliver::{Receipt, Wanted, find_receipts};
pub use error::PublishError;
pub use publisher::{Flusher, Publisher, RestartablePublisher};
pub use quarantine::{Quarantine, Quarantined};
pub use reserve::default_reserve_bytes;

// The laboratory of the integration tests names this crate as they do.
#[cfg(test)]
extern crate self as groma_publish;
#[cfg(test)]
mod tests;
