//! Tar bundles as the pusher writes them: gzip, PAX, one measurement per member (platform reference, archive naming).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Cursor, Read};

use tar::{Archive, EntryType, PaxExtensions};

use super::gunzip::{beginning, describe, inflate, read_capped, read_sized};
use super::unpack::{Inside, is_tar, unpack};
use super::{Archiver, Content, Member, Visit, label};
use crate::{Limits, LoadError};

/// Longest extension header (PAX records or GNU long name) kept in memory; the tar crate itself would read any length.
const EXTENSION_BYTES: u64 = 1 << 20;

/// Room made for a member by its header alone.
const MEMBER_ROOM: u64 = 1 << 20;

/// Hands every file of a tar to `visit`, in order. Compression is recognised by the bytes and not by the object's name.
///
/// Directories are not members. Links and devices are members that no datatype wants. Members whose name ends in `gz` are
/// inflated. A second tar behind the end mark of the first is read too; other data there are damage, as is a tar without an end
/// mark.
pub(crate) fn read_tar(
    reader: impl Read,
    url: &str,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    visit: &mut Visit<'_>,
) -> Result<(), LoadError> {
    let mut stream = match unpack(reader, Inside::Tar) {
        Ok(stream) => Counted {
            inner: stream,
            bytes: 0,
        },
        Err(reason) => return visit(damage(reason)),
    };
    let mut seen = HashSet::new();
    let mut first: Option<Box<Header>> = None;
    loop {
        let begin = stream.bytes - first.as_ref().map_or(0, |header| header.len() as u64);
        let ahead = Cursor::new(first.take().map_or_else(Vec::new, |header| header.to_vec()));
        let tar = ahead.chain(&mut stream);
        let members = Members {
            url,
            limits,
            wanted,
            seen: &mut seen,
        };
        let end_of_members = match members.read(tar, visit)? {
            End::Reported => return Ok(()),
            End::Damaged(reason) => return visit(damage(reason)),
            End::Clean { bytes } => begin + bytes,
        };
        if stream.bytes <= end_of_members {
            let reason = "the tar has no end mark: it is empty or cut between two members";
            return visit(damage(reason.to_owned()));
        }
        // Reading to the end also checks the gzip trailer, and so the bytes that were taken for good above.
        match behind_end_mark(&mut stream) {
            Ok(Behind::Nothing) => return Ok(()),
            Ok(Behind::Tar(header)) => first = Some(header),
            Ok(Behind::Data) => {
                let reason = "the tar has data behind its end mark that are not another tar";
                return visit(damage(reason.to_owned()));
            }
            Err(error) => return visit(damage(describe(&error, "archive"))),
        }
    }
}

/// A block of a tar.
type Header = [u8; 512];

/// The data behind the end mark of a tar.
enum Behind {
    Nothing,
    /// Another tar, of which this is the first header.
    Tar(Box<Header>),
    Data,
}

