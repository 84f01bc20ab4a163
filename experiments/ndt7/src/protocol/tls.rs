//! The bulk path of TLS. The handshake and the upgrade are over when it begins: from there on rustls is driven here, so
//! that records are full, a short one does not cost a system call, and load is not copied once more to be counted.

use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::channel::lock;
use super::spacers::Spacers;
use super::transport::{Input, Transport};

/// Plaintext of a full record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 1 << 14;
/// Plaintext encrypted for one write: more is out of the cache before the kernel copies it.
const BATCH_BYTES: usize = 4 * RECORD_BYTES;
/// The amount of plaintext after which the caller is informed.
const ENOUGH_BYTES: usize = 1 << 18;

impl Transport for tokio_rustls::server::TlsStream<TcpStream> {
    type Input = TlsInput;
    type Output = TlsOutput;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn halves(self, _buffer_bytes: usize) -> (TlsInput, TlsOutput) {
        let (tcp, session) = self.into_inner();
        halves(tcp, session.into())
    }
}

impl Transport for tokio_rustls::client::TlsStream<TcpStream> {
    type Input = TlsInput;
    type Output = TlsOutput;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn halves(self, _buffer_bytes: usize) -> (TlsInput, TlsOutput) {
        let (tcp, session) = self.into_inner();
        halves(tcp, session.into())
    }
}

fn halves(tcp: TcpStream, mut session: Connection) -> (TlsInput, TlsOutput) {
    // Room for a batch behind the short record that waits for it.
    session.set_buffer_limit(Some(BATCH_BYTES + RECORD_BYTES));
    let session = Arc::new(Mutex::new(session));
    let (read, write) = tcp.into_split();
    let input = TlsInput {
        half: read,
        session: Arc::clone(&session),
        spacers: Spacers::default(),
    };
    let output = TlsOutput {
        half: write,
        session,
        short: false,
        closed: false,
    };
    (input, output)
}

/// The reading half.
pub(crate) struct TlsInput {
    half: OwnedReadHalf,
    session: Arc<Mutex<Connection>>,
    spacers: Spacers,
}

impl TlsInput {
    /// Decrypts what has arrived and shows it, until `enough_bytes` are shown.
    fn poll_show(
        &mut self,
        context: &mut Context<'_>,
        enough_bytes: usize,
        show: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut session = lock(&self.session);
        // The bytes that arrived with the upgrade.
        let mut shown = show_plaintext(&mut session, show)?;
        while shown < enough_bytes {
            let half = &mut self.half;
            let read = session.read_tls(&mut self.spacers.noting(ReadSocket { half, context }));
            let ended = match read {
                Ok(bytes) => bytes == 0,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) if shown == 0 => return Poll::Pending,
                Err(_) => break,
            };
            session.process_new_packets().map_err(io::Error::other)?;
            let spacers = &mut self.spacers;
            shown += show_plaintext(&mut session, &mut |plaintext: &[u8]| {
                spacers.note(plaintext);
                show(plaintext);
            })?;
            self.spacers.fill();
            if ended {
                break;
            }
        }
        Poll::Ready(Ok(shown))
    }
}

impl Input for TlsInput {
    const DISCARDS_FROM_BYTES: Option<u64> = None;
    /// A record of which the end has not come yet: 16 KiB, a header, and what a suite may add (RFC 5246, section 6.2.3).
    const HELD_BYTES: u64 = 1 << 15;

    async fn read(
        &mut self,
        most_bytes: usize,
        show: &mut (impl FnMut(&[u8]) + Send),
    ) -> io::Result<usize> {
        let enough_bytes = most_bytes.min(ENOUGH_BYTES);
        poll_fn(|context| self.poll_show(context, enough_bytes, show)).await
    }

    async fn discard(&mut self, _most_bytes: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Shows what is decrypted, and returns how many bytes that was.
fn show_plaintext(session: &mut Connection, show: &mut impl FnMut(&[u8])) -> io::Result<usize> {
    let mut shown = 0;
    loop {
        let mut reader = session.reader();
        let chunk = match reader.fill_buf() {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => return Ok(shown),
        };
        show(chunk);
        let bytes = chunk.len();
        reader.consume(bytes);
        shown += bytes;
    }
}

/// The writing half. A write that ends in a short record keeps it back for the next write, or for [`AsyncWrite::poll_flush`].
pub(crate) struct TlsOutput {
    half: OwnedWriteHalf,
    session: Arc<Mutex<Connection>>,
    /// Only a short record waits to be sent.
    short: bool,
    closed: bool,
}

impl TlsOutput {
    /// Sends what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = lock(&self.session);
        send(&mut self.half, &mut session, context)
    }
}

fn send(
    half: &mut OwnedWriteHalf,
    session: &mut Connection,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while session.wants_write() {
        let mut socket = WriteSocket { half, context };
        match session.write_tls(&mut socket) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

impl AsyncWrite for TlsOutput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut session = lock(&this.session);
        // Encrypting while the last batch waits would make short records: the session takes only what it has room for.
        if !this.short {
            ready!(send(&mut this.half, &mut session, context))?;
        }
        let most_bytes = plaintext.len().min(BATCH_BYTES);
        let bytes = io::Write::write(&mut session.writer(), &plaintext[..most_bytes])?;
        this.short = !this.short && bytes < RECORD_BYTES;
        if !this.short
            && let Poll::Ready(Err(error)) = send(&mut this.half, &mut session, context)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            lock(&self.session).send_close_notify();
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.half).poll_shutdown(context)
    }
}

/// The socket as rustls reads from it: [`Poll::Pending`] is [`io::ErrorKind::WouldBlock`].
struct ReadSocket<'a, 'b> {
    half: &'a mut OwnedReadHalf,
    context: &'a mut Context<'b>,
}

impl io::Read for ReadSocket<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.half).poll_read(self.context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The socket as rustls writes to it: [`Poll::Pending`] is [`io::ErrorKind::WouldBlock`].
struct WriteSocket<'a, 'b> {
    half: &'a mut OwnedWriteHalf,
    context: &'a mut Context<'b>,
}

impl io::Write for WriteSocket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.half).poll_write_vectored(self.context, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
