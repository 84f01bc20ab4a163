//! Power cuts, for tests.
//!
//! [`Model`] makes steps on a real directory tree and records which of them are durable. A power cut takes back steps that are
//! not durable, chosen at random, so that the remaining ones also appear in another order:
//!
//! - A step is durable after every directory that it changes was synced, or after a later step on the same name is durable.
//! - The entry of a new directory is durable after its parent was synced; otherwise the whole directory vanishes.
//! - A file that was not synced may keep any beginning of its bytes, followed by nothing or by zeros.
//! - The removal of a directory is kept only together with the removal of its content.
//! - A step on a name is kept only together with the earlier steps on it. A rename is kept whole or not at all.
//!
//! [`check`] runs a piece of code with a power cut at each of its steps.

mod model;
mod schedule;

pub use model::Model;
pub use schedule::{check, needless_syncs};
