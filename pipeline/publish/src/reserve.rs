//! Room that is set aside for the day when the disk is full, so that publishing, which is what makes room, goes on.
//!
//! `<state>/reserve` is a file without content of any use, and `<state>/reserve-inodes/` holds empty ones, because a disk may
//! run out of either. When a step of the publisher finds no room they are removed, and made again when there is room for
//! them and as much beside them. While they are missing, or less is free where the spool or the state is, the experiment is
//! asked, by a file in its spool, not to admit tests.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Timespec, Timestamps, UTIME_NOW, fallocate, statvfs, utimensat,
};
use rustix::io::Errno;

use crate::Config;
use crate::error::is_full;
use crate::seal::journal::STATE_MODE;

/// As many files as a bundle and its receipt take, with their directories, also those of an archive on the same disk.
const INODES: u64 = 32;

/// Returns the default size of the reserve in bytes: 256 MB, or an eighth of a smaller disk. `state_dir` may be
/// missing yet.
pub fn default_reserve_bytes(state_dir: &Path) -> u64 {
    const USUAL_BYTES: u64 = 256_000_000;
    let path = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_path_buf());
    let found = path.ancestors().find_map(|dir| statvfs(dir).ok());
    found.map_or(USUAL_BYTES, |found| {
        USUAL_BYTES.min(found.f_blocks.saturating_mul(found.f_frsize) / 8)
    })
}

/// The reserve of one publisher.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    inodes: PathBuf,
    size_bytes: u64,
    spool: PathBuf,
    stop_file: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether the reserve is there.
    pub(crate) is_held: bool,
    /// Whether the experiment is asked not to admit tests.
    pub(crate) is_stopped: bool,
    /// A step found no room and none has succeeded since. What `statvfs` says is not all: a quota may be used up.
    awaits_success: bool,
}

