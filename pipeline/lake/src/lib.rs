//! Keeps a lake: compacts live dates, seals closed ones, and says what is in force.
//!
//! Invariants, whatever dies when:
//!
//! - A row that was once in force stays in force, exactly once ([`Day::read`] is the rule).
//! - `sealed/` never holds a row twice, and a date's `_manifest.json` stands only beside complete parts.
//! - Nothing is rewritten: late objects add parts and `_manifest.N.json`.
//!
//! How: parts are written aside; one entry of a [log](Entry) that is created once decides; the parts move into place; the
//! manifest appears; after a while the small files go. Every step can be repeated by anyone.

mod archived;
mod correct;
mod day;
mod error;
mod index;
mod keep;
mod keys;
mod log;
mod manifest;
mod merge;
mod mirror;
mod rebuild;
mod seal;
mod settings;
mod staged;
mod table;

pub use archived::Sources;
pub use correct::{Removal, read_removal, remove_object};
pub use day::Day;
pub use error::LakeError;
pub use index::publish_index;
pub use keep::keep;
pub use keys::{PART_SHA256, are_keys_of};
pub use log::{Act, Entry, Part, Source};
pub use manifest::LICENCE;
pub use mirror::{Mirrored, Wanted, mirror};
pub use rebuild::is_set_aside;
pub use seal::{Pass, seal};
pub use settings::Settings;
pub use table::{Table, is_lake};
