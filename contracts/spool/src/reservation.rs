//! Room for a result that does not exist yet.

use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::pending::Unnamed;
use crate::{ExperimentDir, Name, SpoolError, SpoolPath};

/// An empty file in `.tmp` whose blocks and inode are taken already: a test that was admitted can leave its result although
/// the disk has become full meanwhile. Dropped, it is removed.
#[derive(Debug)]
pub struct Reservation {
    unnamed: Unnamed,
}

impl Reservation {
    pub(crate) fn take(
        dir: &ExperimentDir,
        datatype: &Name,
        size_bytes: u64,
    ) -> Result<Self, SpoolError> {
        let mut unnamed = Unnamed::create(dir, datatype)?;
        allocate(&mut unnamed, size_bytes)
            .map_err(SpoolError::at("take room in", dir.datatype_dir(datatype)))?;
        Ok(Self { unnamed })
    }

    /// Writes a whole file into the room and gives it its name, durably. The name must be free. After an error it may be
    /// called again; the room stays taken.
    pub fn write(&mut self, path: &SpoolPath, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
        let file = self.unnamed.file.file();
        let written = file
            .file_mut()
            .rewind()
            .and_then(|()| file.write_all(bytes))
            // The rest of the room is free again before the directory may need a block.
            .and_then(|()| file.file().set_len(bytes.len() as u64));
        written.map_err(SpoolError::at("write spool file", path.to_string()))?;
        self.unnamed.commit(path)
    }
}

fn allocate(unnamed: &mut Unnamed, size_bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    if size_bytes == 0 {
        return Ok(());
    }
    match fallocate(
        unnamed.file.file().file(),
        FallocateFlags::empty(),
        0,
        size_bytes,
    ) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        allocated => return Ok(allocated?),
    }
    // A file system that cannot allocate takes blocks as they are written.
    let mut left = size_bytes;
    while left > 0 {
        let now = left.min(ZEROS.len() as u64);
        unnamed.file.write_all(&ZEROS[..now as usize])?;
        left -= now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_reservation_takes_blocks_and_its_file_has_only_what_was_written() {
        let keep = tempfile::tempdir().unwrap();
        let dir = ExperimentDir::open(keep.path().join("ndt"), "ndt".parse().unwrap()).unwrap();
        let datatype = "ndt7".parse().unwrap();
        let mut room = dir.reserve(&datatype, 300_000).unwrap();
        let unfinished = |dir: &ExperimentDir| fs::read_dir(dir.tmp_dir()).unwrap().count();
        assert!(room.unnamed.file.file().file().metadata().unwrap().blocks() * 512 >= 300_000);
        assert_eq!(unfinished(&dir), 1);
        let taken: SpoolPath = "ndt7/2026/11/22/taken.json".parse().unwrap();
        dir.write(&taken, b"first").unwrap();
        assert!(room.write(&taken, b"second").unwrap_err().is_exists());
        let free: SpoolPath = "ndt7/2026/11/22/free.json".parse().unwrap();
        let written = room.write(&free, b"{}").unwrap();
        drop(room);
        assert_eq!(fs::read(written).unwrap(), b"{}");
        assert_eq!(fs::read(dir.file_path(&taken)).unwrap(), b"first");
        drop(dir.reserve(&datatype, 10).unwrap());
        assert_eq!(unfinished(&dir), 0);
    }
}
