//! The body files of a bundle.

use std::io::{BufWriter, Write};
use std::path::Path;

use groma_disk::{Disk, Entry, Taken, WritableFile};
use groma_gate::Hashed;

use crate::PublishError;
use crate::seal::journal::Object;

/// A body that is being written.
pub(super) type Output = Hashed<BufWriter<WritableFile>>;

pub(super) fn create(disk: &Disk, path: &Path) -> Result<Output, PublishError> {
    let file = disk
        .create_file(Entry::path(path), 0o600, Taken::Refuse)
        .map_err(PublishError::io("create bundle", path))?;
    Ok(Hashed::new(BufWriter::new(file)))
}

/// Makes a body durable.
pub(super) fn close(
    out: Output,
    name: &str,
    body: &str,
    path: &Path,
) -> Result<Object, PublishError> {
    let (mut buffer, size_bytes, sha256) = out.into_parts();
    buffer
        .flush()
        .and_then(|()| buffer.get_ref().sync())
        .map_err(PublishError::io("sync bundle", path))?;
    Ok(Object {
        name: name.to_owned(),
        body: body.to_owned(),
        size_bytes,
        sha256,
        is_stored: false,
    })
}
