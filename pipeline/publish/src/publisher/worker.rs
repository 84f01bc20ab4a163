//! One worker per datatype: takes what is due, seals it, delivers it, and starts over. An archive that fails for one
//! datatype holds up no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use groma_spool::Name;
use rand::RngExt;

use crate::deliver::{Delivery, deliver, member_paths};
use crate::pick_up::backlog::Limits;
use crate::seal::journal::Bundle;
use crate::seal::seal;
use crate::shared::{Lane, Shared};
use crate::{PublishError, deliver::table};

const RETRY_FIRST: Duration = Duration::from_millis(100);

pub(crate) struct Worker {
    shared: Arc<Shared>,
    name: Name,
    /// Files of bundles that were set aside: they are not to be bundled again.
    held: BTreeSet<String>,
    table_is_published: bool,
}

/// The grace time is over. Unfinished work stays on disk for the next start.
struct OutOfTime;

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, name: Name, held: BTreeSet<String>) -> Worker {
        Worker {
            shared,
            name,
            held,
            table_is_published: false,
        }
    }

    fn lane(&self) -> &Lane {
        &self.shared.lanes[&self.name]
    }

    /// Works until the backlog ends, first on the bundles that an earlier run has sealed.
    pub(crate) fn run(mut self, recovered: Vec<(Bundle, PathBuf)>) {
        if self.work(recovered).is_err() {
            tracing::warn!(datatype = %self.name, "stopped before everything was delivered; the next start goes on");
        }
    }

    fn work(&mut self, recovered: Vec<(Bundle, PathBuf)>) -> Result<(), OutOfTime> {
        self.publish_table();
        for (bundle, dir) in recovered {
            self.carry(bundle, &dir)?;
        }
        let config = &self.shared.config;
        let limits = Limits {
            age: config.flush_age,
            size_bytes: config.flush_bytes,
        };
        let (mut failures, mut cap) = (0, config.max_members);
        while let Some((date, mut batch)) = self.lane().backlog.take(limits) {
            match seal(&self.shared, self.lane(), &self.held, date, &mut cap) {
                Ok(sealed) => {
                    failures = 0;
                    self.lane().hold_for_quarantine(false);
                    if sealed.more {
                        batch.size_bytes = batch.size_bytes.saturating_sub(sealed.listed_bytes);
                        self.lane().backlog.put_back(date, batch);
                    }
                    if let Some((bundle, dir)) = sealed.bundle {
                        self.shared.reserve.succeeded();
                        self.carry(bundle, &dir)?;
                    }
                }
                Err(error) => {
                    if matches!(error, PublishError::QuarantineFull { .. }) {
                        self.lane().hold_for_quarantine(true);
                    }
                    self.lane().backlog.put_back(date, batch);
                    failures += 1;
                    self.rest("seal", failures, &error)?;
                }
            }
        }
        Ok(())
    }

    /// Delivers a bundle, however often that takes.
    fn carry(&mut self, mut bundle: Bundle, dir: &Path) -> Result<(), OutOfTime> {
        let mut failures = 0;
        loop {
            self.publish_table();
            match deliver(&self.shared, self.lane(), &mut bundle, dir) {
                Ok(Delivery::Done) => {
                    self.shared.reserve.succeeded();
                    for object in &bundle.objects {
                        tracing::info!(
                            object = object.name,
                            size_bytes = object.size_bytes,
                            files = bundle.members.len(),
                            "archived"
                        );
                    }
                    return Ok(());
                }
                Ok(Delivery::Conflict) => {
                    self.held.append(&mut member_paths(&bundle));
                    self.lane().metrics.conflicts(self.held.len());
                    return Ok(());
                }
                Err(error) => {
                    failures += 1;
                    self.lane().metrics.retry();
                    self.rest("deliver", failures, &error)?;
                }
            }
        }
    }

    fn publish_table(&mut self) {
        if self.table_is_published {
            return;
        }
        match table::publish(&self.shared, self.lane()) {
            Ok(()) => self.table_is_published = true,
            Err(error) => {
                self.lane().metrics.error("table");
                tracing::warn!(datatype = %self.name, %error, "could not put the table schema; it will be tried again");
            }
        }
    }

    /// Waits longer after every failure, at random within a factor of two so that many nodes do not come back at once.
    fn rest(
        &self,
        operation: &'static str,
        failures: u32,
        error: &PublishError,
    ) -> Result<(), OutOfTime> {
        let metrics = &self.lane().metrics;
        metrics.error(operation);
        if let Some(place) = error.full_at() {
            self.shared.reserve.release_for(place);
        }
        let longest = self.shared.config.retry_max;
        let pause = RETRY_FIRST
            .saturating_mul(1 << failures.saturating_sub(1).min(20))
            .min(longest);
        let pause = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        tracing::warn!(datatype = %self.name, operation, failures, %error, ?pause, "failed; trying again");
        if self.lane().backlog.pause(pause) {
            Ok(())
        } else {
            Err(OutOfTime)
        }
    }
}
