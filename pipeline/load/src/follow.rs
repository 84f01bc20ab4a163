//! Loading what appears in an archive, as it appears.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groma_watch::{Change, TreeWatch, WatchError};

use crate::loader::Patience;
use crate::retry::{Retries, WHOLE_ARCHIVE};
use crate::{LoadError, Loader};

/// Longest wait before `stop` is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How often a watched archive is listed all the same.
const SWEEP: Duration = Duration::from_mins(5);

impl Loader {
    /// Loads every object that is in the archive and every one that appears, until `stop` is set; it is looked at several
    /// times a second, and the object in hand is finished first.
    ///
    /// A load that fails is tried again, first after a second and at most every five minutes. Only a directory that is not there is an
    /// error; one that cannot be watched is listed instead. See [`Loader::watching`].
    pub fn follow(&self, stop: impl AsRef<AtomicBool>) -> Result<(), LoadError> {
        let stop = stop.as_ref();
        let mut retries = Retries::default();
        match self.lake().clear_abandoned() {
            Ok(0) => {}
            Ok(cleared) => tracing::info!(
                cleared,
                "removed unfinished table files of loaders that died"
            ),
            Err(error) => tracing::warn!(%error, "unfinished table files stay"),
        }
        if let Some(root) = &self.watch_root {
            let watched = TreeWatch::new(root)
                .and_then(|watch| self.follow_by_watching(root, watch, stop, &mut retries));
            match watched {
                Ok(()) => return Ok(()),
                Err(error) if !root.is_dir() => {
                    return Err(LoadError::Watch {
                        path: root.clone(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => tracing::warn!(
                    %error,
                    "no directory events: the archive is listed every {} s instead; raise fs.inotify.max_user_instances \
                     or max_user_watches and start again",
                    self.poll.as_secs()
                ),
            }
        }
        self.follow_by_listing(stop, &mut retries);
        Ok(())
    }

    fn follow_by_listing(&self, stop: &AtomicBool, retries: &mut Retries) {
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                self.load_all(stop, retries);
                next = Instant::now() + self.poll;
            }
            self.retry_due(stop, retries);
            std::thread::sleep(TICK);
        }
    }

    /// Ends with `stop`, or with an error when events cannot be read any more.
    fn follow_by_watching(
        &self,
        root: &Path,
        mut watch: TreeWatch,
        stop: &AtomicBool,
        retries: &mut Retries,
    ) -> Result<(), WatchError> {
        // The watch exists, so that nothing can appear unseen between the two.
        self.load_all(stop, retries);
        let mut swept = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            // A file that another machine puts into a shared directory makes no event here.
            if swept.elapsed() >= SWEEP {
                self.load_all(stop, retries);
                swept = Instant::now();
            }
            for change in watch.wait(TICK)? {
                match change {
                    Change::Rescan => self.load_all(stop, retries),
                    Change::File { path, .. } => self.load_path(root, &path, stop, retries),
                }
            }
            self.retry_due(stop, retries);
        }
        Ok(())
    }

    fn load_path(&self, root: &Path, path: &Path, stop: &AtomicBool, retries: &mut Retries) {
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(name) = name.filter(|name| self.is_loadable(name)) {
            self.load_one(name, stop, retries);
        }
    }

    fn load_one(&self, name: &str, stop: &AtomicBool, retries: &mut Retries) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match self.load(name, None, Patience::Wait) {
            Ok(_) => retries.remove(name),
            Err(error) => Self::note(name, &error, retries),
        }
    }

    fn note(name: &str, error: &LoadError, retries: &mut Retries) {
        if matches!(
            error,
            LoadError::Changing { .. } | LoadError::Incomplete { .. }
        ) {
            tracing::info!(object = name, %error, "not loaded yet");
        } else {
            tracing::warn!(object = name, %error, "not loaded");
        }
        if error.is_permanent() {
            retries.remove(name);
        } else {
            retries.add(name, Instant::now());
        }
    }

    fn load_all(&self, stop: &AtomicBool, retries: &mut Retries) {
        let goes_on = || !stop.load(Ordering::Relaxed);
        match self.sweep_with("", goes_on, Patience::Wait) {
            Ok(swept) => {
                retries.remove(WHOLE_ARCHIVE);
                for (name, error) in &swept.failed {
                    Self::note(name, error, retries);
                }
                let (objects, rows) = (swept.objects, swept.rows);
                tracing::debug!(objects, rows, already = swept.already, "swept the archive");
            }
            Err(error) => {
                tracing::warn!(%error, "the archive cannot be listed");
                retries.add(WHOLE_ARCHIVE, Instant::now());
            }
        }
    }

    fn retry_due(&self, stop: &AtomicBool, retries: &mut Retries) {
        for name in retries.due(Instant::now()) {
            if name == WHOLE_ARCHIVE {
                self.load_all(stop, retries);
            } else {
                self.load_one(&name, stop, retries);
            }
        }
    }
}