impl Reserve {
    /// Looks at what an earlier run left, and makes the reserve if there is room.
    pub(crate) fn open(config: &Config) -> Reserve {
        let path = config.state_dir.join("reserve");
        let stop_file = config.spool.admission_stop_file();
        let is_stopped = stop_file.symlink_metadata().is_ok();
        let inodes = config.state_dir.join("reserve-inodes");
        let has_size = path
            .metadata()
            .is_ok_and(|found| config.reserve_bytes > 0 && found.len() == config.reserve_bytes);
        let has_inodes =
            fs::read_dir(&inodes).is_ok_and(|entries| entries.count() as u64 == INODES);
        let is_held = has_size && has_inodes;
        if !is_held {
            // Of another size, or half of one.
            let _ = remove(&path, &inodes);
        }
        let reserve = Reserve {
            path,
            inodes,
            size_bytes: config.reserve_bytes,
            spool: config.spool.path().to_path_buf(),
            stop_file,
            state: Mutex::new(State {
                is_held,
                is_stopped,
                awaits_success: false,
            }),
        };
        reserve.tend();
        reserve
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Gives the reserve away if that makes room at a place where a step found none.
    pub(crate) fn release_for(&self, place: &Path) {
        if self.is_beside(place) {
            self.release();
        }
    }

    /// Whether what is set aside lies on the same disk.
    fn is_beside(&self, place: &Path) -> bool {
        // The path and its directory may not exist yet.
        let found = place.ancestors().find_map(|path| path.metadata().ok());
        let own = self.path.parent().and_then(|dir| dir.metadata().ok());
        matches!((found, own), (Some(found), Some(own)) if found.dev() == own.dev())
    }

    /// Gives the reserve away, because a step found no room.
    pub(crate) fn release(&self) {
        if self.size_bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.awaits_success = true;
        self.give_away(&mut state);
        self.stop(&mut state);
    }

    fn give_away(&self, state: &mut State) {
        if state.is_held {
            match remove(&self.path, &self.inodes) {
                Ok(()) => tracing::error!(
                    reserve_bytes = self.size_bytes,
                    "the disk is full: the reserve is released, and no tests are admitted"
                ),
                Err(error) => tracing::error!(%error, "could not release the reserve"),
            }
            state.is_held = false;
        }
    }

    /// A step that takes room has succeeded, or nothing waits that needs any.
    pub(crate) fn succeeded(&self) {
        self.lock().awaits_success = false;
    }

    /// Restores the reserve if there is room, and updates the file for the experiment. The publisher calls it about once a second.
    pub(crate) fn tend(&self) -> State {
        let mut state = self.lock();
        if self.size_bytes == 0 {
            if state.is_stopped {
                self.admit(&mut state);
            }
            return *state;
        }
        let dir = self.path.parent().unwrap_or(&self.path);
        let (Ok(in_state), Ok(in_spool)) = (free(dir), free(&self.spool)) else {
            return *state;
        };
        if state.awaits_success {
            self.stop(&mut state);
            return *state;
        }
        let has_room =
            in_state.bytes >= self.size_bytes.saturating_mul(2) && in_state.inodes >= 2 * INODES;
        if !state.is_held && has_room {
            match self.make() {
                Ok(()) => state.is_held = true,
                Err(error) => {
                    tracing::warn!(%error, "could not set the reserve aside");
                    let _ = remove(&self.path, &self.inodes);
                }
            }
        }
        let in_state = free(dir).unwrap_or_default();
        let free_bytes = in_state.bytes.min(in_spool.bytes);
        let has_inodes = in_state.has_inodes && in_spool.has_inodes;
        // More room is asked for to begin again than to go on, or tests would come and go by the second.
        let needed = if state.is_stopped {
            self.size_bytes.saturating_add(self.size_bytes / 2)
        } else {
            self.size_bytes
        };
        if state.is_held && has_inodes && free_bytes >= needed {
            self.admit(&mut state);
        } else {
            self.stop(&mut state);
        }
        *state
    }

    fn make(&self) -> io::Result<()> {
        let mut options = File::options();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(STATE_MODE);
        let file = options.open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.size_bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let mut left = self.size_bytes;
                let zeros = vec![0; 64 * 1024];
                while left > 0 {
                    let now = left.min(zeros.len() as u64);
                    (&file).write_all(&zeros[..now as usize])?;
                    left -= now;
                }
            }
            made => made?,
        }
        file.sync_all()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.inodes)?;
        for number in 0..INODES {
            options.open(self.inodes.join(number.to_string()))?;
        }
        Ok(())
    }

    fn stop(&self, state: &mut State) {
        if self.renew().is_ok() {
            if !state.is_stopped {
                tracing::error!(file = %self.stop_file.display(), "the disk is nearly full: still no tests are admitted");
                state.is_stopped = true;
            }
            return;
        }
        // The publisher owns this file: one that it cannot renew is replaced.
        let _ = fs::remove_file(&self.stop_file);
        let mut written = self.write_stop();
        if written.as_ref().is_err_and(is_full) && self.is_beside(&self.spool) {
            // Not even for this there is room.
            self.give_away(state);
            written = self.write_stop();
        }
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::error!(%error, file = %self.stop_file.display(), "could not stop the admission of tests; it will be tried again");
            }
            _ => {
                tracing::error!(file = %self.stop_file.display(), "the disk is nearly full: no tests are admitted");
                state.is_stopped = true;
            }
        }
    }

    fn write_stop(&self) -> io::Result<()> {
        let text = format!(
            "{{\"reason\":\"disk_full\",\"since\":\"{}\"}}\n",
            jiff::Timestamp::now()
        );
        // The experiment may have created a link under this name, which is not followed.
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&self.stop_file)?;
        // That it is there is what counts.
        file.write_all(text.as_bytes()).or(Ok(()))
    }

    /// Renews the stop. Experiments ignore one that is not renewed.
    fn renew(&self) -> io::Result<()> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        utimensat(CWD, &self.stop_file, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn admit(&self, state: &mut State) {
        if !state.is_stopped {
            return;
        }
        match fs::remove_file(&self.stop_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%error, file = %self.stop_file.display(), "could not remove the admission stop");
            }
            _ => {
                tracing::info!("the disk has room again: tests are admitted");
                state.is_stopped = false;
            }
        }
    }
}

fn remove(file: &Path, inodes: &Path) -> io::Result<()> {
    let is_gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    is_gone(fs::remove_file(file)).and(is_gone(fs::remove_dir_all(inodes)))
}

/// The room that is left for an unprivileged writer.
#[derive(Clone, Copy, Debug, Default)]
struct Free {
    bytes: u64,
    /// So many files.
    inodes: u64,
    /// More than a hundredth is left, or ten thousand.
    has_inodes: bool,
}

fn free(dir: &Path) -> io::Result<Free> {
    let found = statvfs(dir)?;
    Ok(Free {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        // Where inodes are made as they are needed, their number is zero.
        inodes: if found.f_files == 0 {
            u64::MAX
        } else {
            found.f_favail
        },
        has_inodes: found.f_favail >= (found.f_files / 100).min(10_000),
    })
}
