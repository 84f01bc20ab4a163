//! One test over an open WebSocket.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Mutex;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connection, Stream};
use super::pilot::{ClientPilot, Progress, Watch};
use super::{ClientError, Event, Summary};
use crate::protocol::channel::{Inbox, PeerEnd, lock, pump, receive};
use crate::protocol::frame::{Decoder, close};
use crate::protocol::load::ClientLoad;
use crate::protocol::transport::Transport;
use crate::protocol::wake::Wake;
use crate::protocol::{AppInfo, Direction, HARD_WAIT, LEAVING_WAIT, RUNTIME};

/// One read takes this much of a download.
const DOWNLOAD_BUFFER_BYTES: usize = 1 << 18;
/// In an upload only measurements and pings come in.
const UPLOAD_BUFFER_BYTES: usize = 1 << 13;

/// Runs the test to its end.
pub(crate) async fn run(
    connection: Connection,
    direction: Direction,
    on_event: impl FnMut(Event) + Send,
) -> Result<Summary, ClientError> {
    let Connection {
        stream,
        first_bytes,
        server,
        client,
    } = connection;
    let ends = (server, client);
    match stream {
        Stream::Plain(tcp) => exchange(tcp, &first_bytes, ends, direction, on_event).await,
        Stream::Tls(tls) => exchange(*tls, &first_bytes, ends, direction, on_event).await,
    }
}

async fn exchange(
    stream: impl Transport,
    first_bytes: &[u8],
    (server, client): (SocketAddr, SocketAddr),
    direction: Direction,
    mut on_event: impl FnMut(Event) + Send,
) -> Result<Summary, ClientError> {
    let start = Instant::now();
    // A separate descriptor: the halves are busy when a socket option must be set.
    let socket = stream
        .tcp()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| ClientError::Connect {
            server: server.to_string(),
            source,
        })?;
    on_event(Event::Started { server, client });
    let inbox = Inbox::default();
    let progress = Mutex::new(Progress {
        on_event,
        start,
        bytes: 0,
        acked: None,
        last: None,
    });
    let mut pilot = ClientPilot::new(direction, &socket, &inbox, &progress);
    let mut watch = Watch {
        progress: &progress,
        direction,
    };
    let (load, buffer_bytes) = match direction {
        Direction::Download => (None, DOWNLOAD_BUFFER_BYTES),
        Direction::Upload => (Some(ClientLoad::new()), UPLOAD_BUFFER_BYTES),
    };
    let (mut input, mut output) = stream.halves(buffer_bytes);
    let mut ended = None;
    {
        let mut sending = pin!(pump(&mut output, load, &mut pilot));
        let mut receiving = pin!(receive(
            &mut input,
            Wake::new(&socket),
            first_bytes,
            Decoder::new(false),
            &inbox,
            &mut watch,
        ));
        let exchange = async {
            tokio::select! {
                // A write may fail before the close frame of the server is read: only reading shows how it ended.
                _ = &mut sending => {
                    let end = receiving.await;
                    ended = Some((end, lock(&progress).app_info()));
                }
                end = &mut receiving => {
                    ended = Some((end, lock(&progress).app_info()));
                    let _ = timeout(LEAVING_WAIT, sending).await;
                }
            }
        };
        let _ = timeout_at(start + RUNTIME + HARD_WAIT, exchange).await;
    }
    let _ = timeout(LEAVING_WAIT, output.shutdown()).await;

    let summary = |own| {
        let progress = lock(&progress);
        let own = progress.acked.unwrap_or(own);
        Summary::new(direction, (server, client), own, progress.last.as_ref())
    };
    let Some((end, own)) = ended else {
        let own = counted(&progress);
        return own.map(summary).ok_or(ClientError::Timeout { direction });
    };
    match end {
        PeerEnd::Closed(close::NORMAL | close::NO_STATUS) if own.num_bytes > 0 => Ok(summary(own)),
        PeerEnd::Closed(close::NORMAL | close::NO_STATUS) => Err(ClientError::NoLoad { direction }),
        PeerEnd::Gone if start.elapsed() >= RUNTIME => counted(&progress)
            .map(summary)
            .ok_or(ClientError::Lost { direction }),
        PeerEnd::Closed(code) => Err(ClientError::Closed { direction, code }),
        PeerEnd::Gone => Err(ClientError::Lost { direction }),
        PeerEnd::Violated(violation) => Err(ClientError::Protocol {
            direction,
            violation: violation.to_string(),
        }),
    }
}

/// The count of a test whose time is over without a close frame: on a very slow path the frame is still queued behind the
/// load or the measurements. `None` when nothing moved.
fn counted<F>(progress: &Mutex<Progress<F>>) -> Option<AppInfo> {
    let progress = lock(progress);
    let own = progress.acked.unwrap_or_else(|| progress.app_info());
    (own.num_bytes > 0).then_some(own)
}
