//! Names and places of files.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use groma_disk::{Disk, sync_dir};
use groma_spool::{ExperimentDir, Name, SpoolPath};
use groma_uuid::Uuid;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::finish::WHOLE;
use super::journal::Journal;

/// At the end of the name of a file of rows about connections that were not admitted.
pub(crate) const ROWS: &str = "=rows";
/// Folders that hold addresses of people who were not admitted.
const PRIVATE_MODE: u32 = 0o700;

/// The folders of one experiment's collector.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    spool: ExperimentDir,
    datatype: Name,
    /// `.tcpinfo`, on the volume of the datatype's directory, so that finished files can be renamed there.
    work: PathBuf,
    rows: Name,
    /// `.unadmitted`, on the volume of the directory of `rows`; `None` where no rows are written.
    rows_work: Option<PathBuf>,
}

/// The facts in the name of a file that is not yet published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkName {
    pub(crate) date: jiff::civil::Date,
    pub(crate) uuid: Uuid,
    pub(crate) sequence: u32,
}

impl WorkName {
    /// Reads `YYYY-MM-DD.<uuid>.<sequence>`, with or without [`WHOLE`]; `None` for any other name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix(WHOLE).unwrap_or(name);
        let (date, rest) = name.split_once('.')?;
        let (uuid, sequence) = rest.rsplit_once('.')?;
        Some(Self {
            date: date.parse().ok()?,
            uuid: uuid.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }
}

/// Files of connections that an earlier life had not decided about, by cookie, in the order of their sequence.
pub(crate) type Held = HashMap<u64, Vec<String>>;

impl Layout {
    /// Creates the folders; those of rows only where connections need an admission, or did in an earlier life.
    pub(crate) fn open(spool: ExperimentDir, needs_admission: bool) -> io::Result<Self> {
        let [datatype, rows] =
            ["tcpinfo", "unadmitted"].map(|name| name.parse::<Name>().expect("a uniform name"));
        let mut layout = Self {
            work: work_dir(&spool, &datatype)?,
            rows_work: None,
            spool,
            datatype,
            rows,
        };
        layout.spool.create_dirs(&layout.work)?;
        for dir in [layout.held_dir(), layout.unadmitted_dir()] {
            create_private(&dir)?;
        }
        for dir in [
            layout.open_dir(),
            layout.done_dir(),
            layout.new_dir(),
            layout.refused_dir(),
        ] {
            layout.spool.create_dirs(&dir)?;
        }
        let has_rows = needs_admission
            || layout.spool.datatype_dir(&layout.rows).exists()
            || has_files(&layout.held_dir())?
            || has_files(&layout.unadmitted_dir())?;
        if has_rows {
            let dir = work_dir(&layout.spool, &layout.rows)?;
            layout.spool.create_dirs(&dir)?;
            layout.rows_work = Some(dir);
        }
        Ok(layout)
    }

    /// Growing files of admitted connections.
    pub(crate) fn open_dir(&self) -> PathBuf {
        self.work.join("open")
    }

    /// Complete files of admitted connections.
    pub(crate) fn done_dir(&self) -> PathBuf {
        self.work.join("done")
    }

    /// Files, growing or complete, of connections that are not admitted yet. Nothing is published from here.
    pub(crate) fn held_dir(&self) -> PathBuf {
        self.work.join("held")
    }

    /// Files of connections that ended without admission. Each becomes a row without address and is removed.
    pub(crate) fn unadmitted_dir(&self) -> PathBuf {
        self.work.join("unadmitted")
    }

    /// The directory for complete files of such rows; `None` where no rows are written.
    pub(crate) fn rows_dir(&self) -> Option<&Path> {
        self.rows_work.as_deref()
    }

    /// The folder in which a connection's files grow.
    pub(crate) fn growing_dir(&self, admitted: bool) -> PathBuf {
        if admitted {
            self.open_dir()
        } else {
            self.held_dir()
        }
    }

    /// Where the finisher writes; what is left there is worth nothing.
    pub(crate) fn new_dir(&self) -> PathBuf {
        self.work.join("new")
    }

    /// Where files go that can never be published: their name is taken, or none of ours. People look after them.
    pub(crate) fn refused_dir(&self) -> PathBuf {
        self.work.join("refused")
    }

    /// The name of a file while it is written: `YYYY-MM-DD.<uuid>.<sequence>`, the date that of its folder.
    pub(crate) fn work_name(uuid: &Uuid, sequence: u32, time: Timestamp) -> String {
        let date = time.to_zoned(TimeZone::UTC).date();
        format!("{date}.{uuid}.{sequence:05}")
    }

    /// Where a finished file belongs; `None` when its name is none of ours.
    pub(crate) fn target(&self, work_name: &str) -> Option<PathBuf> {
        self.file_path(&self.datatype, work_name, "jsonl.zst")
    }

    /// Where a file of rows belongs; `None` when its name is none of ours.
    pub(crate) fn rows_target(&self, work_name: &str) -> Option<PathBuf> {
        self.file_path(&self.rows, work_name.strip_suffix(ROWS)?, "jsonl")
    }

