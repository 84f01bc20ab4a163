//! Actions of an operator on files in quarantine. Each is recorded in `<state>/quarantine/audit.jsonl` before it happens.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use groma_disk::{Dir, Disk, Entry, Taken};
use groma_spool::{ExperimentDir, FileName, Name, SpoolPath};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::PublishError;
use crate::files::visible_entries;
use crate::quarantine::{NOTE_END, QUARANTINE_DIR, note_path};

/// A copy from another file system takes no longer; until then a reason may be of a file that is about to come.
const ON_ITS_WAY: Duration = Duration::from_mins(10);

/// The files in quarantine of one publisher.
#[derive(Clone, Debug)]
pub struct Quarantine {
    dir: PathBuf,
    disk: Disk,
}

/// A file in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Its name in the quarantine: `<datatype>/YYYY-MM-DD/<name>`.
    pub id: String,
    /// Where it was in the spool: `<datatype>/YYYY/MM/DD/<file>`; absent when its reason file is missing.
    pub path: Option<String>,
    /// Why it was not published.
    pub reason: String,
    /// Its size in bytes; of a link, that of the link; 0 if it is missing.
    pub size_bytes: u64,
    /// Only its reason is here: the file was too large and stays among the claimed ones, is about to come, or was taken away.
    pub is_missing: bool,
}

#[derive(Deserialize)]
struct Note {
    path: String,
    reason: String,
}

#[derive(Serialize)]
struct Audit<'a> {
    time: Timestamp,
    action: &'static str,
    by: &'a str,
    #[serde(flatten)]
    file: &'a Quarantined,
}

impl Quarantine {
    /// The quarantine in a publisher's state directory, which may be at work.
    pub fn open(state_dir: &Path) -> Quarantine {
        Quarantine {
            dir: state_dir.join(QUARANTINE_DIR),
            disk: Disk::default(),
        }
    }

