//! Loading what appears in an archive, as it appears.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use groma_watch::{Change, TreeWatch};

use crate::{LoadError, Loader};

/// Longest wait before `stop` is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How often an archive without a directory to watch is listed.
const POLL: Duration = Duration::from_secs(5);

/// Wait before the first retry; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Longest wait between retries.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// Most objects that wait for a retry. Beyond it none is remembered; the whole archive is swept again instead.
const MOST_RETRIES: usize = 1024;

/// Objects that failed and when to try them again.
#[derive(Default)]
struct Retries {
    waiting: HashMap<String, Retry>,
    overflowed: bool,
}

struct Retry {
    due: Instant,
    wait: Duration,
}

impl Retries {
    fn add(&mut self, name: &str, now: Instant) {
        let full = self.waiting.len() >= MOST_RETRIES;
        let wait = match self.waiting.get(name) {
            Some(retry) => (retry.wait * 2).min(LONGEST_RETRY),
            None if full => {
                self.overflowed = true;
                return;
            }
            None => FIRST_RETRY,
        };
        let due = now + wait;
        self.waiting.insert(name.to_owned(), Retry { due, wait });
    }

    fn remove(&mut self, name: &str) {
        self.waiting.remove(name);
    }

    fn due(&self, now: Instant) -> Vec<String> {
        let due = self.waiting.iter().filter(|(_, retry)| retry.due <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// Whether failures were forgotten and all that was remembered is done: time for a sweep.
    fn take_overflow(&mut self) -> bool {
        self.waiting.is_empty() && std::mem::take(&mut self.overflowed)
    }
}

impl Loader {
    /// Loads every object that is in the archive and every one that appears, until `stop` is set; it is looked at several
    /// times a second, and the object in hand is finished first.
    ///
    /// Objects that fail are tried again, after a second first and at most every five minutes. See [`Loader::watching`].
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
        match &self.watch_root {
            None => self.follow_by_listing(stop, &mut retries),
            Some(root) => self.follow_by_watching(root, stop, &mut retries),
        }
    }

    fn follow_by_listing(&self, stop: &AtomicBool, retries: &mut Retries) -> Result<(), LoadError> {
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                self.sweep_with_retries(stop, retries)?;
                next = Instant::now() + POLL;
            }
            self.retry_due(stop, retries);
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn follow_by_watching(
        &self,
        root: &Path,
        stop: &AtomicBool,
        retries: &mut Retries,
    ) -> Result<(), LoadError> {
        let failed = |error: groma_watch::WatchError| LoadError::Watch {
            path: root.to_owned(),
            reason: error.to_string(),
        };
        let mut watch = TreeWatch::new(root).map_err(failed)?;
        // Only now, so that nothing can appear between the sweep and the watch.
        self.sweep_with_retries(stop, retries)?;
        while !stop.load(Ordering::Relaxed) {
            let mut sweep = retries.take_overflow();
            for change in watch.wait(TICK).map_err(failed)? {
                match change {
                    Change::Rescan => sweep = true,
                    Change::File { path, .. } => self.load_path(root, &path, stop, retries),
                }
            }
            if sweep {
                self.sweep_with_retries(stop, retries)?;
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

    fn sweep_with_retries(
        &self,
        stop: &AtomicBool,
        retries: &mut Retries,
    ) -> Result<(), LoadError> {
        let swept = self.sweep_until("", stop)?;
        for (name, error) in &swept.failed {
            Self::note(name, error, retries);
        }
        let (objects, rows) = (swept.objects, swept.rows);
        tracing::debug!(objects, rows, already = swept.already, "swept the archive");
        Ok(())
    }

    fn retry_due(&self, stop: &AtomicBool, retries: &mut Retries) {
        for name in retries.due(Instant::now()) {
            self.load_one(&name, stop, retries);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{FIRST_RETRY, LONGEST_RETRY, MOST_RETRIES, Retries};

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
        for number in 0..=MOST_RETRIES {
            retries.add(&number.to_string(), now);
        }
        assert_eq!(retries.waiting.len(), MOST_RETRIES);
        assert!(!retries.take_overflow(), "what is remembered comes first");
        retries.waiting.clear();
        assert!(retries.take_overflow());
        assert!(!retries.take_overflow());
    }
}
