//! Loading what appears in an archive, as it appears.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groma_watch::{Change, TreeWatch, WatchError};

use crate::{LoadError, Loader};

/// Longest wait before `stop` is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How often an archive without a directory to watch is listed.
const POLL: Duration = Duration::from_secs(5);

/// Wait before the first retry; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between retries.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// Most objects that wait for a retry. Beyond it the whole archive waits in their place.
const MOST_RETRIES: usize = 1024;

/// What waits for a sweep of everything; no object is called so.
const WHOLE_ARCHIVE: &str = "";

/// What failed and when to try it again.
#[derive(Default)]
struct Retries(HashMap<String, Retry>);

struct Retry {
    due: Instant,
    wait: Duration,
}

impl Retries {
    fn add(&mut self, name: &str, now: Instant) {
        let is_new = !self.0.contains_key(name);
        let name = if is_new && self.0.len() >= MOST_RETRIES {
            WHOLE_ARCHIVE
        } else {
            name
        };
        let again = |retry: &Retry| (retry.wait * 2).min(LONGEST_RETRY);
        let wait = self.0.get(name).map_or(FIRST_RETRY, again);
        let due = now + wait;
        self.0.insert(name.to_owned(), Retry { due, wait });
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn due(&self, now: Instant) -> Vec<String> {
        let due = self.0.iter().filter(|(_, retry)| retry.due <= now);
        due.map(|(name, _)| name.clone()).collect()
    }
}

impl Loader {
    /// Loads every object that is in the archive and every one that appears, until `stop` is set; it is looked at several
    /// times a second, and the object in hand is finished first.
    ///
    /// What fails is tried again, after a second first and at most every five minutes. Only a directory that cannot be watched
    /// to begin with is an error; see [`Loader::watching`].
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
            let watch = TreeWatch::new(root).map_err(|error| LoadError::Watch {
                path: root.clone(),
                reason: error.to_string(),
            })?;
            let Err(error) = self.follow_by_watching(root, watch, stop, &mut retries) else {
                return Ok(());
            };
            tracing::warn!(%error, "watching failed; listing the archive from now on");
        }
        self.follow_by_listing(stop, &mut retries);
        Ok(())
    }

    fn follow_by_listing(&self, stop: &AtomicBool, retries: &mut Retries) {
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                self.load_all(stop, retries);
                next = Instant::now() + POLL;
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
        // The watch stands, so that nothing can appear between the two unseen.
        self.load_all(stop, retries);
        while !stop.load(Ordering::Relaxed) {
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
        match self.load_object(name, None) {
            Ok(loaded) => {
                retries.remove(name);
                if !loaded.already {
                    let (rows, errors) = (loaded.rows, loaded.errors);
                    tracing::info!(object = name, rows, errors, "loaded");
                }
            }
            Err(error) => Self::note(name, &error, retries),
        }
    }

    fn note(name: &str, error: &LoadError, retries: &mut Retries) {
        tracing::warn!(object = name, %error, "not loaded");
        if error.is_permanent() {
            retries.remove(name);
        } else {
            retries.add(name, Instant::now());
        }
    }

    fn load_all(&self, stop: &AtomicBool, retries: &mut Retries) {
        match self.sweep_until("", stop) {
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{FIRST_RETRY, LONGEST_RETRY, MOST_RETRIES, Retries, WHOLE_ARCHIVE};

    #[test]
    fn retries_back_off_to_a_bound() {
        let mut retries = Retries::default();
        let now = Instant::now();
        retries.add("a", now);
        assert!(retries.due(now).is_empty());
        assert_eq!(retries.due(now + FIRST_RETRY), ["a"]);
        for _ in 0..20 {
            retries.add("a", now);
        }
        assert!(retries.due(now + LONGEST_RETRY / 2).is_empty());
        assert_eq!(retries.due(now + LONGEST_RETRY), ["a"]);
        retries.remove("a");
        assert!(retries.due(now + LONGEST_RETRY).is_empty());
    }

    #[test]
    fn too_many_failures_end_in_a_sweep() {
        let mut retries = Retries::default();
        let now = Instant::now();
        for number in 0..2 * MOST_RETRIES {
            retries.add(&number.to_string(), now);
        }
        assert_eq!(retries.0.len(), MOST_RETRIES + 1);
        assert!(
            retries
                .due(now + LONGEST_RETRY)
                .contains(&WHOLE_ARCHIVE.to_owned())
        );
    }
}
