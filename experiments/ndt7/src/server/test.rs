//! One test from the end of the upgrade to its result file.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use groma_experiment::{ClientPermit, Test};
use groma_sock::{congestion_control, set_congestion_control};
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Shared;
use super::outcome::Outcome;
use super::pilot::ServerPilot;
use super::record::{Note, Record};
use super::sampler::Sampler;
use crate::protocol::channel::{Inbox, lock, pump, receive};
use crate::protocol::frame::Decoder;
use crate::protocol::load::ServerLoad;
use crate::protocol::transport::Transport;
use crate::protocol::wake::Wake;
use crate::protocol::{Direction, HARD_WAIT, LEAVING_WAIT};

/// One read takes this much of an upload: enough to drain what a fast path queues between two looks.
const UPLOAD_BUFFER_BYTES: usize = 1 << 18;
/// In a download only measurements and pongs come in.
const DOWNLOAD_BUFFER_BYTES: usize = 1 << 13;

/// A connection whose upgrade is complete.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    /// The bytes that arrived with the request.
    pub(crate) first_bytes: Bytes,
    /// A duplicate of the TCP socket's descriptor.
    pub(crate) socket: OwnedFd,
    pub(crate) server: SocketAddr,
    pub(crate) client: SocketAddr,
    pub(crate) secure: bool,
}

/// The request of the client that was admitted.
pub(crate) struct Admitted {
    pub(crate) test: Test,
    pub(crate) direction: Direction,
    pub(crate) early_exit: bool,
    /// The client's, until the test is over.
    pub(crate) permit: ClientPermit,
}

/// Runs the test. Returns when the connection is over and the result is on disk.
pub(crate) async fn run<S>(shared: &Arc<Shared>, connection: Connection<S>, admitted: Admitted)
where
    S: Transport,
{
    let Admitted {
        mut test,
        direction,
        early_exit,
        permit: _permit,
    } = admitted;
    let uuid = test.connection(&connection.socket).to_string();
    let congestion_control = use_bbr(shared, &connection.socket);
    let start_time = Timestamp::now();
    let ends = (connection.server, connection.client);
    let socket = Arc::new(connection.socket);
    let sampler = Sampler::new(Arc::clone(&socket), ends, uuid.clone());

    let (record, inbox) = (Mutex::new(Record::default()), Inbox::default());
    let (load_ended, mut load_end) = watch::channel(None);
    let latest_end = sampler.start() + shared.runtime;
    let mut pilot = ServerPilot::new(
        direction,
        sampler,
        latest_end,
        early_exit,
        &inbox,
        &record,
        &load_ended,
    );
    let (load, buffer_bytes) = match direction {
        Direction::Download => (
            Some(ServerLoad::new(Arc::clone(&shared.prepared))),
            DOWNLOAD_BUFFER_BYTES,
        ),
        Direction::Upload => (None, UPLOAD_BUFFER_BYTES),
    };
    let (mut input, mut output) = connection.stream.halves(buffer_bytes);
    {
        let sending = async {
            if pump(&mut output, load, &mut pilot).await.is_err() {
                pilot.broken();
            }
        };
        let mut note = Note(&record);
        let receiving = receive(
            &mut input,
            Wake::new(&*socket),
            &connection.first_bytes,
            Decoder::new(true),
            &inbox,
            &mut note,
        );
        let mut exchange = pin!(async { tokio::join!(sending, receiving) });
        let left_open = tokio::select! {
            _ = &mut exchange => false,
            () = leaving_wait(&mut load_end) => true,
        };
        let record = std::mem::take(&mut *lock(&record));
        let cut = load_end.borrow().unwrap_or(latest_end) + record.close_wait();
        let outcome = Outcome {
            uuid,
            direction,
            secure: connection.secure,
            server: connection.server,
            client: connection.client,
            start_time,
            congestion_control,
            record,
        };
        let finishing = outcome.finish(Arc::clone(shared), test);
        if left_open {
            // The result does not wait for a client that takes its time; only the connection does.
            let _ = tokio::join!(
                finishing,
                timeout_at(cut.min(latest_end + HARD_WAIT), exchange)
            );
        } else {
            finishing.await;
        }
    }
    let _ = timeout(LEAVING_WAIT, output.shutdown()).await;
}

/// Selects BBR, and returns the name of what is in use in the end.
fn use_bbr(shared: &Shared, socket: &OwnedFd) -> String {
    let selected = set_congestion_control(socket, "bbr");
    if shared.metrics.bbr(&selected)
        && let Err(error) = &selected
    {
        tracing::warn!(%error, "select BBR: tests use the system's congestion control");
    }
    congestion_control(socket).unwrap_or_default()
}

/// Waits until the load has ended and the peer had its time to leave.
async fn leaving_wait(load_end: &mut watch::Receiver<Option<Instant>>) {
    // An error means that nothing is left to wait for.
    let ended = load_end.wait_for(Option::is_some).await.is_ok();
    if ended {
        sleep(LEAVING_WAIT).await;
    }
}
