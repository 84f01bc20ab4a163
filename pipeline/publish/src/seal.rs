//! Sealing: from claimed files to a bundle whose bytes and journal are durable.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use groma_spool::{FileName, SpoolPath};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::bundle::{Columns, Entry, Hashed, JsonlWriter, TgzError, TgzWriter};
use crate::fault::{CrashPoint, reach};
use crate::files::{hex, remove_dir};
use crate::journal::{Bundle, Member, Object};
use crate::shared::{BUNDLES_DIR, Lane, Shared};
use crate::tree::Found;
use crate::{Form, PublishError, json, naming, quarantine, tree};

/// What came of the claimed files of a date.
pub(crate) struct Sealed {
    /// The bundle and its directory, unless there was nothing fit for one.
    pub(crate) bundle: Option<(Bundle, PathBuf)>,
    /// Size of the files that were looked at for it.
    pub(crate) listed_bytes: u64,
    /// Whether files were left for the next bundle because this one was full.
    pub(crate) more: bool,
}

type Output = Hashed<BufWriter<File>>;

/// A file that changed while it was being read cannot be part of this bundle.
struct Changed(FileName);

struct Sealer<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    date: Date,
    claimed: OwnedFd,
}

/// Builds and seals the next bundle of a date, without the files in `held` (paths below the experiment's directory).
pub(crate) fn seal(
    shared: &Shared,
    lane: &Lane,
    held: &BTreeSet<String>,
    date: Date,
) -> Result<Sealed, PublishError> {
    let relative = tree::claimed_dir(&lane.datatype.name, date);
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
    let sealer = Sealer {
        shared,
        lane,
        date,
        claimed,
    };
    let (mut files, listed_bytes, more) = sealer.list(held).map_err(PublishError::io(
        "list claimed directory",
        Path::new(&relative),
    ))?;
    loop {
        if files.is_empty() {
            return Ok(Sealed {
                listed_bytes,
                more,
                ..nothing
            });
        }
        match sealer.build(&files)? {
            Ok(bundle) => {
                return Ok(Sealed {
                    bundle,
                    listed_bytes,
                    more,
                });
            }
            Err(Changed(file)) => {
                sealer.postpone(&file);
                files.retain(|other| *other != file);
            }
        }
    }
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
    fn list(&self, held: &BTreeSet<String>) -> io::Result<(Vec<FileName>, u64, bool)> {
        let config = &self.shared.config;
        let (mut files, mut bytes, mut more) = (Vec::new(), 0, false);
        tree::each_entry(&self.claimed, |name, _| {
            let Ok(file) = name.parse::<FileName>() else {
                return Ok(true);
            };
            if held.contains(&self.spool_path(&file).to_string()) {
                return Ok(true);
            }
            if files.len() >= config.max_members || bytes >= config.flush_bytes {
                more = true;
                return Ok(false);
            }
            bytes += tree::look(&self.claimed, name)?.map_or(0, |found| found.identity.size_bytes);
            files.push(file);
            Ok(true)
        })?;
        files.sort_unstable();
        Ok((files, bytes, more))
    }

    fn build(
        &self,
        files: &[FileName],
    ) -> Result<Result<Option<(Bundle, PathBuf)>, Changed>, PublishError> {
        let (shared, lane) = (self.shared, self.lane);
        let (datatype, form) = (&lane.datatype.name, lane.datatype.form);
        let moment = shared.moments.next()?;
        let names = naming::object_names(&shared.config, datatype, form, self.date, moment)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let id = naming::bundle_id(datatype, moment);
        let bundles = shared.config.state_dir.join(BUNDLES_DIR);
        let dir = bundles.join(&id);
        std::fs::create_dir(&dir).map_err(PublishError::io("create", &dir))?;
        groma_spool::sync_dir(&bundles).map_err(PublishError::io("sync", &bundles))?;
        let built = match form {
            Form::Tgz => self.build_tgz(&dir, &names, files),
            Form::Jsonl => self.build_jsonl(&dir, &names, files, moment).map(Ok),
        };
        let (objects, members) = match built {
            Ok(Ok((objects, members))) if !members.is_empty() => (objects, members),
            // Nothing is sealed, so nothing may stay.
            Ok(Ok(_)) => return remove_dir(&dir).map(|()| Ok(None)),
            Ok(Err(changed)) => return remove_dir(&dir).map(|()| Err(changed)),
            Err(error) => {
                let _ = remove_dir(&dir);
                return Err(error);
            }
        };
        reach(&shared.config, CrashPoint::BodyWritten);
        let bundle = Bundle {
            id,
            experiment: shared.config.spool.experiment().clone(),
            datatype: datatype.clone(),
            date: self.date,
            form,
            objects,
            members,
            published_at: None,
        };
        self.sync_claims(&bundle)?;
        bundle.write(&dir)?;
        reach(&shared.config, CrashPoint::Sealed);
        Ok(Ok(Some((bundle, dir))))
    }

    /// Makes the claims durable before the journal that speaks of them.
    fn sync_claims(&self, bundle: &Bundle) -> Result<(), PublishError> {
        let sync = || {
            tree::sync(&self.claimed)?;
            let Some(path) = bundle.members.first().and_then(Member::spool_path) else {
                return Ok(());
            };
            match self.shared.tree.dir(&tree::spool_dir(&path)) {
                Ok(dir) => tree::sync(&dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        };
        sync().map_err(PublishError::io(
            "sync the claims of",
            Path::new(&bundle.id),
        ))
    }

    fn build_tgz(
        &self,
        dir: &Path,
        names: &[String],
        files: &[FileName],
    ) -> Result<Result<(Vec<Object>, Vec<Member>), Changed>, PublishError> {
        const BODY: &str = "data.tgz";
        let path = dir.join(BODY);
        let mut records = self.shared.config.metadata.clone();
        records.push((
            "MLAB.datatype".to_owned(),
            self.lane.datatype.name.to_string(),
        ));
        let packed = files.iter().all(|file| {
            [".gz", ".zst", ".tgz"]
                .iter()
                .any(|end| file.as_str().ends_with(end))
        });
        let mut writer = TgzWriter::new(create(&path)?, &records, packed);
        let mut members = Vec::new();
        for file in files {
            let Some((bytes, found)) = self.admit(file)? else {
                continue;
            };
            let spool_path = self.spool_path(file);
            if let Some(reason) = self.objection_to_json(file, &bytes, &found)? {
                self.quarantine(file, Some(&bytes), &reason)?;
                continue;
            }
            let name = spool_path.member_name();
            let entry = Entry {
                name: &name,
                size_bytes: found.identity.size_bytes,
                mtime_s: found.identity.mtime_s,
            };
            let sha256 = match writer.add(entry, &bytes) {
                Ok(sha256) if self.unchanged(&bytes, &found)? => sha256,
                Ok(_) | Err(TgzError::Short) => return Ok(Err(Changed(file.clone()))),
                Err(TgzError::Io(error)) => {
                    return Err(PublishError::io("write bundle", &path)(error));
                }
            };
            members.push(Member {
                path: spool_path.to_string(),
                member: name,
                sha256,
                identity: found.identity,
            });
        }
        let out = writer
            .finish()
            .map_err(PublishError::io("write bundle", &path))?;
        Ok(Ok((vec![close(out, &names[0], BODY, &path)?], members)))
    }

    fn build_jsonl(
        &self,
        dir: &Path,
        names: &[String],
        files: &[FileName],
        moment: Timestamp,
    ) -> Result<(Vec<Object>, Vec<Member>), PublishError> {
        const BODIES: [&str; 2] = ["data.jsonl.gz", "index1.jsonl.gz"];
        let paths = BODIES.map(|body| dir.join(body));
        let config = &self.shared.config;
        let columns = Columns {
            date: self.date.to_string(),
            version: config.version.clone(),
            git_commit: config.git_commit.clone(),
            archive_url: self.shared.store.url(&names[0]),
        };
        let mut writer = JsonlWriter::new(create(&paths[0])?, create(&paths[1])?, columns);
        let mut members = Vec::new();
        for file in files {
            let Some((opened, found)) = self.admit(file)? else {
                continue;
            };
            if found.identity.size_bytes > config.max_json_bytes {
                self.quarantine(
                    file,
                    Some(&opened),
                    &format!("it has more than {} bytes", config.max_json_bytes),
                )?;
                continue;
            }
            let mut bytes = Vec::with_capacity(found.identity.size_bytes as usize);
            (&opened)
                .take(found.identity.size_bytes)
                .read_to_end(&mut bytes)
                .map_err(PublishError::io("read", Path::new(file.as_str())))?;
            if bytes.len() as u64 != found.identity.size_bytes
                || !self.unchanged(&opened, &found)?
            {
                self.postpone(file);
                continue;
            }
            let checked =
                json::text(file.as_str(), &bytes, config.max_json_bytes).and_then(|text| {
                    json::check(&text, self.lane.datatype.schema.as_ref()).map(|()| text)
                });
            let text = match checked {
                Ok(text) => text,
                Err(reason) => {
                    self.quarantine(file, Some(&opened), &reason)?;
                    continue;
                }
            };
            let spool_path = self.spool_path(file);
            let filename = config
                .spool
                .file_path(&spool_path)
                .to_string_lossy()
                .into_owned();
            writer
                .add(&filename, &json::one_line(&text), moment)
                .map_err(PublishError::io("write bundle", &paths[0]))?;
            let sha256 = hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
            members.push(Member {
                path: spool_path.to_string(),
                member: filename,
                sha256,
                identity: found.identity,
            });
        }
        let (data, index) = writer
            .finish()
            .map_err(PublishError::io("write bundle", &paths[0]))?;
        let objects = vec![
            close(data, &names[0], BODIES[0], &paths[0])?,
            close(index, &names[1], BODIES[1], &paths[1])?,
        ];
        Ok((objects, members))
    }

    /// Opens a claimed file if it is one that may be read; other things go to quarantine unread.
    fn admit(&self, file: &FileName) -> Result<Option<(File, Found)>, PublishError> {
        let failed = |operation| PublishError::io(operation, Path::new(file.as_str()));
        let Some(found) = tree::look(&self.claimed, file.as_str()).map_err(failed("look at"))?
        else {
            self.lane.metrics.violation("vanished");
            return Ok(None);
        };
        if let Some(reason) = found.objection() {
            self.quarantine(file, None, reason)?;
            return Ok(None);
        }
        let opened = tree::open_file(&self.claimed, file.as_str()).map_err(failed("open"))?;
        let found = tree::look_open(&opened).map_err(failed("look at"))?;
        match found.objection() {
            None => Ok(Some((opened, found))),
            // Between the look and the opening somebody put another thing there; the next bundle judges it.
            Some(_) => {
                self.postpone(file);
                Ok(None)
            }
        }
    }

    /// With a schema, `.json` members of a tar file must at least be JSON.
    fn objection_to_json(
        &self,
        file: &FileName,
        opened: &File,
        found: &Found,
    ) -> Result<Option<String>, PublishError> {
        let name = file.as_str();
        let packed = name.ends_with(".json.gz");
        if self.lane.datatype.schema.is_none() || !(packed || name.ends_with(".json")) {
            return Ok(None);
        }
        let limit = self.shared.config.max_json_bytes;
        let bytes = BufReader::new(opened).take(found.identity.size_bytes);
        let verdict = if packed {
            json::well_formed(BufReader::new(MultiGzDecoder::new(bytes).take(limit)))
        } else {
            json::well_formed(BufReader::new(bytes.take(limit)))
        };
        let mut opened = opened;
        opened
            .rewind()
            .map_err(PublishError::io("read", Path::new(name)))?;
        Ok(verdict.err())
    }

    fn unchanged(&self, opened: &File, before: &Found) -> Result<bool, PublishError> {
        let now = tree::look_open(opened).map_err(PublishError::io(
            "look at a file of",
            self.shared.tree.path(),
        ))?;
        Ok(now.identity == before.identity)
    }

    fn quarantine(
        &self,
        file: &FileName,
        opened: Option<&File>,
        reason: &str,
    ) -> Result<(), PublishError> {
        quarantine::put(
            self.shared,
            self.lane,
            &self.claimed,
            &self.spool_path(file),
            opened,
            reason,
        )
    }

    /// Leaves a file to a later bundle because its writer is not done with it, against the contract.
    fn postpone(&self, file: &FileName) {
        self.lane.metrics.violation("changed");
        tracing::warn!(file = %self.spool_path(file), "a closed file changed while it was read; it waits for the next bundle");
        self.lane.backlog.add(self.date, 0, Instant::now());
    }
}

fn create(path: &Path) -> Result<Output, PublishError> {
    let file = File::create_new(path).map_err(PublishError::io("create bundle", path))?;
    Ok(Hashed::new(BufWriter::new(file)))
}

/// Makes a body durable.
fn close(out: Output, name: &str, body: &str, path: &Path) -> Result<Object, PublishError> {
    let (mut buffer, size_bytes, sha256) = out.into_parts();
    buffer
        .flush()
        .and_then(|()| buffer.get_ref().sync_all())
        .map_err(PublishError::io("sync bundle", path))?;
    Ok(Object {
        name: name.to_owned(),
        body: body.to_owned(),
        size_bytes,
        sha256,
    })
}