    /// Everything in it, sorted.
    pub fn list(&self) -> Result<Vec<Quarantined>, PublishError> {
        let mut found = Vec::new();
        for datatype in directories(&self.dir)? {
            for date in directories(&datatype)? {
                for file in quarantined_in(&date)? {
                    if let Ok(id) = file.strip_prefix(&self.dir) {
                        found.extend(self.look(&id.to_string_lossy())?);
                    }
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// One file, or what is known of one that is missing; `None` if there is nothing of that id.
    pub fn look(&self, id: &str) -> Result<Option<Quarantined>, PublishError> {
        let Some(file) = self.file(id) else {
            return Ok(None);
        };
        let note: Option<Note> = fs::read(note_path(&file))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let size_bytes = match file.symlink_metadata() {
            Ok(metadata) if !metadata.is_dir() => Some(metadata.len()),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(PublishError::io("look at", &file)(error)),
        };
        if size_bytes.is_none() && note.is_none() {
            return Ok(None);
        }
        Ok(Some(Quarantined {
            id: id.to_owned(),
            size_bytes: size_bytes.unwrap_or_default(),
            is_missing: size_bytes.is_none(),
            reason: note
                .as_ref()
                .map_or("its reason file is missing", |note| &note.reason)
                .to_owned(),
            path: note.map(|note| note.path),
        }))
    }

    /// The content of a file, for people to look at. Never follows a link and never waits for a writer.
    pub fn content(&self, id: &str) -> Result<File, PublishError> {
        let file = self.file(id).unwrap_or_default();
        open_plain(&file).map_err(PublishError::io("open", &file))
    }

    /// Moves a file back to the spool, where it is judged again. Its name must be free there.
    pub fn release(
        &self,
        file: &Quarantined,
        spool: &ExperimentDir,
        by: &str,
    ) -> Result<SpoolPath, PublishError> {
        let from = self.file(&file.id).unwrap_or_default();
        let failed = |operation| PublishError::io(operation, &from);
        let path = file.path.as_ref().and_then(|path| path.parse().ok());
        let path: SpoolPath = path.ok_or_else(|| {
            failed("find the place in the spool of")(io::ErrorKind::InvalidData.into())
        })?;
        let mut content = open_plain(&from).map_err(failed("open"))?;
        self.audit("release", file, by)?;
        let to = spool.file_path(&path);
        let parent = to.parent().unwrap_or(&to);
        self.disk
            .create_dirs(spool.path(), parent, 0o755)
            .map_err(PublishError::io("create", parent))?;
        let moved = self
            .disk
            .rename(Entry::path(&from), Entry::path(&to), Taken::Refuse);
        match moved {
            Ok(()) => self
                .disk
                .sync_dir(Dir::Path(parent))
                .map_err(PublishError::io("sync", parent))?,
            // The state directory may be another file system than the spool.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copied = spool.create(&path).and_then(|mut copy| {
                    io::copy(&mut content, &mut copy).map_err(|source| {
                        groma_spool::SpoolError {
                            operation: "write spool file",
                            path: to.clone(),
                            source,
                        }
                    })?;
                    copy.commit()
                });
                copied.map_err(|error| PublishError::io(error.operation, &to)(error.source))?;
                self.disk
                    .remove(Entry::path(&from))
                    .map_err(failed("remove"))?;
            }
            Err(error) => return Err(failed("release")(error)),
        }
        self.remove_note(&from)?;
        Ok(path)
    }

    /// Deletes a file and its reason. If the file is missing, only the reason exists.
    pub fn drop(&self, file: &Quarantined, by: &str) -> Result<(), PublishError> {
        let path = self.file(&file.id).unwrap_or_default();
        if file.is_missing && age(&note_path(&path)).is_none_or(|age| age < ON_ITS_WAY) {
            let reason =
                "its reason is new and the file may be on its way; try again in ten minutes";
            let busy = io::Error::new(io::ErrorKind::ResourceBusy, reason);
            return Err(PublishError::io("drop", &path)(busy));
        }
        self.audit("drop", file, by)?;
        if !file.is_missing {
            self.disk
                .remove(Entry::path(&path))
                .map_err(PublishError::io("drop", &path))?;
        }
        self.remove_note(&path)
    }

    fn remove_note(&self, file: &Path) -> Result<(), PublishError> {
        let note = note_path(file);
        match self.disk.remove(Entry::path(&note)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PublishError::io("remove", &note)(error))
            }
            _ => Ok(()),
        }
    }

    /// The path of a well-formed id.
    fn file(&self, id: &str) -> Option<PathBuf> {
        let (datatype, rest) = id.split_once('/')?;
        let (date, name) = rest.split_once('/')?;
        let datatype: Name = datatype.parse().ok()?;
        let date: Date = date.parse().ok()?;
        let name: FileName = name.parse().ok()?;
        let dir = self.dir.join(datatype.as_str()).join(date.to_string());
        Some(dir.join(name.as_str()))
    }

    fn audit(
        &self,
        action: &'static str,
        file: &Quarantined,
        by: &str,
    ) -> Result<(), PublishError> {
        let path = self.dir.join("audit.jsonl");
        let mut line = serde_json::to_vec(&Audit {
            time: Timestamp::now(),
            action,
            by,
            file,
        })
        .expect("an audit line has string keys only");
        line.push(b'\n');
        let mut options = File::options();
        options.append(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = || {
            let mut log = options.open(&path)?;
            log.write_all(&line)?;
            log.sync_all()
        };
        write().map_err(PublishError::io("write audit log", &path))
    }
}

/// Opens a regular file, without following a link or waiting for a writer.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// The files of a date in quarantine, and those of which there is only the reason.
fn quarantined_in(date: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let entries = visible_entries(date)?;
    let there: BTreeSet<&PathBuf> = entries.iter().collect();
    // A file may have a name that ends as those of reasons do; it is known by its own.
    let notes: BTreeSet<PathBuf> = entries
        .iter()
        .map(|entry| note_path(entry))
        .filter(|note| there.contains(note))
        .collect();
    let mut files = Vec::new();
    for entry in entries.iter().filter(|entry| !notes.contains(*entry)) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        files.push(match name.strip_suffix(NOTE_END) {
            Some(missing) if !there.contains(&note_path(entry)) => entry.with_file_name(missing),
            _ => entry.clone(),
        });
    }
    Ok(files)
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let mut paths = visible_entries(dir)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

/// How long ago a file was written; `None` if there is none, or it is of the future.
fn age(path: &Path) -> Option<Duration> {
    path.symlink_metadata()
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .ok()
}