/// Passes over the zeros that fill the last record of a tar.
fn behind_end_mark(stream: &mut impl Read) -> io::Result<Behind> {
    let mut block = [0; 512];
    loop {
        let mut filled = 0;
        while filled < block.len() {
            match stream.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let is_zero = block[..filled].iter().all(|byte| *byte == 0);
        match filled {
            0 => return Ok(Behind::Nothing),
            512 if is_tar(&block) => return Ok(Behind::Tar(Box::new(block))),
            _ if !is_zero => return Ok(Behind::Data),
            512 => {}
            _ => return Ok(Behind::Nothing),
        }
    }
}

fn damage(reason: String) -> Member {
    Member {
        name: String::new(),
        line: None,
        archiver: Archiver::default(),
        id: None,
        content: Content::Damage(reason),
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// How an archive ended.
enum End {
    /// Its members end at this byte of the tar.
    Clean { bytes: u64 },
    /// Cut inside a member, whose entry says so.
    Reported,
    /// Damaged between members, which no entry says yet.
    Damaged(String),
}

/// Properties of the next file from extension headers.
#[derive(Default)]
struct Extension {
    long_name: Option<Vec<u8>>,
    version: Option<String>,
    git_commit: Option<String>,
    /// The member's size when the header's field is too small for it.
    size: Option<u64>,
}

/// The reading of one tar.
struct Members<'a> {
    url: &'a str,
    limits: &'a Limits,
    wanted: &'a dyn Fn(&str) -> bool,
    /// Hashes of the names so far: the second file of a name is an error.
    seen: &'a mut HashSet<u64>,
}

impl Members<'_> {
    /// Visits entries until the tar ends.
    fn read(self, stream: impl Read, visit: &mut Visit<'_>) -> Result<End, LoadError> {
        let Members {
            url,
            limits,
            wanted,
            seen,
        } = self;
        let mut end = 0;
        let mut archive = Archive::new(stream);
        let entries = match archive.entries() {
            Ok(entries) => entries.raw(true),
            Err(error) => return Ok(End::Damaged(describe(&error, "archive"))),
        };
        let mut extension = Extension::default();
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Ok(End::Damaged(describe(&error, "archive"))),
            };
            let kind = entry.header().entry_type();
            let size = entry.size();
            end = (entry.raw_file_position() + size).next_multiple_of(512);
            if kind.is_pax_local_extensions() || kind.is_gnu_longname() {
                match read_capped(&mut entry, EXTENSION_BYTES, "extension header") {
                    Ok(bytes) => extension.add(kind, bytes),
                    Err(reason) => return Ok(End::Damaged(reason)),
                }
                continue;
            }
            if kind.is_pax_global_extensions() || kind.is_gnu_longlink() || kind.is_dir() {
                continue;
            }
            let extension = std::mem::take(&mut extension);
            if extension.size.is_some_and(|true_size| true_size != size) {
                return Ok(End::Damaged("a member of more than 8 GiB".to_owned()));
            }
            let raw_name = extension
                .long_name
                .unwrap_or_else(|| entry.path_bytes().into_owned());
            let name = label(&raw_name);
            let (content, cut) = if !is_file(kind) || !wanted(&name) {
                (Content::Unwanted, false)
            } else if !seen.insert(hash(&raw_name)) {
                (Content::Bad(TWICE.to_owned()), false)
            } else {
                read_member(&mut entry, &name, size, limits)
            };
            visit(Member {
                archiver: Archiver {
                    version: extension.version,
                    git_commit: extension.git_commit,
                    archive_url: Some(url.to_owned()),
                    filename: Some(name.clone()),
                },
                name,
                line: None,
                id: None,
                content,
            })?;
            if cut {
                return Ok(End::Reported);
            }
        }
        Ok(End::Clean { bytes: end })
    }
}

/// The reason of a member that is left out because the object has another one of its name before it.
const TWICE: &str = "member-once: the object has an earlier member of the same name, and only the first becomes a row";

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

/// Regular files in the three spellings of tar.
fn is_file(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous()
}

/// Content of one member, and whether the archive was cut inside it.
fn read_member(entry: impl Read, name: &str, size: u64, limits: &Limits) -> (Content, bool) {
    if size > limits.member_bytes {
        let reason = format!(
            "member of {size} bytes is larger than {} bytes",
            limits.member_bytes
        );
        return (Content::Bad(reason), false);
    }
    // The size in a header costs no memory before the bytes are there.
    let room = size.min(MEMBER_ROOM) as usize + 1;
    let bytes = match read_sized(entry, room, limits.member_bytes, "archive") {
        Ok(bytes) if bytes.len() as u64 == size => bytes,
        Ok(_) => return (Content::Damage("archive is truncated".to_owned()), true),
        Err(reason) => return (Content::Damage(reason), true),
    };
    if name.ends_with(".pcap.gz") {
        return (beginning(&bytes, limits.member_bytes), false);
    }
    match inflate(name, bytes, limits.member_bytes) {
        Ok(bytes) => (Content::Whole(bytes), false),
        Err(reason) => (Content::Bad(reason), false),
    }
}

impl Extension {
    fn add(&mut self, kind: EntryType, mut bytes: Vec<u8>) {
        if kind.is_gnu_longname() {
            bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
            self.long_name = Some(bytes);
            return;
        }
        for record in PaxExtensions::new(&bytes).flatten() {
            match record.key_bytes() {
                b"path" => self.long_name = Some(record.value_bytes().to_vec()),
                // A size that is not a number differs from the header's and ends the reading.
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.unwrap_or(u64::MAX));
                }
                // `measurementlab/pusher:v1.16`: the tag is the version.
                b"MLAB.pusher.image" => self.version = tail(record.value_bytes(), ':'),
                // `https://github.com/m-lab/pusher/tree/v1.16`: the tag or commit that was built.
                b"MLAB.pusher.src.url" => self.git_commit = tail(record.value_bytes(), '/'),
                _ => {}
            }
        }
    }
}

/// Returns the text behind the last `separator`; `None` without one.
fn tail(value: &[u8], separator: char) -> Option<String> {
    let text = label(value);
    let (_, tail) = text.rsplit_once(separator)?;
    (!tail.is_empty()).then(|| tail.to_owned())
}
