//! Making names durable: a file is safe only when every directory on the way to it is.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the entries of one directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs `dir` and all directories above it up to `root`. Also those that existed: whoever created them may have
/// died before syncing them.
pub(crate) fn sync_up_to(root: &Path, dir: &Path) -> io::Result<()> {
    for ancestor in dir.ancestors() {
        sync_dir(ancestor)?;
        if ancestor == root {
            break;
        }
    }
    Ok(())
}
