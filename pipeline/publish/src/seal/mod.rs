//! Sealing: from claimed files to a bundle whose bytes and journal are durable.

mod admit;
pub(crate) mod bundle;
pub(crate) mod journal;
mod jsonl;
pub(crate) mod naming;
mod output;
mod tgz;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use groma_disk::{Dir, Entry};
use groma_spool::{FileName, SpoolPath};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::fault::{CrashPoint, reach};
use crate::seal::journal::{Bundle, Member, Object};
use crate::shared::{BUNDLES_DIR, Lane, Shared};
use crate::{Form, PublishError, tree};

/// The result of sealing the claimed files of a date.
pub(crate) struct Sealed {
    /// The bundle and its directory, unless there was nothing fit for one.
    pub(crate) bundle: Attempt,
    /// Size of the files that were looked at for it.
    pub(crate) listed_bytes: u64,
    /// Whether files were left for the next bundle because this one was full.
    pub(crate) more: bool,
}

/// A file that changed while it was being read cannot be part of this bundle.
struct Changed(FileName);

/// The objects of a bundle, in the order in which they are put, and the files in them.
type Built = (Vec<Object>, Vec<Member>);

/// A sealed bundle and its directory, unless no file was fit for one.
type Attempt = Option<(Bundle, PathBuf)>;

struct Sealer<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    date: Date,
    claimed: OwnedFd,
}

/// Builds and seals the next bundle of a date, without the files in `held` (paths below the experiment's directory).
///
/// It has at most `cap` members. After a failure the cap is half of what was tried, and it doubles with every success:
/// so a disk that is too full for a whole bundle is worked off in small ones, and a file that makes every bundle fail
/// ends up alone.
pub(crate) fn seal(
    shared: &Shared,
    lane: &Lane,
    held: &BTreeSet<String>,
    date: Date,
    cap: &mut usize,
) -> Result<Sealed, PublishError> {
    let relative = shared.tree.claimed_dir(&lane.datatype.name, date);
    let nothing = Sealed {
        bundle: None,
        listed_bytes: 0,
        more: false,
    };
    let claimed = match shared.tree.dir(&relative) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(nothing),
        Err(error) => {
            return Err(PublishError::io(
                "open claimed directory",
                Path::new(&relative),
            )(error));
        }
    };
    lane.clean(&shared.config.disk)?;
    let sealer = Sealer {
        shared,
        lane,
        date,
        claimed,
    };
    let (files, listed_bytes, more) = sealer.list(held, *cap).map_err(PublishError::io(
        "list claimed directory",
        Path::new(&relative),
    ))?;
    let tried = files.len();
    let built = sealer.build_of(files);
    *cap = match &built {
        Ok(_) => cap.saturating_mul(2).min(shared.config.max_members),
        Err(_) => (tried / 2).max(1),
    };
    Ok(Sealed {
        bundle: built?,
        listed_bytes,
        more,
    })
}

