//! Delivering a sealed bundle: put, acknowledge, unlink, forget. Every step may be repeated.

pub(crate) mod receipts;
pub(crate) mod table;

pub use receipts::{Receipt, Wanted, find_receipts};

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use groma_archive::{StoreError, hex};

use crate::events::Breach;
use crate::fault::{CrashPoint, reach};
use crate::files::{digest, move_dir, remove_dir};
use crate::seal::journal::{Bundle, Member, Object};
use crate::shared::{CONFLICT_DIR, Lane, Shared};
use crate::tree::Found;
use crate::{Form, PublishError};

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Done,
    /// The archive has something else under one of the names; the bundle was set aside with everything in its place.
    Conflict,
}

/// Takes a sealed bundle as far as it goes. After an error, call again with the same bundle.
pub(crate) fn deliver(
    shared: &Shared,
    lane: &Lane,
    bundle: &mut Bundle,
    dir: &Path,
) -> Result<Delivery, PublishError> {
    if bundle.published_at.is_none() {
        for number in 0..bundle.objects.len() {
            if !bundle.objects[number].is_stored && !put(shared, &bundle.objects[number], dir)? {
                set_aside(shared, bundle, dir)?;
                return Ok(Delivery::Conflict);
            }
            bundle.objects[number].is_stored = true;
            if number == 0 {
                reach(&shared.config, CrashPoint::FirstObjectPut);
            }
        }
        reach(&shared.config, CrashPoint::AllPut);
        count(lane, bundle);
    }
    bundle.acknowledge(&shared.config, dir)?;
    reach(&shared.config, CrashPoint::Acknowledged);
    unlink_members(shared, lane, bundle)?;
    reach(&shared.config, CrashPoint::AllUnlinked);
    remove_dir(&shared.config.disk, dir)?;
    Ok(Delivery::Done)
}

/// Puts one object. Returns `false` if another object has its name. The function compares the object in the archive instead of
/// trusting the answer, which detects lost answers and truncated uploads.
fn put(shared: &Shared, object: &Object, dir: &Path) -> Result<bool, PublishError> {
    let body = dir.join(&object.body);
    let put = shared.store.put_new(&object.name, &body)?;
    let found = held_by_store(shared, &object.name)?;
    let disk = &shared.config.disk;
    if !disk.check("object is there", found.is_some()) {
        return Err(PublishError::Store(StoreError::Remote {
            operation: "find after putting",
            name: object.name.clone(),
            reason: format!("it answered {put:?} and has no such object"),
        }));
    }
    let journalled = (object.size_bytes, object.sha256.clone());
    let same = found.is_none_or(|found| found == journalled);
    let same = disk.check("object is the same bytes", same);
    if !same {
        tracing::error!(
            object = object.name,
            ?put,
            "the archive has other bytes under this name"
        );
    }
    Ok(same)
}

/// Size and SHA-256 of an object, read through where the store does not know its checksum.
fn held_by_store(shared: &Shared, name: &str) -> Result<Option<(u64, String)>, PublishError> {
    let Some(stat) = shared.store.stat(name)? else {
        return Ok(None);
    };
    match stat.sha256 {
        Some(sha256) => Ok(Some((stat.size_bytes, hex(&sha256)))),
        None => digest(shared.store.open(name)?)
            .map(Some)
            .map_err(PublishError::io("read object", Path::new(name))),
    }
}

fn count(lane: &Lane, bundle: &Bundle) {
    let sizes: Vec<u64> = bundle
        .objects
        .iter()
        .map(|object| object.size_bytes)
        .collect();
    match (bundle.form, &sizes[..]) {
        (Form::Tgz, [size, ..]) => lane.metrics.tarfile_delivered(bundle.members.len(), *size),
        (Form::Jsonl, [data, index, ..]) => lane.metrics.jsonl_delivered(*data, *index),
        _ => {}
    }
}

