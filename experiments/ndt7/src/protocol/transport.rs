//! The two kinds of connection, and what their halves can do beyond reading and writing.

use std::io;

use groma_sock::discard;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that can be split.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The half to read from.
    type Input: Input;
    /// The half to write to.
    type Output: AsyncWrite + Unpin + Send;

    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
    /// Both halves. One that reads into a buffer of its own reads up to `buffer_bytes` at one time.
    fn halves(self, buffer_bytes: usize) -> (Self::Input, Self::Output);
}

/// The reading half.
pub(crate) trait Input: Send {
    /// Shortest run of load that is worth [`Input::discard`]; `None` when it cannot.
    const DISCARDS_FROM_BYTES: Option<u64>;
    /// Most bytes that may have left the kernel and not yet been read here.
    const HELD_BYTES: u64;

    /// Waits for bytes, shows them where they lie, in one or more pieces, and returns how many; 0 at the end of the
    /// stream. `most_bytes` is what is wanted; TLS may show a record more.
    fn read(
        &mut self,
        most_bytes: usize,
        show: &mut (impl FnMut(&[u8]) + Send),
    ) -> impl Future<Output = io::Result<usize>> + Send;

    /// Throws away up to `most_bytes` of what comes next, and returns how many; 0 at the end of the stream.
    fn discard(&mut self, most_bytes: usize) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Transport for TcpStream {
    type Input = PlainInput;
    type Output = OwnedWriteHalf;

    fn tcp(&self) -> &TcpStream {
        self
    }

    fn halves(self, buffer_bytes: usize) -> (PlainInput, OwnedWriteHalf) {
        let (half, output) = self.into_split();
        let buffer = vec![0; buffer_bytes];
        (PlainInput { half, buffer }, output)
    }
}

/// The reading half of a TCP connection.
pub(crate) struct PlainInput {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Input for PlainInput {
    /// Below this, two more system calls cost more than the copy that they save.
    const DISCARDS_FROM_BYTES: Option<u64> = Some(1 << 15);
    const HELD_BYTES: u64 = 0;

    async fn read(
        &mut self,
        most_bytes: usize,
        show: &mut (impl FnMut(&[u8]) + Send),
    ) -> io::Result<usize> {
        let room = most_bytes.min(self.buffer.len());
        let bytes = self.half.read(&mut self.buffer[..room]).await?;
        show(&self.buffer[..bytes]);
        Ok(bytes)
    }

    async fn discard(&mut self, most_bytes: usize) -> io::Result<usize> {
        let tcp: &TcpStream = self.half.as_ref();
        tcp.async_io(Interest::READABLE, || discard(tcp, most_bytes))
            .await
    }
}
