//! Maintains a lake: compacts live dates, seals closed ones, and reports the current files.
//!
//! Invariants, whichever process dies at any time:
//!
//! - A current row stays current, exactly once ([`Day::read`] is the rule).
//! - `sealed/` never contains a row twice, and the `_manifest.json` of a date exists only beside complete data files.
//! - Nothing is rewritten: late objects add data files and `_manifest.N.json`.
//!
//! A sealer writes data files to a staging directory. It then creates an [entry](Entry) of the log, which only one sealer can,
//! moves the data files into place, writes the manifest, and later removes the small files. Any process can repeat any step.

mod archived;
mod correct;
mod day;
mod error;
mod explain;
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
pub use explain::{Explanation, explain_errors};
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
