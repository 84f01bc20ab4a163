//! The verdict on one result file: may it be published, and with which bytes.
//!
//! [`objection`] judges what a name refers to before it is opened. [`Content::judge`] reads the file and compares it with the
//! [`Gate`] of its datatype. [`Content::copy_line`] writes the accepted value as one line.

mod content;
mod file;
mod hashed;
mod json;
mod scan;
mod until_error;

pub use content::{Content, Judged};
pub use file::objection;
pub use hashed::Hashed;
pub use json::Extent;
pub use until_error::UntilError;

use groma_schema::Schema;

/// The rules for the result files of one datatype.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// The schema that every file must follow; any JSON is accepted without one.
    pub schema: Option<&'a Schema>,
    /// The largest file, in bytes after decompression.
    pub max_bytes: u64,
}
