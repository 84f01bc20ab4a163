//! One connection after its upgrade, driven by one task: [`pump`] writes while [`receive`] reads. They share an
//! [`Inbox`], and each end of the protocol brings a [`Pilot`] that decides and a [`Listener`] that takes note.

use std::io;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::frame::{Decoder, Event, Violation};
use super::load::Load;

/// What the reading half tells the writing half.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    news: Mutex<News>,
    bell: Notify,
}

/// What is new. Of several pings only the last is remembered, and answering only that one is legal (RFC 6455, section
/// 5.5.3), so that a flood of them takes no memory.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) ping: Option<Vec<u8>>,
    pub(crate) end: Option<PeerEnd>,
}

impl Inbox {
    fn ping(&self, payload: Vec<u8>) {
        lock(&self.news).ping = Some(payload);
        self.bell.notify_one();
    }

    fn end(&self, end: PeerEnd) {
        lock(&self.news).end = Some(end);
        self.bell.notify_one();
    }

    /// Waits until there may be news, and takes it. Loses nothing when dropped before it is ready.
    pub(crate) async fn news(&self) -> News {
        self.bell.notified().await;
        std::mem::take(&mut lock(&self.news))
    }
}

/// Locks a mutex that one task shares with itself: nobody ever waits, and a panic elsewhere leaves no half-made state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why nothing more will come from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEnd {
    /// It sent a close frame with this code.
    Closed(u16),
    /// It broke the protocol.
    Violated(Violation),
    /// The connection ended without a close frame.
    Gone,
}

/// What the reading half found, besides what goes to the [`Inbox`].
pub(crate) trait Listener {
    /// So many bytes of load arrived.
    fn binary(&mut self, bytes: usize);
    /// A text message arrived; `None` stands for one too long to keep.
    fn text(&mut self, text: Option<Vec<u8>>);
}

/// Decides what is written besides load, and when the load ends.
pub(crate) trait Pilot {
    /// Waits for something to happen, and acts on it. Must lose nothing when dropped before it is ready.
    fn step(&mut self) -> impl Future<Output = ()> + Send;
    /// Frames to be written before the next piece of load; they are gone from the pilot.
    fn take_outgoing(&mut self) -> Vec<u8>;
    /// True when no more load is to be written and [`Pilot::step`] not to be called again.
    fn ended(&self) -> bool;
    /// Notes that so many bytes of load were written.
    fn sent(&mut self, bytes: usize);
}

/// Writes load, or nothing, and whatever the pilot wants said in between, until the pilot ends it. The pilot goes on
/// deciding while a write is blocked.
pub(crate) async fn pump<W, L, P>(
    output: &mut W,
    mut load: Option<L>,
    pilot: &mut P,
) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    L: Load,
    P: Pilot,
{
    loop {
        let outgoing = pilot.take_outgoing();
        if !outgoing.is_empty() {
            write(output, &outgoing, pilot).await?;
            // TLS keeps the end of a write to itself until it is told.
            write_with(output.flush(), pilot).await?;
        } else if pilot.ended() {
            return Ok(());
        } else if let Some(load) = &mut load {
            write(output, load.frame(), pilot).await?;
            pilot.sent(load.sent());
        } else {
            pilot.step().await;
        }
    }
}

async fn write<W, P>(output: &mut W, bytes: &[u8], pilot: &mut P) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
    P: Pilot,
{
    write_with(output.write_all(bytes), pilot).await
}

async fn write_with<P: Pilot>(
    write: impl Future<Output = io::Result<()>>,
    pilot: &mut P,
) -> io::Result<()> {
    let mut write = pin!(write);
    loop {
        tokio::select! {
            // The pilot first: a fast path never blocks, and would otherwise never let it decide.
            biased;
            () = pilot.step(), if !pilot.ended() => {}
            written = &mut write => return written,
        }
    }
}

/// Reads until the peer closes or is gone, tells the inbox and the listener, and returns why nothing more comes. After a violation the rest of the
/// bytes are thrown away until the peer leaves: closing a socket with unread bytes would reset the connection, and the
/// peer might never see our close frame.
pub(crate) async fn receive<R, H>(
    input: &mut R,
    first_bytes: &[u8],
    buffer_bytes: usize,
    mut decoder: Decoder,
    inbox: &Inbox,
    listener: &mut H,
) -> PeerEnd
where
    R: AsyncRead + Unpin,
    H: Listener,
{
    let mut buffer = vec![0; buffer_bytes];
    let mut heard = take(&mut decoder, first_bytes, inbox, listener);
    let end = loop {
        if let Some(end) = heard {
            break end;
        }
        heard = match input.read(&mut buffer).await {
            Ok(0) | Err(_) => Some(PeerEnd::Gone),
            Ok(read) => take(&mut decoder, &buffer[..read], inbox, listener),
        };
    };
    inbox.end(end);
    if let PeerEnd::Violated(_) = end {
        while matches!(input.read(&mut buffer).await, Ok(1..)) {}
    }
    end
}

fn take(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    inbox: &Inbox,
    listener: &mut impl Listener,
) -> Option<PeerEnd> {
    loop {
        match decoder.next(&mut bytes) {
            Ok(None) => return None,
            Ok(Some(Event::Binary(bytes))) => listener.binary(bytes),
            Ok(Some(Event::Text(text))) => listener.text(Some(text)),
            Ok(Some(Event::LongText)) => listener.text(None),
            Ok(Some(Event::Ping(payload))) => inbox.ping(payload),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close(code))) => return Some(PeerEnd::Closed(code)),
            Err(violation) => return Some(PeerEnd::Violated(violation)),
        }
    }
}