    fn file_path(&self, datatype: &Name, work_name: &str, ending: &str) -> Option<PathBuf> {
        let (date, rest) = work_name.split_once('.')?;
        let path = SpoolPath {
            datatype: datatype.clone(),
            date: date.parse().ok()?,
            file: format!("{rest}.{ending}").parse().ok()?,
        };
        Some(self.spool.file_path(&path))
    }

    /// Returns the disk with the spool.
    pub(crate) fn disk(&self) -> &Disk {
        self.spool.disk()
    }

    /// Creates the folder of `target`, durably.
    pub(crate) fn create_parent(&self, target: &Path) -> io::Result<()> {
        self.spool
            .create_dirs(target.parent().unwrap_or(self.spool.path()))
    }

    /// Sorts what an earlier life left behind. Files of admitted connections go to the finisher. Files that may still be
    /// admitted stay, and are returned with the number of files that were open. `cookie_of` returns the cookie of a UUID of
    /// this boot, which can still be announced. Files of other boots become rows without address.
    pub(crate) fn take_over(
        &self,
        journal: &mut Journal,
        cookie_of: impl Fn(&Uuid) -> Option<u64>,
    ) -> io::Result<(usize, Held)> {
        for entry in std::fs::read_dir(self.new_dir())? {
            std::fs::remove_file(entry?.path())?;
        }
        let mut open = 0;
        for entry in std::fs::read_dir(self.open_dir())? {
            let entry = entry?;
            std::fs::rename(entry.path(), self.done_dir().join(entry.file_name()))?;
            open += 1;
        }
        let held = self.take_over_held(journal, cookie_of)?;
        sync_dir(&self.done_dir())?;
        Ok((open, held))
    }

    fn take_over_held(
        &self,
        journal: &mut Journal,
        cookie_of: impl Fn(&Uuid) -> Option<u64>,
    ) -> io::Result<Held> {
        let mut by_uuid: HashMap<Uuid, Vec<(u32, String)>> = HashMap::new();
        for entry in std::fs::read_dir(self.held_dir())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            match WorkName::parse(&name) {
                Some(known) => {
                    let files = by_uuid.entry(known.uuid).or_default();
                    files.push((known.sequence, name));
                }
                // Nothing of ours: it is removed with the files that become rows.
                None => self.refuse(&[name])?,
            }
        }
        let mut held = Held::new();
        for (uuid, mut files) in by_uuid {
            files.sort();
            let names: Vec<String> = files.into_iter().map(|(_, name)| name).collect();
            match cookie_of(&uuid) {
                Some(cookie) if journal.is_admitted(cookie) => {
                    self.admit(&names)?;
                    journal.moved(cookie);
                }
                Some(cookie) => {
                    held.insert(cookie, names);
                }
                None => self.refuse(&names)?,
            }
        }
        Ok(held)
    }

    /// Hands held files of an admitted connection to the finisher.
    pub(crate) fn admit(&self, names: &[String]) -> io::Result<()> {
        names.iter().try_for_each(|name| {
            move_file(&self.held_dir().join(name), &self.done_dir().join(name))
        })
    }

    /// Gives up held files of one connection, in the order of their sequence: the last one, whose counters are those of
    /// the whole connection, becomes a row.
    pub(crate) fn refuse(&self, names: &[String]) -> io::Result<()> {
        let Some((last, earlier)) = names.split_last() else {
            return Ok(());
        };
        for name in earlier {
            match std::fs::remove_file(self.held_dir().join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let to = self.unadmitted_dir().join(last);
        move_file(&self.held_dir().join(last), &to)
    }
}

/// The folder `.<datatype>` on the volume of a datatype's directory, from which files can be renamed into it.
fn work_dir(spool: &ExperimentDir, datatype: &Name) -> io::Result<PathBuf> {
    let (volume, _) = spool
        .probe(datatype)
        .map_err(|error| io::Error::new(error.source.kind(), error))?;
    Ok(volume.place(
        spool.path(),
        datatype.as_str(),
        &format!(".{}", datatype.as_str()),
    ))
}

fn has_files(dir: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(dir)?.next().is_some())
}

/// Moves a file; one that an earlier attempt moved is where it belongs.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Creates a folder that only the user of this process can enter, whatever the umask.
pub(crate) fn create_private(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE_MODE).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(PRIVATE_MODE))?;
    sync_dir(dir.parent().unwrap_or(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_name_says_where_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
        let layout = Layout::open(spool, false).unwrap();
        let uuid = "host.example_1_00000000000003E8".parse().unwrap();
        let name = Layout::work_name(&uuid, 7, "2026-11-22T23:59:59.9Z".parse().unwrap());
        assert!(!dir.path().join("ndt/unadmitted").exists());
        let target = layout.target(&name).unwrap();
        let expected = "ndt/tcpinfo/2026/11/22/host.example_1_00000000000003E8.00007.jsonl.zst";
        assert_eq!(target, dir.path().join(expected));
        for bad in [
            "",
            "x",
            "2026-11-22",
            "2026-99-22.a.00000",
            "2026-11-22.a/b.00000",
        ] {
            assert_eq!(layout.target(bad), None, "{bad}");
        }
    }
}
