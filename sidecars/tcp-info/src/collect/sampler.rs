//! The thread that polls one network namespace.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use groma_diag::{Answer, DiagError, Key, Opens, enter_namespace};
use rustix::time::{ClockId, clock_gettime};

use super::choice::{Choice, Means};
use super::findings::{Findings, LOOKS_UNTIL_VANISHED};
use super::kernel::{Kernel, Netlink};
use super::outbox::Outbox;
use super::pace::Pace;
use crate::StartError;
use crate::batch::{Batch, Entry};
use crate::clock::{Clock, Reading};
use crate::metrics::Metrics;
use crate::scope::Scope;

const SECOND: Duration = Duration::from_secs(1);

/// The parts of a sampler.
pub(crate) struct SamplerSetup {
    pub(crate) source: usize,
    pub(crate) namespace: Option<PathBuf>,
    pub(crate) scope: Scope,
    pub(crate) interval: Duration,
    pub(crate) most_flows: usize,
    pub(crate) last_words_bytes: usize,
    pub(crate) metrics: Metrics,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) batches: SyncSender<Batch>,
    pub(crate) empty: Receiver<Batch>,
}

/// See the module. Lives on its own thread, which is in the namespace.
pub(crate) struct Sampler<K = Netlink> {
    kernel: K,
    opens: Option<Opens>,
    choice: Choice,
    pace: Pace,
    clock: Clock,
    findings: Findings,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
    looks_to_settle: u32,
    rates_since: Instant,
    slots: Vec<u32>,
    keys: Vec<Key>,
}

impl Sampler {
    /// Enters the namespace and opens everything; to be called on the thread that will run it.
    pub(crate) fn open(setup: SamplerSetup) -> Result<Self, StartError> {
        if let Some(path) = &setup.namespace {
            enter_namespace(path).map_err(|source| StartError::Namespace {
                path: path.clone(),
                source,
            })?;
        }
        let opens = match Opens::open().and_then(|mut opens| opens.count().map(|_| opens)) {
            Ok(opens) => Some(opens),
            Err(error) => {
                tracing::warn!(%error, "no counter of new connections; every poll asks for all sockets");
                None
            }
        };
        let kernel = Netlink::open(setup.last_words_bytes)?;
        Ok(Self::new(setup, kernel, opens))
    }
}

impl<K: Kernel> Sampler<K> {
    fn new(setup: SamplerSetup, kernel: K, opens: Option<Opens>) -> Self {
        let outbox = Outbox::new(setup.source, setup.batches, setup.empty);
        Self {
            kernel,
            opens,
            choice: Choice::new(),
            pace: Pace::new(setup.interval, Instant::now()),
            clock: Clock::new(Reading::now()),
            findings: Findings::new(setup.scope, setup.most_flows, outbox, setup.metrics.clone()),
            metrics: setup.metrics,
            stop: setup.stop,
            looks_to_settle: LOOKS_UNTIL_VANISHED,
            rates_since: Instant::now(),
            slots: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Polls until it shall stop, and then once more.
    pub(crate) fn run(mut self) {
        loop {
            let last = self.stop.load(Ordering::Relaxed);
            let Some(wait) = self.poll() else {
                return;
            };
            if last {
                return;
            }
            std::thread::sleep(wait);
        }
    }

    /// Polls once; how long to wait for the next, `None` when the writer is gone.
    fn poll(&mut self) -> Option<Duration> {
        let began = Instant::now();
        if !self.begin(began) {
            return None;
        }
        let complete = self.look();
        self.hear_last_words();
        self.count_rates();
        let wait = self.pace.end(began, Instant::now(), complete);
        self.metrics.polls.inc_by(u64::from(complete));
        self.findings.outbox.send().then_some(wait)
    }

    fn begin(&mut self, now: Instant) -> bool {
        let late = self.pace.polls.late;
        if let Some(interval) = self.pace.begin(now) {
            self.metrics.poll(interval, self.findings.table.len());
        }
        self.metrics.polls_late.inc_by(self.pace.polls.late - late);
        let (time, step) = self.clock.read(Reading::now());
        let outbox = &mut self.findings.outbox;
        let there = outbox.begin(time, self.pace.polls);
        if step {
            self.metrics.clock_steps.inc();
            outbox.push(Entry::ClockStep);
        }
        there
    }

    /// Asks the kernel for the connections that are there now. Whether the answer is complete.
    fn look(&mut self) -> bool {
        let known = self.findings.table.len();
        let opens = self.opens.as_mut().and_then(|opens| opens.count().ok());
        let means = self.choice.choose(known, opens);
        let (began, cpu_before) = (Instant::now(), cpu_time());
        self.findings.table.begin_look();
        let complete = match means {
            Means::Dump => self.dump(began),
            Means::Gets => self.gets(),
        };
        let complete = complete.unwrap_or_else(|error| {
            self.metrics.error(error.label());
            tracing::warn!(%error, "a poll failed; no connection counts as closed by it");
            false
        });
        if !complete {
            self.choice.failed();
            return false;
        }
        // Not the time that passed: on a busy machine, or while the writer is behind, that says nothing of the means.
        let cost = cpu_time().saturating_sub(cpu_before);
        self.choice.measured(means, known, cost);
        self.findings.miss_the_unseen();
        if self.looks_to_settle > 0 {
            self.looks_to_settle -= 1;
            if self.looks_to_settle == 0 {
                self.findings.outbox.push(Entry::Settled);
            }
        }
        true
    }

    fn dump(&mut self, began: Instant) -> Result<bool, DiagError> {
        let mut v6 = 0;
        let findings = &mut self.findings;
        let dumped = self.kernel.dump(&mut |record| {
            v6 += usize::from(record.family() == 10);
            findings.found(record);
        })?;
        self.metrics.dump(began.elapsed(), dumped.sockets - v6, v6);
        self.metrics
            .interrupted
            .inc_by(u64::from(dumped.interrupted));
        Ok(!dumped.interrupted)
    }

    fn gets(&mut self) -> Result<bool, DiagError> {
        let findings = &mut self.findings;
        findings.table.keys(&mut self.slots, &mut self.keys);
        self.kernel.get(&self.keys, &mut |answer| {
            if let Answer::Here(record) = answer {
                findings.found(record);
            }
        })?;
        self.metrics.gets.inc();
        Ok(true)
    }

    fn hear_last_words(&mut self) {
        let findings = &mut self.findings;
        match self
            .kernel
            .last_words(&mut |record| findings.last_word(record))
        {
            Ok(drained) => {
                if drained.overrun {
                    self.pace.polls.overruns += 1;
                    findings.went_deaf();
                }
                if drained.malformed > 0 {
                    self.metrics.error("malformed");
                }
            }
            Err(error) => {
                self.metrics.error(error.label());
                tracing::warn!(%error, "could not hear last words");
                findings.went_deaf();
            }
        }
    }

    fn count_rates(&mut self) {
        if self.rates_since.elapsed() >= SECOND {
            self.rates_since = Instant::now();
            let findings = &mut self.findings;
            self.metrics
                .rates(findings.sent_bytes, findings.received_bytes);
            (findings.sent_bytes, findings.received_bytes) = (0, 0);
        }
    }
}

/// The CPU time of this thread, including the kernel's work on its behalf.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests;
