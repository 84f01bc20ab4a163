//! The two kinds of connection, and what a bulk path may ask of them.
//!
//! Cleartext load never passes through this process: it is sent from sealed memory by reference, and dropped where the
//! kernel received it. Through TLS it must be touched.

use std::io;

use groma_sock::{SealedBytes, discard, send_more};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::load::Load;

/// A connection that can be split.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What is read from.
    type Input: Input;
    /// What is written to.
    type Output: Output;

    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
    /// Both halves.
    fn halves(self) -> (Self::Input, Self::Output);
}

/// The reading half.
pub(crate) trait Input: AsyncRead + Unpin + Send {
    /// Shortest run of load that is worth [`Input::discard`]; `None` when it cannot.
    const DISCARDS_FROM_BYTES: Option<u64>;

    /// Throws away up to `most_bytes` of what comes next, and returns how many; 0 at the end of the stream.
    fn discard(&mut self, most_bytes: usize) -> impl Future<Output = io::Result<usize>> + Send;
}

/// The writing half.
pub(crate) trait Output: AsyncWrite + Unpin + Send {
    /// Writes the next frame of `load` whole.
    fn write_load<L: Load>(&mut self, load: &mut L) -> impl Future<Output = io::Result<()>> + Send;
}

/// A part of [`SealedBytes`] with what goes before it.
pub(crate) struct SealedFrame<'a> {
    /// Written first; may be empty.
    pub(crate) head: &'a [u8],
    pub(crate) bytes: &'a SealedBytes,
    pub(crate) offset_bytes: u64,
    pub(crate) length_bytes: usize,
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

    async fn discard(&mut self, most_bytes: usize) -> io::Result<usize> {
        let tcp: &TcpStream = self.as_ref();
        tcp.async_io(Interest::READABLE, || discard(tcp, most_bytes))
            .await
    }
}

impl Output for OwnedWriteHalf {
    async fn write_load<L: Load>(&mut self, load: &mut L) -> io::Result<()> {
        let tcp: &TcpStream = self.as_ref();
        let frame = load.sealed();
        let mut head = frame.head;
        while !head.is_empty() {
            let sent = tcp
                .async_io(Interest::WRITABLE, || send_more(tcp, head))
                .await?;
            head = &head[sent..];
        }
        let mut sent = 0;
        while sent < frame.length_bytes {
            let (offset, rest) = (frame.offset_bytes + sent as u64, frame.length_bytes - sent);
            sent += tcp
                .async_io(Interest::WRITABLE, || frame.bytes.send(tcp, offset, rest))
                .await?;
        }
        Ok(())
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

    async fn discard(&mut self, _most_bytes: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Output for WriteHalf<S> {
    async fn write_load<L: Load>(&mut self, load: &mut L) -> io::Result<()> {
        self.write_all(load.frame()).await
    }
}