/// Unlinks the members that still have the bytes of the journal; any other file stays and is published again.
fn unlink_members(shared: &Shared, lane: &Lane, bundle: &Bundle) -> Result<(), PublishError> {
    let relative = shared.tree.claimed_dir(&bundle.datatype, bundle.date);
    let failed = |operation| PublishError::io(operation, Path::new(&relative));
    let claimed = match shared.tree.dir(&relative) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open claimed directory")(error)),
    };
    for (number, member) in bundle.members.iter().enumerate() {
        let Some(path) = member.spool_path() else {
            continue;
        };
        let name = path.file.as_str();
        match shared
            .tree
            .look(&claimed, name)
            .map_err(failed("look into"))?
        {
            None => {}
            Some(found)
                if shared.config.disk.check(
                    "member is the same file",
                    is_member(shared, &claimed, name, member, &found)
                        .map_err(failed("compare a file of"))?,
                ) =>
            {
                shared
                    .tree
                    .unlink(&claimed, name)
                    .map_err(failed("unlink a file of"))?;
                lane.metrics.published();
            }
            Some(_) => keep(shared, lane, bundle, member),
        }
        if number == 0 {
            reach(&shared.config, CrashPoint::FirstUnlinked);
        }
    }
    // Before the bundle is forgotten: else a file could come back after a power cut that no journal knows.
    shared.tree.sync(&claimed).map_err(failed("sync"))?;
    forget_empty(shared, bundle).map_err(failed("remove empty"))
}

/// Whether a claimed file is the member: the file that this run has read, or one with the same bytes.
fn is_member(
    shared: &Shared,
    claimed: &OwnedFd,
    name: &str,
    member: &Member,
    found: &Found,
) -> io::Result<bool> {
    if member.seen == Some(found.identity) {
        return Ok(true);
    }
    if found.objection().is_some() || found.identity.size_bytes != member.size_bytes {
        return Ok(false);
    }
    let file = shared.tree.open_file(claimed, name)?;
    let (size_bytes, sha256) = match digest(file) {
        Ok(digest) => digest,
        Err(error) => {
            tracing::warn!(file = member.path, %error, "cannot compare a file with its journal; it stays");
            return Ok(false);
        }
    };
    // Later changes of the file are not in the archive.
    let now = shared.tree.look(claimed, name)?;
    let holds_still = now.is_some_and(|now| now.holds_still(found));
    Ok(holds_still && (size_bytes, &sha256) == (member.size_bytes, &member.sha256))
}

fn forget_empty(shared: &Shared, bundle: &Bundle) -> io::Result<()> {
    let parent = shared.tree.dir(&shared.tree.claimed_of(&bundle.datatype))?;
    shared
        .tree
        .remove_empty_dir(&parent, &bundle.date.to_string())
        .map(drop)
}

fn keep(shared: &Shared, lane: &Lane, bundle: &Bundle, member: &Member) {
    let detail = format!(
        "changed after it was bundled in {}; it will be published again",
        bundle.id
    );
    shared.breach(Breach::Rewritten, &member.path, &detail);
    // One version is published, and one more is there to be.
    lane.metrics.published();
    lane.metrics.spooled();
    lane.backlog.add(bundle.date, 0, Instant::now());
}

/// Puts a bundle out of the way with all it has, for an operator to judge; its files stay claimed.
pub(crate) fn set_aside(shared: &Shared, bundle: &Bundle, dir: &Path) -> Result<(), PublishError> {
    move_dir(
        &shared.config.disk,
        dir,
        &shared.config.state_dir.join(CONFLICT_DIR).join(&bundle.id),
    )?;
    tracing::error!(
        bundle = bundle.id,
        "the bundle is set aside; move it back among the bundles to try again"
    );
    Ok(())
}

/// The paths of a bundle's files below the experiment's directory.
pub(crate) fn member_paths(bundle: &Bundle) -> BTreeSet<String> {
    bundle
        .members
        .iter()
        .map(|member| member.path.clone())
        .collect()
}
