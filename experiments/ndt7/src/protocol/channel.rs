//! One connection after its upgrade, driven by one task: [`pump`] writes while [`receive`] reads. They share an
//! [`Inbox`], and each end of the protocol brings a [`Pilot`] that decides and a [`Listener`] that takes note.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::frame::{Decoder, Event, Violation};
use super::load::Load;
use super::transport::Input;
use super::wake::Wake;

/// After this much load the task lets others run: on a fast path it would otherwise hold its thread for as long as the
/// peer keeps up, and the samples of all other tests would be late.
const TURN_BYTES: usize = 1 << 21;
/// Bytes read after a long frame: the header of the next one. More would only be copied.
const PEEK_BYTES: usize = 256;
/// One long frame is discarded in pieces of this size at most, so that progress is noted.
const MOST_DISCARDED_BYTES: u64 = 1 << 20;

/// Messages of the reading half to the writing half.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    news: Mutex<News>,
    bell: Notify,
}

/// Unhandled control frames. Only the last ping is kept, so a flood of pings takes no memory; RFC 6455, section 5.5.3,
/// allows answering only that one.
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

/// Locks a mutex that one task shares with itself: it is never contended, and a panic elsewhere leaves no inconsistent state.
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

/// Events of the reading half, besides those that go to the [`Inbox`].
pub(crate) trait Listener {
    /// So many bytes of load arrived.
    fn binary(&mut self, bytes: usize);
    /// A text message arrived; `None` means that it was too long to keep.
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
    /// Records that this many bytes of load were written.
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
    let mut turn_bytes = 0;
    loop {
        let outgoing = pilot.take_outgoing();
        if !outgoing.is_empty() {
            write_with(output.write_all(&outgoing), pilot).await?;
            // TLS buffers the end of a write until it is flushed.
            write_with(output.flush(), pilot).await?;
        } else if pilot.ended() {
            return Ok(());
        } else if let Some(load) = &mut load {
            write_with(output.write_all(load.frame()), pilot).await?;
            let sent = load.sent();
            pilot.sent(sent);
            turn_bytes += sent;
            if turn_bytes >= TURN_BYTES {
                turn_bytes = 0;
                yield_now().await;
            }
        } else {
            pilot.step().await;
        }
    }
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

/// Reads until the peer closes or is gone, informs the inbox and the listener, and returns why the connection ended. Long
/// runs of load are discarded where they arrive, if the input can do that.
///
/// After a violation the rest of the bytes are thrown away until the peer leaves: closing a socket with unread bytes would reset the connection, and the
/// peer might never see our close frame.
pub(crate) async fn receive<R, H>(
    input: &mut R,
    mut wake: Wake<'_, impl AsFd>,
    first_bytes: &[u8],
    mut decoder: Decoder,
    inbox: &Inbox,
    listener: &mut H,
) -> PeerEnd
where
    R: Input,
    H: Listener + Send,
{
    let mut heard = take(&mut decoder, first_bytes, inbox, listener);
    let (mut room, mut turn_bytes) = (usize::MAX, 0);
    let end = loop {
        if let Some(end) = heard {
            break end;
        }
        let load = decoder.load_ahead();
        wake.wait_for(load.saturating_sub(R::HELD_BYTES));
        let taken = if R::DISCARDS_FROM_BYTES.is_some_and(|least| load >= least) {
            let discarded = input.discard(load.min(MOST_DISCARDED_BYTES) as usize).await;
            if let Ok(bytes @ 1..) = discarded {
                decoder.skip(bytes);
                listener.binary(bytes);
            }
            room = PEEK_BYTES;
            discarded
        } else {
            let mut show = |bytes: &[u8]| {
                // Bytes after the end have no meaning.
                if heard.is_none() {
                    heard = take(&mut decoder, bytes, inbox, listener);
                }
            };
            let read = input.read(room, &mut show).await;
            room = usize::MAX;
            read
        };
        turn_bytes += match taken {
            Ok(0) | Err(_) => {
                heard = heard.or(Some(PeerEnd::Gone));
                0
            }
            Ok(bytes) => {
                wake.read(bytes);
                bytes
            }
        };
        if turn_bytes >= TURN_BYTES {
            turn_bytes = 0;
            yield_now().await;
        }
    };
    wake.wait_for(0);
    inbox.end(end);
    if let PeerEnd::Violated(_) = end {
        while matches!(input.read(usize::MAX, &mut |_| {}).await, Ok(1..)) {}
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
