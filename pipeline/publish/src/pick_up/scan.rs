//! Walking the trees of all datatypes: at the start, when the watch lost events, and now and then.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use groma_spool::{Name, date_dir};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::pick_up::Picker;
use crate::pick_up::blocked::Reason;
use crate::tree::Tree;

/// As long as M-Lab's pusher waits before it removes an empty directory.
const UNUSED: Duration = Duration::from_hours(25);
/// Directories that are named in a log line of their own.
const UNDECLARED_MOST: usize = 100;
const TEND_EVERY: Duration = Duration::from_secs(1);

impl Picker {
    /// Walks the trees of all datatypes.
    pub(crate) fn scan(&mut self) {
        self.forget_dirs();
        if let Err(error) = self.look_for_undeclared() {
            tracing::warn!(%error, "cannot list the experiment's directory");
        }
        let names: Vec<Name> = self.shared.lanes.keys().cloned().collect();
        for name in names {
            self.blocked.entry(name.clone()).or_default().begin_walk();
            match self.scan_datatype(&name) {
                Ok(()) => {
                    let metrics = &self.shared.lanes[&name].metrics;
                    let blocked = self.blocked.entry(name.clone()).or_default();
                    for _ in 0..blocked.end_walk(metrics) {
                        metrics.dropped_unclaimed();
                    }
                }
                Err(error) => {
                    self.shared.lanes[&name].metrics.error("scan");
                    tracing::warn!(datatype = %name, %error, "cannot walk the whole directory; it will be walked again");
                }
            }
        }
    }

    /// Reports directories that look like datatypes and are not configured: their files are not published.
    fn look_for_undeclared(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let root = shared.tree.dir(".")?;
        let mut found = 0_usize;
        shared.tree.each_entry(&root, |name, is_dir| {
            let is_declared = |name: &Name| shared.lanes.contains_key(name);
            if !is_dir || name.parse::<Name>().is_ok_and(|name| is_declared(&name)) {
                return Ok(true);
            }
            found += 1;
            if found <= UNDECLARED_MOST && self.undeclared.insert(name.to_owned()) {
                tracing::warn!(
                    dir = name,
                    "files in this directory are not published: it is not a configured datatype"
                );
            }
            Ok(true)
        })?;
        shared.metrics.undeclared(found);
        Ok(())
    }

    fn scan_datatype(&mut self, datatype: &Name) -> io::Result<()> {
        // Years, months, days: files are expected below exactly three directories.
        const DATE_DEPTH: usize = 3;
        let shared = Arc::clone(&self.shared);
        let tree = &shared.tree;
        let mut waiting = vec![(datatype.to_string(), 0)];
        let mut tended = Instant::now();
        while let Some((relative, depth)) = waiting.pop() {
            let dir = match tree.dir(&relative) {
                Ok(dir) => dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.set_dir(datatype, &relative, None);
                    continue;
                }
                Err(error) => {
                    self.set_dir(datatype, &relative, Some(&error));
                    continue;
                }
            };
            self.set_dir(datatype, &relative, None);
            tree.each_entry(&dir, |name, is_dir| {
                // Listing millions of files takes longer than a stop of admission stays valid without renewal.
                if tended.elapsed() >= TEND_EVERY {
                    shared.reserve.tend();
                    tended = Instant::now();
                }
                let path = format!("{relative}/{name}");
                if is_dir && depth < DATE_DEPTH {
                    if !Self::remove_if_unused(tree, &dir, name, &path)? {
                        waiting.push((path, depth + 1));
                    }
                } else {
                    self.offer(&path, false);
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Notes whether a directory can be read.
    fn set_dir(&mut self, datatype: &Name, relative: &str, error: Option<&io::Error>) {
        let blocked = self.blocked.entry(datatype.clone()).or_default();
        let is_new = blocked.set_dir(relative, error.map(Reason::of));
        if let (Some(error), true) = (error, is_new) {
            tracing::warn!(dir = relative, %error, "cannot read a directory; its files wait");
        }
    }

    /// Removes an empty directory that nothing was put into or taken from for more than a day, unless it is the place of
    /// a day that may still go on somewhere: without that, a node that runs for years walks through thousands.
    fn remove_if_unused(tree: &Tree, parent: &OwnedFd, name: &str, path: &str) -> io::Result<bool> {
        let Some(found) = tree.look(parent, name)? else {
            return Ok(true);
        };
        let yesterday = Timestamp::now() - SignedDuration::from_hours(24);
        let yesterday = date_dir(yesterday.to_zoned(TimeZone::UTC).date());
        let date = path.split_once('/').map_or(path, |(_, date)| date);
        // Years, months and days have fixed widths, so text compares as dates do.
        let is_past = yesterday
            .get(..date.len())
            .is_some_and(|yesterday| date < yesterday);
        if !is_past || found.age() < UNUSED {
            return Ok(false);
        }
        tree.remove_empty_dir(parent, name)
    }
}
