//! Names and places of files.

use std::io;
use std::path::{Path, PathBuf};

use groma_spool::{ExperimentDir, Name, SpoolPath, create_dirs_durable, sync_dir};
use groma_uuid::Uuid;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The folders of one experiment's collector.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    spool: ExperimentDir,
    datatype: Name,
    /// `.tcpinfo`, on the volume of the datatype's directory, so that finished files can be renamed there.
    work: PathBuf,
}

impl Layout {
    /// Creates the folders.
    pub(crate) fn open(spool: ExperimentDir) -> io::Result<Self> {
        let datatype: Name = "tcpinfo".parse().expect("a uniform name");
        let (volume, _) = spool
            .probe(&datatype)
            .map_err(|error| io::Error::new(error.source.kind(), error))?;
        let layout = Self {
            work: volume.place(spool.path(), datatype.as_str(), ".tcpinfo"),
            spool,
            datatype,
        };
        for dir in [
            layout.open_dir(),
            layout.done_dir(),
            layout.new_dir(),
            layout.refused_dir(),
        ] {
            create_dirs_durable(layout.spool.path(), &dir)?;
        }
        Ok(layout)
    }

    pub(crate) fn open_dir(&self) -> PathBuf {
        self.work.join("open")
    }

    pub(crate) fn done_dir(&self) -> PathBuf {
        self.work.join("done")
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
        let (date, rest) = work_name.split_once('.')?;
        let path = SpoolPath {
            datatype: self.datatype.clone(),
            date: date.parse().ok()?,
            file: format!("{rest}.jsonl.zst").parse().ok()?,
        };
        Some(self.spool.file_path(&path))
    }

    /// Creates the folder of `target`, durably.
    pub(crate) fn create_parent(&self, target: &Path) -> io::Result<()> {
        create_dirs_durable(
            self.spool.path(),
            target.parent().unwrap_or(self.spool.path()),
        )
    }

    /// Hands everything that an earlier life left behind to the finisher. Returns how many files were open.
    pub(crate) fn take_over(&self) -> io::Result<usize> {
        for entry in std::fs::read_dir(self.new_dir())? {
            std::fs::remove_file(entry?.path())?;
        }
        let mut open = 0;
        for entry in std::fs::read_dir(self.open_dir())? {
            let entry = entry?;
            std::fs::rename(entry.path(), self.done_dir().join(entry.file_name()))?;
            open += 1;
        }
        sync_dir(&self.done_dir())?;
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_name_says_where_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let spool = ExperimentDir::open(dir.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
        let layout = Layout::open(spool).unwrap();
        let uuid = "host.example_1_00000000000003E8".parse().unwrap();
        let name = Layout::work_name(&uuid, 7, "2026-11-22T23:59:59.9Z".parse().unwrap());
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
