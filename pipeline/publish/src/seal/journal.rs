//! The journal: what a bundle is made of, written durably before its first byte leaves, and the receipt of its arrival.
//!
//! `<state>/bundles/<id>/bundle.json` says which bytes go under which names and which files they came from. It becomes
//! `<state>/receipts/YYYY-MM-DD/<id>.json` when the archive has them, and only then may a file be unlinked.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use groma_disk::{Disk, Entry, Taken};
use groma_spool::{FileName, Name, SpoolPath};
use jiff::Timestamp;
use jiff::civil::Date;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::tree::Identity;
use crate::{Config, Form, PublishError, deliver::receipts};

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Path below the experiment's directory, as its writer knew it.
    pub(crate) path: String,
    /// Name within the object: tar member name, or `Archiver.Filename` of a line.
    #[serde(rename = "member")]
    pub(crate) name: String,
    /// SHA-256 of the file, in hex. Path, size and checksum identify it: device and inode change with a mount or a copy.
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
    /// The file that this run of the publisher has read; absent after a restart.
    #[serde(skip)]
    pub(crate) seen: Option<Identity>,
}

impl Member {
    pub(crate) fn spool_path(&self) -> Option<SpoolPath> {
        self.path.parse().ok()
    }
}

/// One object of a bundle; its bytes are the file `body` beside the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    /// Whether this process has seen the archive hold it, so that it is not sent again when the next object fails.
    #[serde(skip)]
    pub(crate) is_stored: bool,
}

/// A sealed bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    pub(crate) id: String,
    pub(crate) experiment: Name,
    pub(crate) datatype: Name,
    pub(crate) date: Date,
    pub(crate) form: Form,
    /// In the order in which they are put; the first holds the members.
    pub(crate) objects: Vec<Object>,
    pub(crate) members: Vec<Member>,
    /// When the archive had all of it; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published_at: Option<Timestamp>,
}

/// The mode of files in the state directory.
pub(crate) const STATE_MODE: u32 = 0o600;
const ROOM_FILE: &str = "room";
pub(crate) const JOURNAL_FILE: &str = "bundle.json";

impl Bundle {
    #[track_caller]
    pub(crate) fn write(&self, disk: &Disk, dir: &Path) -> Result<(), PublishError> {
        let path = dir.join(JOURNAL_FILE);
        disk.rewrite_durable(&path, &self.to_json(), STATE_MODE)
            .map_err(PublishError::io("write bundle journal", &path))
    }

    /// The journal of a bundle directory, `None` when it was never sealed.
    pub(crate) fn read(dir: &Path) -> Result<Option<Bundle>, PublishError> {
        let path = dir.join(JOURNAL_FILE);
        let bundle = read_json(&path)?;
        if let Some(bundle) = &bundle {
            bundle.check(dir).map_err(|reason| {
                let error = io::Error::new(io::ErrorKind::InvalidData, reason);
                PublishError::io("read bundle journal", &path)(error)
            })?;
        }
        Ok(bundle)
    }

    /// Checks the names in a journal: none may lead out of its directory.
    fn check(&self, dir: &Path) -> Result<(), String> {
        if dir.file_name().is_none_or(|name| name != &*self.id) {
            return Err(format!("the id {:?} is not the directory's name", self.id));
        }
        let body = |object: &Object| object.body.parse::<FileName>();
        if let Some(error) = self.objects.iter().find_map(|object| body(object).err()) {
            return Err(error.to_string());
        }
        let path = |member: &Member| member.path.parse::<SpoolPath>();
        let bad = self.members.iter().find_map(|member| path(member).err());
        bad.map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Writes the receipt, durably. The journal keeps the moment first, so that a repetition names the same file.
    pub(crate) fn acknowledge(&mut self, config: &Config, dir: &Path) -> Result<(), PublishError> {
        let now = *self.published_at.get_or_insert_with(|| (config.clock)());
        match config.disk.remove(Entry::path(&dir.join(ROOM_FILE))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(PublishError::io("make room for a receipt in", dir)(error));
            }
            _ => {}
        }
        self.write(&config.disk, dir)?;
        receipts::record(&config.disk, &config.state_dir, self, now)
    }

    /// Takes as much room as the receipt will need: without it a disk could be so full of sealed bundles that none of them
    /// could ever be put on record, and so none removed.
    pub(crate) fn keep_room(&self, disk: &Disk, dir: &Path) -> Result<(), PublishError> {
        /// For directory entries and the blocks that are not filled.
        const BLOCKS_BYTES: u64 = 32 * 1024;
        let path = dir.join(ROOM_FILE);
        let journal_bytes = self.to_json().len() as u64;
        let make = || {
            let room = disk.create_file(Entry::path(&path), STATE_MODE, Taken::Replace)?;
            let (flags, size_bytes) = (FallocateFlags::empty(), 3 * journal_bytes + BLOCKS_BYTES);
            match fallocate(room.file(), flags, 0, size_bytes) {
                // Where the file system cannot, there is the reserve.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                made => Ok(made?),
            }
        };
        make().map_err(PublishError::io("keep room for a receipt in", dir))
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a journal has string keys only")
    }
}

pub(crate) fn read_json(path: &Path) -> Result<Option<Bundle>, PublishError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PublishError::io("open journal", path)(error)),
    };
    serde_json::from_reader(BufReader::new(file))
        .map(Some)
        .map_err(|error| PublishError::io("read journal", path)(error.into()))
}
