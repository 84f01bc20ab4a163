//! The threads of a collector, and how they begin and end.

use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use groma_diag::DiagError;
use groma_uuid::Uuid;
use prometheus_client::registry::Registry;

use crate::batch::{BATCHES, Batch};
use crate::collect::{Sampler, SamplerSetup};
use crate::events::EventServer;
use crate::file::{Finisher, Journal, Layout, Totals, Writer, WriterSetup};
use crate::metrics::Metrics;
use crate::unadmitted::{Ledger, LedgerSetup};
use crate::{Admission, Config, Namespace};

/// Announcements on their way to the writer. When there are more, announcers wait.
const ANNOUNCEMENTS: usize = 4096;

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folders of growing files.
    #[error("prepare the folder of growing files below {path}: {source}")]
    Layout {
        /// The experiment's directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The journal.
    #[error("open the journal in {path}: {source}")]
    Journal {
        /// The state directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The log of unadmitted connections, or the store of their addresses.
    #[error("open the log and the addresses of unadmitted connections in {path}: {source}")]
    Unadmitted {
        /// The state directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Tests are announced, and no socket is configured for it.
    #[error("tests are announced over the event socket, and no event socket is configured")]
    NoEventSocket,
    /// Another collector is running on the same state.
    #[error("another collector uses {0}")]
    Busy(PathBuf),
    /// The event socket.
    #[error("serve events at {path}: {source}")]
    Events {
        /// The socket.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A network namespace.
    #[error("enter the network namespace {path}: {source}")]
    Namespace {
        /// As configured.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The kernel gives no socket diagnostics.
    #[error(transparent)]
    Diag(#[from] DiagError),
    /// A thread, or the memory of a compressor.
    #[error("start a thread: {0}")]
    Thread(io::Error),
}

/// A running recorder. Dropping it stops it.
pub struct Collector {
    stop: Arc<AtomicBool>,
    is_final: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    metrics: Metrics,
    /// Held for as long as the state is ours.
    _lock: std::fs::File,
}

impl Collector {
    /// Starts to record. When it returns, every namespace is entered and the kernel answers; files that an earlier
    /// life left are being finished.
    pub fn start(config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        if config.admission == Admission::Announced && config.event_socket.is_none() {
            return Err(StartError::NoEventSocket);
        }
        let metrics = Metrics::new(registry);
        let lock = lock_state(&config)?;
        let layout_error = |source| StartError::Layout {
            path: config.spool.path().to_owned(),
            source,
        };
        let layout = Layout::open(
            config.spool.clone(),
            config.admission != Admission::Everything,
        )
        .map_err(layout_error)?;
        let (mut journal, known) = Journal::open(&config.state_dir, config.prefix.as_str())
            .map_err(|source| StartError::Journal {
                path: config.state_dir.clone(),
                source,
            })?;
        let cookie_of = |uuid: &Uuid| {
            let cookie = uuid.cookie()?;
            (config.prefix.uuid(cookie) == *uuid).then_some(cookie)
        };
        let (left_over, mut held) = layout
            .take_over(&mut journal, cookie_of)
            .map_err(layout_error)?;
        if config.admission == Admission::Everything {
            // They were recorded while connections had to be admitted.
            for (_, names) in held.drain() {
                layout.refuse(&names).map_err(layout_error)?;
            }
        }
        tracing::info!(
            left_over,
            undecided = held.len(),
            connections = known.len(),
            "took over from an earlier life"
        );
        let (announced, announcements) = sync_channel(ANNOUNCEMENTS);
        let events = match &config.event_socket {
            Some(path) => Some(
                EventServer::start(path, config.replay, metrics.clone(), announced).map_err(
                    |source| StartError::Events {
                        path: path.clone(),
                        source,
                    },
                )?,
            ),
            None => None,
        };
        let mut collector = Self {
            stop: Arc::default(),
            is_final: Arc::default(),
            threads: Vec::new(),
            metrics,
            _lock: lock,
        };
        let (news, has_news) = sync_channel(1);
        let finisher = Finisher::new(layout.clone(), collector.metrics.clone());
        collector.spawn("tcpinfo-finisher", move || finisher.run(&has_news))?;
        let refusals = collector.start_ledger(&layout, &config)?;
        let (batches, filled) = sync_channel(BATCHES * config.namespaces.len());
        let mut returns = Vec::new();
        for (source, namespace) in config.namespaces.iter().enumerate() {
            let empty = collector.start_sampler(source, namespace, &config, batches.clone())?;
            returns.push(empty);
        }
        drop(batches);
        let writer = Writer::new(WriterSetup {
            layout,
            journal,
            known,
            held,
            admission: config.admission,
            grace: config.unadmitted.grace,
            announcements,
            is_final: collector.is_final.clone(),
            prefix: config.prefix,
            anonymize: config.anonymize,
            rotation: config.rotation,
            events,
            metrics: collector.metrics.clone(),
            returns,
            news,
            refusals,
        })
        .map_err(StartError::Thread)?;
        collector.spawn("tcpinfo-writer", move || writer.run(&filled))?;
        Ok(collector)
    }

    /// Starts the thread that makes rows of unadmitted connections, and returns where it hears of them.
    fn start_ledger(
        &mut self,
        layout: &Layout,
        config: &Config,
    ) -> Result<SyncSender<()>, StartError> {
        let ledger = Ledger::open(LedgerSetup {
            layout: layout.clone(),
            state_dir: config.state_dir.clone(),
            settings: config.unadmitted.clone(),
            metrics: self.metrics.clone(),
        })
        .map_err(|source| StartError::Unadmitted {
            path: config.state_dir.clone(),
            source,
        })?;
        let (refusals, refused) = sync_channel(1);
        self.spawn("tcpinfo-ledger", move || ledger.run(&refused))?;
        Ok(refusals)
    }

    /// Starts a sampler and returns where its empty batches come from.
    fn start_sampler(
        &mut self,
        source: usize,
        namespace: &Namespace,
        config: &Config,
        batches: SyncSender<Batch>,
    ) -> Result<SyncSender<Batch>, StartError> {
        let (put_back, empty) = sync_channel(BATCHES);
        for _ in 0..BATCHES {
            put_back
                .try_send(Batch::new(source))
                .expect("there is room for all batches");
        }
        let setup = SamplerSetup {
            source,
            namespace: namespace.path.clone(),
            scope: namespace.scope.clone(),
            interval: config.interval,
            most_flows: config.most_flows,
            last_words_bytes: config.last_words_bytes,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
            batches,
            empty,
        };
        let (opened, result): (Sender<_>, Receiver<_>) = channel();
        self.spawn("tcpinfo-sampler", move || match Sampler::open(setup) {
            Ok(sampler) => {
                let _ = opened.send(Ok(()));
                drop(opened);
                sampler.run();
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        })?;
        result
            .recv()
            .map_err(|_| StartError::Thread(io::Error::other("the sampler died")))??;
        Ok(put_back)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), StartError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(StartError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Connections since boot, in all lives of the recorder, as of the last poll: `opened = closed + open`.
    pub fn totals(&self) -> Totals {
        let read = |gauge: &prometheus_client::metrics::gauge::Gauge| gauge.get().cast_unsigned();
        Totals {
            opened: read(&self.metrics.total_opened),
            closed: read(&self.metrics.total_closed),
            open: read(&self.metrics.total_open),
        }
    }

    /// Whether all of its threads are running. When one has ended by itself, connections are not recorded any more.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Connections that ended and may still be announced.
    pub fn undecided(&self) -> u64 {
        self.metrics.undecided.get().cast_unsigned()
    }

    /// Polls once more, ends every file, brings those of admitted connections into the spool, and returns. The next
    /// start decides about connections that are undecided.
    pub fn stop(mut self) {
        self.end();
    }

    /// The same after the experiment has ended: what was not announced so far never will be, so that every connection
    /// that has ended is decided.
    pub fn finish(mut self) {
        self.is_final.store(true, Ordering::Relaxed);
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the recorder panicked");
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end();
    }
}

/// Two collectors on one journal would give out the same names.
fn lock_state(config: &Config) -> Result<std::fs::File, StartError> {
    let path = &config.state_dir;
    let error = |source| StartError::Journal {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(path).map_err(error)?;
    // A process that can open the file can hold its lock, and keep the recorder from starting.
    let mode = 0o600;
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(mode);
    let file = options.open(path.join("lock")).map_err(error)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Busy(path.clone())),
        Err(std::fs::TryLockError::Error(source)) => Err(error(source)),
    }
}
