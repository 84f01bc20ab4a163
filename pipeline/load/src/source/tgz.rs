//! Tar bundles as the pusher writes them: gzip, PAX, one measurement per member (platform reference, archive naming).

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType, PaxExtensions};

use super::gunzip::{describe, inflate, read_capped, read_sized};
use super::{Archiver, Content, Member, Visit, label};
use crate::{Limits, LoadError};

/// Longest extension header (PAX records or GNU long name) kept in memory; the tar crate itself would read any length.
const EXTENSION_BYTES: u64 = 1 << 20;

/// Room made for a member by its header alone.
const MEMBER_ROOM: u64 = 1 << 20;

/// Hands every file of a tar to `visit`, in order; `gzip` says whether the stream is compressed as a whole.
///
/// Directories are no members. Links and devices are members nobody wants. Members whose name ends in `gz` are inflated.
pub(crate) fn read_tar(
    reader: impl Read,
    gzip: bool,
    url: &str,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    visit: &mut Visit<'_>,
) -> Result<(), LoadError> {
    let mut stream: Box<dyn Read + '_> = if gzip {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    };
    let reason = match read_entries(&mut stream, url, limits, wanted, visit)? {
        End::Reported => return Ok(()),
        End::Damaged(reason) => Some(reason),
        // Reading to the end also checks the gzip trailer, and so the bytes that were taken for good above.
        End::Clean => io::copy(&mut stream, &mut io::sink())
            .err()
            .map(|error| describe(&error, "archive")),
    };
    match reason {
        None => Ok(()),
        Some(reason) => visit(Member {
            name: String::new(),
            line: None,
            archiver: Archiver::default(),
            id: None,
            content: Content::Bad(reason),
        }),
    }
}

/// How an archive ended.
enum End {
    Clean,
    /// Cut inside a member, whose entry says so.
    Reported,
    /// Damaged between members; nobody was told yet.
    Damaged(String),
}

/// What extension headers said about the next file.
#[derive(Default)]
struct Extension {
    long_name: Option<Vec<u8>>,
    version: Option<String>,
    git_commit: Option<String>,
    /// The member's size when the header's field is too small for it.
    size: Option<u64>,
}

/// Visits entries until the archive ends.
fn read_entries(
    stream: impl Read,
    url: &str,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    visit: &mut Visit<'_>,
) -> Result<End, LoadError> {
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
    Ok(End::Clean)
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
    // What a header says costs no memory before it is there.
    let room = size.min(MEMBER_ROOM) as usize + 1;
    let bytes = match read_sized(entry, room, limits.member_bytes, "archive") {
        Ok(bytes) if bytes.len() as u64 == size => bytes,
        Ok(_) => return (Content::Bad("archive is truncated".to_owned()), true),
        Err(reason) => return (Content::Bad(reason), true),
    };
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
                // A size that is no number cannot be the header's either, and ends the reading.
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

/// What stands behind the last `separator`; nothing without one.
fn tail(value: &[u8], separator: char) -> Option<String> {
    let text = label(value);
    let (_, tail) = text.rsplit_once(separator)?;
    (!tail.is_empty()).then(|| tail.to_owned())
}