impl Sealer<'_> {
    fn spool_path(&self, file: &FileName) -> SpoolPath {
        SpoolPath {
            datatype: self.lane.datatype.name.clone(),
            date: self.date,
            file: file.clone(),
        }
    }

    /// Claimed files up to the limits of a bundle, sorted; their bytes; and whether there are more.
    fn list(&self, held: &BTreeSet<String>, cap: usize) -> io::Result<(Vec<FileName>, u64, bool)> {
        let config = &self.shared.config;
        let misfits = self.lane.misfits();
        let (mut files, mut bytes, mut more) = (Vec::new(), 0, false);
        self.shared.tree.each_entry(&self.claimed, |name, _| {
            let Ok(file) = name.parse::<FileName>() else {
                return Ok(true);
            };
            let path = self.spool_path(&file);
            if held.contains(&path.to_string()) {
                return Ok(true);
            }
            let found = self.shared.tree.look(&self.claimed, name)?;
            let found = found.map(|found| found.identity);
            if found.is_some() && misfits.get(&path).map(|misfit| misfit.identity) == found {
                return Ok(true);
            }
            // One file always fits, whatever the limits are.
            if !files.is_empty() && (files.len() >= cap || bytes >= config.flush_bytes) {
                more = true;
                return Ok(false);
            }
            bytes += found.map_or(0, |found| found.size_bytes);
            files.push(file);
            Ok(true)
        })?;
        files.sort_unstable();
        Ok((files, bytes, more))
    }

    /// Builds a bundle of those of the files that hold still.
    fn build_of(&self, mut files: Vec<FileName>) -> Result<Attempt, PublishError> {
        while !files.is_empty() {
            match self.build(&files)? {
                Ok(attempt) => return Ok(attempt),
                Err(Changed(file)) => {
                    self.postpone(&file);
                    files.retain(|other| *other != file);
                }
            }
        }
        Ok(None)
    }

    /// Builds a bundle in a directory of its own. If the bundle is not sealed, the directory is removed.
    fn build(&self, files: &[FileName]) -> Result<Result<Attempt, Changed>, PublishError> {
        let moment = self.shared.moments.next(&self.shared.config)?;
        let id = naming::bundle_id(&self.lane.datatype.name, moment);
        let bundles = self.shared.config.state_dir.join(BUNDLES_DIR);
        let dir = bundles.join(&id);
        let disk = &self.shared.config.disk;
        disk.create_dir(Entry::path(&dir), 0o700)
            .map_err(PublishError::io("create", &dir))?;
        disk.sync_dir(Dir::Path(&bundles))
            .map_err(PublishError::io("sync", &bundles))?;
        let built = self.build_in(&dir, id, moment, files);
        match built {
            Ok(Ok(Some(bundle))) => Ok(Ok(Some((bundle, dir)))),
            Ok(Ok(None)) => self.abandon(dir).map(|()| Ok(None)),
            Ok(Err(changed)) => self.abandon(dir).map(|()| Err(changed)),
            Err(error) => {
                // On a full disk this matters; the first error is the one worth reporting.
                let _ = self.abandon(dir);
                Err(error)
            }
        }
    }

    /// Removes a bundle that was not sealed, now or else before the next one is built.
    fn abandon(&self, dir: PathBuf) -> Result<(), PublishError> {
        self.lane.unclean().push(dir);
        self.lane.clean(&self.shared.config.disk)
    }

    fn build_in(
        &self,
        dir: &Path,
        id: String,
        moment: Timestamp,
        files: &[FileName],
    ) -> Result<Result<Option<Bundle>, Changed>, PublishError> {
        let config = &self.shared.config;
        let (datatype, form) = (&self.lane.datatype.name, self.lane.datatype.form);
        let names = naming::object_names(config, datatype, form, self.date, moment)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let built = match form {
            Form::Tgz => self.build_tgz(dir, &names, files)?,
            Form::Jsonl => self.build_jsonl(dir, &names, files, moment)?,
        };
        let (objects, members) = match built {
            Ok((_, members)) if members.is_empty() => return Ok(Ok(None)),
            Ok(built) => built,
            Err(changed) => return Ok(Err(changed)),
        };
        reach(config, CrashPoint::BodyWritten);
        let bundle = Bundle {
            id,
            experiment: config.spool.experiment().clone(),
            datatype: datatype.clone(),
            date: self.date,
            form,
            objects,
            members,
            published_at: None,
        };
        self.sync_claims(&bundle)?;
        bundle.keep_room(&config.disk, dir)?;
        // A journal whose bodies a power cut took away could never be delivered.
        let disk = &config.disk;
        disk.sync_dir(Dir::Path(dir))
            .map_err(PublishError::io("sync", dir))?;
        bundle.write(disk, dir)?;
        reach(config, CrashPoint::Sealed);
        Ok(Ok(Some(bundle)))
    }

    /// Makes the claims durable before the journal that speaks of them.
    fn sync_claims(&self, bundle: &Bundle) -> Result<(), PublishError> {
        let sync = || {
            let tree = &self.shared.tree;
            tree.sync_way(&tree.claimed_dir(&bundle.datatype, bundle.date))?;
            tree.sync(&self.claimed)?;
            let Some(path) = bundle.members.first().and_then(Member::spool_path) else {
                return Ok(());
            };
            match tree.dir(&tree::spool_dir(&path)) {
                Ok(dir) => tree.sync(&dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        };
        sync().map_err(PublishError::io(
            "sync the claims of",
            Path::new(&bundle.id),
        ))
    }
}
