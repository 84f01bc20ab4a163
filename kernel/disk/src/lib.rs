//! Durable files: create without replacing, sync, rename, clear abandoned files, and probe what a file system can do.
//!
//! A change of a file system survives a power cut only after `fsync` of the file and of every directory whose entries changed.
//! [`Disk`] makes these steps; [`Unfinished`] and the `write` methods combine them. Every method that changes something
//! documents whether the change is durable when it returns.

mod dirs;
mod disk;
mod probe;
mod rename;
mod unfinished;
mod write;

#[cfg(feature = "power")]
pub mod power;

pub use dirs::{create_dirs_durable, create_private_dir, sync_dir};
pub use disk::{Dir, Disk, Entry, Faults, Step, Taken, Verdict, WritableFile};
pub use probe::probe;
pub use rename::{Method, RENAME_LOCK, Rivals, rename_new, rename_new_path};
pub use unfinished::{Unfinished, clear_abandoned, temporary_name};
pub use write::{Replace, write_durable};

/// The mode of files that everybody may read, less the umask.
pub const FILE_MODE: u32 = 0o644;
/// The mode of directories that everybody may read, less the umask.
pub const DIR_MODE: u32 = 0o755;
/// The mode of directories that only their owner may use.
pub const PRIVATE_DIR_MODE: u32 = 0o700;
