//! Bringing claimed files home: a datatype's directory may have been on another volume when an earlier run claimed them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use groma_disk::{Dir, Entry, Taken};
use groma_spool::Name;

use crate::files::digest;
use crate::shared::Shared;

/// Moves the claimed files of a datatype to where they are claimed now. Files whose name is taken there by other bytes stay,
/// with a warning.
pub(crate) fn bring_home(shared: &Shared, datatype: &Name) -> io::Result<()> {
    let tree = &shared.tree;
    let (from, to) = (tree.claimed_elsewhere(datatype), tree.claimed_of(datatype));
    let Some(dates) = gone_is_none(tree.dir(&from))? else {
        return Ok(());
    };
    let mut found = Vec::new();
    tree.each_entry(&dates, |date, is_dir| {
        if is_dir {
            found.push(date.to_owned());
        }
        Ok(true)
    })?;
    for date in found {
        let from_dir = tree.dir(&format!("{from}/{date}"))?;
        let mut names = Vec::new();
        tree.each_entry(&from_dir, |name, _| {
            names.push(name.to_owned());
            Ok(true)
        })?;
        if names.is_empty() {
            continue;
        }
        tracing::warn!(%datatype, date, files = names.len(), "claimed files are on another volume; moving them");
        let to_dir = tree.create_dir(&format!("{to}/{date}"))?;
        tree.sync_way(&format!("{to}/{date}"))?;
        for name in names {
            if let Err(error) = bring(shared, &from_dir, &to_dir, &name) {
                tracing::error!(%datatype, date, name, %error, "cannot move a claimed file; it stays");
            }
        }
        tree.sync(&to_dir)?;
        tree.sync(&from_dir)?;
    }
    Ok(())
}

fn bring(shared: &Shared, from: &OwnedFd, to: &OwnedFd, name: &str) -> io::Result<()> {
    let tree = &shared.tree;
    match tree.rename_new(from, to, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let bytes = |dir| tree.open_file(dir, name).and_then(digest);
            if bytes(from)? == bytes(to)? {
                return tree.unlink(from, name);
            }
            Err(error)
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(shared, from, to, name),
        renamed => renamed,
    }
}

/// Copies a file durably before its first name goes away. A crash in between leaves two files with the same bytes, which the
/// next start makes one.
fn copy(shared: &Shared, from: &OwnedFd, to: &OwnedFd, name: &str) -> io::Result<()> {
    const PARTIAL: &str = ".partial";
    let (tree, disk) = (&shared.tree, &shared.config.disk);
    let looked = tree.look(from, name)?;
    if let Some(reason) = looked.and_then(|found| found.objection()) {
        return Err(io::Error::other(reason));
    }
    let source = tree.open_file(from, name)?;
    let mut copy = disk.create_file(Entry::at(to, PARTIAL), 0o644, Taken::Replace)?;
    copy.copy_from(&source)?;
    copy.sync()?;
    let (partial, target) = (Entry::at(to, PARTIAL), Entry::at(to, name));
    disk.rename(partial, target, Taken::RefuseAlone)?;
    disk.sync_dir(Dir::Fd(to.as_fd()))?;
    tree.unlink(from, name)
}

fn gone_is_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
