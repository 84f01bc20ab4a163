//! Reading archive objects: tar bundles and JSON lines, from a stream, one member at a time.
//!
//! A source never trusts its object. A member that cannot be read is handed on as [`Content::Bad`] and the rest goes on; an
//! object that ends early gives its members up to the cut and then one last [`Content::Bad`].

mod gunzip;
mod jsonl;
mod observed;
mod tgz;
mod unpack;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use gunzip::inflate;
pub(crate) use jsonl::read_jsonl;
pub(crate) use observed::Observed;
pub(crate) use tgz::read_tar;

use crate::LoadError;

/// The program that put a measurement into the archive: M-Lab's `archiver` column. Absent values are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiver {
    /// Version of the program.
    pub version: Option<String>,
    /// Git commit of the program.
    pub git_commit: Option<String>,
    /// URL of the archive object.
    pub archive_url: Option<String>,
    /// Name of the member in the object.
    pub filename: Option<String>,
}

/// One measurement of an object, or what is left of it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Name inside the object: tar path, or `Archiver.Filename` of a line. Only ever a label, never a path we open.
    pub(crate) name: String,
    /// Line number from 1, in JSON lines.
    pub(crate) line: Option<u64>,
    pub(crate) archiver: Archiver,
    /// The line's own `id` column, when it has one.
    pub(crate) id: Option<String>,
    pub(crate) content: Content,
}

/// The content of a member.
#[derive(Debug)]
pub(crate) enum Content {
    /// The measurement as its writer wrote it, inflated and not yet parsed.
    Whole(Vec<u8>),
    /// The beginning of a measurement whose own compression ends early; the reason in words. Only packet captures are worth
    /// reading then.
    Beginning(Vec<u8>, String),
    /// Not of this datatype; nothing was read.
    Unwanted,
    /// Cannot be read; the reason in words.
    Bad(String),
    /// The object is damaged here, so that members may be missing; the reason in words.
    Damage(String),
}

/// Receives each member; an error stops the reading.
pub(crate) type Visit<'a> = dyn FnMut(Member) -> Result<(), LoadError> + 'a;

/// Longest member name kept, in bytes; a name is a label and longer ones are cut.
const NAME_BYTES: usize = 1024;

/// A name as a printable label of bounded length.
fn label(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES)]);
    text.replace(char::is_control, "\u{fffd}")
}
