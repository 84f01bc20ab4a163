//! Going on where an earlier run ended, whatever ended it.

pub(crate) mod home;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use groma_disk::Dir;
use groma_spool::Name;
use jiff::civil::Date;

use crate::PublishError;
use crate::deliver::{member_paths, set_aside};
use crate::files::{abandon, digest_file, move_dir, visible_entries};
use crate::recover::home::bring_home;
use crate::seal::journal::Bundle;
use crate::shared::{BUNDLES_DIR, CONFLICT_DIR, Lane, Shared};

/// The unfinished work that a worker starts with.
#[derive(Default)]
pub(crate) struct Inheritance {
    /// Sealed bundles, oldest first.
    pub(crate) bundles: Vec<(Bundle, PathBuf)>,
    /// Files of bundles that were set aside.
    pub(crate) held: BTreeSet<String>,
}

/// Clears what was begun and never sealed, finds what was sealed, and fills the backlogs with what was claimed.
pub(crate) fn recover(shared: &Shared) -> Result<BTreeMap<Name, Inheritance>, PublishError> {
    let mut found: BTreeMap<Name, Inheritance> = BTreeMap::new();
    let disk = &shared.config.disk;
    let bundles = shared.config.state_dir.join(BUNDLES_DIR);
    let mut dirs = visible_entries(&bundles)?;
    dirs.sort_unstable();
    for dir in dirs {
        let journal = match Bundle::read(&dir) {
            Ok(journal) => journal,
            // A journal appears whole or not at all, so this is a damaged disk; a person must see it.
            Err(error) => {
                tracing::error!(dir = %dir.display(), %error, "a bundle is set aside");
                let name = dir.file_name().unwrap_or_default();
                let conflict = shared.config.state_dir.join(CONFLICT_DIR).join(name);
                if let Err(error) = move_dir(disk, &dir, &conflict) {
                    tracing::error!(%error, "cannot set it aside; it stays among the bundles");
                }
                continue;
            }
        };
        match journal {
            None => abandon(disk, &dir)?,
            Some(bundle) if !shared.lanes.contains_key(&bundle.datatype) => {
                tracing::warn!(
                    bundle = bundle.id,
                    "left alone: its datatype is not configured any more"
                );
            }
            Some(bundle) if bundle.published_at.is_none() && !bodies_are_whole(&bundle, &dir)? => {
                tracing::error!(bundle = bundle.id, "its bytes are not those of its journal");
                set_aside(shared, &bundle, &dir)?;
            }
            Some(bundle) => {
                // The process that wrote the journal may have died before this sync. An object may be put only if a durable
                // journal lists it: otherwise its files could be bundled and put again after a power cut.
                disk.sync_dir(Dir::Path(&dir))
                    .map_err(PublishError::io("sync", &dir))?;
                found
                    .entry(bundle.datatype.clone())
                    .or_default()
                    .bundles
                    .push((bundle, dir));
            }
        }
    }
    for dir in visible_entries(&shared.config.state_dir.join(CONFLICT_DIR))? {
        if let Ok(Some(bundle)) = Bundle::read(&dir) {
            found
                .entry(bundle.datatype.clone())
                .or_default()
                .held
                .append(&mut member_paths(&bundle));
        }
    }
    for (name, lane) in &shared.lanes {
        let held = found
            .get(name)
            .map_or(0, |inheritance| inheritance.held.len());
        lane.metrics.conflicts(held);
        let dir = shared.tree.claimed_of(name);
        bring_home(shared, name)
            .map_err(PublishError::io("move claimed files to", Path::new(&dir)))?;
        recover_claims(shared, lane, &dir)
            .map_err(PublishError::io("list claimed files in", Path::new(&dir)))?;
    }
    Ok(found)
}

fn bodies_are_whole(bundle: &Bundle, dir: &Path) -> Result<bool, PublishError> {
    for object in &bundle.objects {
        if digest_file(&dir.join(&object.body))? != Some((object.size_bytes, object.sha256.clone()))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds all claimed files to the backlog again. Those of sealed bundles are gone when their worker has delivered these, which it does
/// before it looks at the backlog.
fn recover_claims(shared: &Shared, lane: &Lane, relative: &str) -> io::Result<()> {
    let dates = match shared.tree.dir(relative) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    shared.tree.each_entry(&dates, |date, is_dir| {
        let (Ok(parsed), true) = (date.parse::<Date>(), is_dir) else {
            return Ok(true);
        };
        let dir = shared.tree.dir(&format!("{relative}/{date}"))?;
        shared.tree.each_entry(&dir, |name, _| {
            if let Some(found) = shared.tree.look(&dir, name)? {
                lane.metrics.spooled();
                // The time of modification is the nearest that is known to when the file was picked up.
                let now = Instant::now();
                let since = now.checked_sub(found.age()).unwrap_or(now);
                lane.backlog.add(parsed, found.identity.size_bytes, since);
            }
            Ok(true)
        })?;
        Ok(true)
    })
}
