//! The threads of a collector, and how they begin and end.

use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use groma_diag::DiagError;
use prometheus_client::registry::Registry;

use crate::batch::{BATCHES, Batch};
use crate::collect::{Sampler, SamplerSetup};
use crate::events::EventServer;
use crate::file::{Finisher, Journal, Layout, Totals, Writer, WriterSetup};
use crate::metrics::Metrics;
use crate::{Config, Namespace};

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folders of growing files.
    #[error("prepare the folder of growing files below {path}: {source}")]
    Layout {
        /// The experiment's directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal.
    #[error("open the journal in {path}: {source}")]
    Journal {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another collector is running on the same state.
    #[error("another collector uses {0}")]
    Busy(PathBuf),
    /// The event socket.
    #[error("serve events at {path}: {source}")]
    Events {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A network namespace.
    #[error("enter the network namespace {path}: {source}")]
    Namespace {
        /// As configured.
        path: PathBuf,
        /// What the system said.
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
    threads: Vec<JoinHandle<()>>,
    metrics: Metrics,
    /// Held for as long as the state is ours.
    _lock: std::fs::File,
}

impl Collector {
    /// Starts to record. When it returns, every namespace is entered and the kernel answers; files that an earlier
    /// life left are being finished.
    pub fn start(config: Config, registry: &mut Registry) -> Result<Self, StartError> {
        let metrics = Metrics::new(registry);
        let lock = lock_state(&config)?;
        let layout_error = |source| StartError::Layout {
            path: config.spool.path().to_owned(),
            source,
        };
        let layout = Layout::open(config.spool.clone()).map_err(layout_error)?;
        let left_over = layout.take_over().map_err(layout_error)?;
        let (journal, known) =
            Journal::open(&config.state_dir, config.prefix.as_str()).map_err(|source| {
                StartError::Journal {
                    path: config.state_dir.clone(),
                    source,
                }
            })?;
        tracing::info!(
            left_over,
            connections = known.len(),
            "took over from an earlier life"
        );
        let events = match &config.event_socket {
            Some(path) => Some(
                EventServer::start(path, config.replay, metrics.clone()).map_err(|source| {
                    StartError::Events {
                        path: path.clone(),
                        source,
                    }
                })?,
            ),
            None => None,
        };
        let mut collector = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            metrics,
            _lock: lock,
        };
        let (news, has_news) = sync_channel(1);
        let finisher = Finisher::new(layout.clone(), collector.metrics.clone());
        collector.spawn("tcpinfo-finisher", move || finisher.run(&has_news))?;
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
            prefix: config.prefix,
            anonymize: config.anonymize,
            rotation: config.rotation,
            events,
            metrics: collector.metrics.clone(),
            returns,
            news,
        })
        .map_err(StartError::Thread)?;
        collector.spawn("tcpinfo-writer", move || writer.run(&filled))?;
        Ok(collector)
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

    /// Whether all of its threads live. When one has ended by itself, connections are no longer recorded.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Polls once more, ends every file, brings all of them into the spool, and returns.
    pub fn stop(mut self) {
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
    // Whoever may open the file can hold its lock, and keep the recorder from starting.
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
