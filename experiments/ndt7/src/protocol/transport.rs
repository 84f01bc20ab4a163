//! The two kinds of connection, and what their reading half can do beyond reading.

use std::io;

use groma_sock::discard;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that can be split.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What is read from.
    type Input: Input;
    /// What is written to.
    type Output: AsyncWrite + Unpin + Send;

    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
    /// Both halves.
    fn halves(self) -> (Self::Input, Self::Output);
}

/// The reading half.
pub(crate) trait Input: AsyncRead + Unpin + Send {
    /// Shortest run of load that is worth [`Input::discard`]; `None` when it cannot.
    const DISCARDS_FROM_BYTES: Option<u64>;
    /// Most bytes that may have left the kernel and not yet been read here.
    const HELD_BYTES: u64;

    /// Throws away up to `most_bytes` of what comes next, and returns how many; 0 at the end of the stream.
    fn discard(&mut self, most_bytes: usize) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Transport for TcpStream {
    type Input = OwnedReadHalf;
    type Output = OwnedWriteHalf;

    fn tcp(&self) -> &TcpStream {
        self
    }

    fn halves(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }
}

impl Input for OwnedReadHalf {
    /// Below this, two more system calls cost more than the copy that they save.
    const DISCARDS_FROM_BYTES: Option<u64> = Some(1 << 15);
    const HELD_BYTES: u64 = 0;

    async fn discard(&mut self, most_bytes: usize) -> io::Result<usize> {
        let tcp: &TcpStream = self.as_ref();
        tcp.async_io(Interest::READABLE, || discard(tcp, most_bytes))
            .await
    }
}

impl Transport for tokio_rustls::server::TlsStream<TcpStream> {
    type Input = ReadHalf<Self>;
    type Output = WriteHalf<Self>;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn halves(self) -> (Self::Input, Self::Output) {
        tokio::io::split(self)
    }
}

impl Transport for tokio_rustls::client::TlsStream<TcpStream> {
    type Input = ReadHalf<Self>;
    type Output = WriteHalf<Self>;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn halves(self) -> (Self::Input, Self::Output) {
        tokio::io::split(self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Input for ReadHalf<S> {
    const DISCARDS_FROM_BYTES: Option<u64> = None;
    /// What rustls has read and not decrypted, and decrypted and not handed on: a record of 16 KiB and a bit of each.
    const HELD_BYTES: u64 = 1 << 16;

    async fn discard(&mut self, _most_bytes: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
