//! The two forms of bundles, as pure writers: no file system, no clock.

mod gz;
mod jsonl;
mod tgz;

pub(crate) use jsonl::{Columns, JsonlWriter};
pub(crate) use tgz::{Entry, TgzError, TgzWriter};

#[cfg(test)]
mod tests;
