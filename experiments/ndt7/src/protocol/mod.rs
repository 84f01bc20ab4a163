//! The ndt7 protocol, version 0.11.0 of M-Lab's specification: what both ends agree on, without any input or output of
//! their own.

pub(crate) mod channel;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod load;
mod measurement;
pub(crate) mod query;
pub(crate) mod scaling;
mod spacers;
pub(crate) mod ticker;
mod tls;
pub(crate) mod transport;
pub(crate) mod wake;

pub use measurement::{AppInfo, BbrSample, ConnectionInfo, Measurement, TcpSample};

use std::fmt;
use std::time::Duration;

/// `Sec-WebSocket-Protocol` of both tests, to be matched as the whole header value.
pub const SUBPROTOCOL: &str = "net.measurementlab.ndt.v7";

/// Payload of the first binary message.
pub(crate) const FIRST_MESSAGE_BYTES: usize = 1 << 13;
/// Largest binary message that we send: the reference client in Go refuses more.
pub(crate) const LARGEST_SENT_BYTES: usize = 1 << 20;
/// Largest message that we accept, on either side.
pub(crate) const LARGEST_RECEIVED_BYTES: u64 = 1 << 24;

/// How long the load lasts, from the end of the upgrade.
pub const RUNTIME: Duration = Duration::from_secs(10);
/// How long after the load an end may still wait for the other's close frame (second 13 of a test).
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// How long after the load the connection is cut whatever happens (second 15 of a test).
pub(crate) const HARD_WAIT: Duration = Duration::from_secs(5);
/// How long a peer that closed, left or broke the protocol may hold the connection.
pub(crate) const LEAVING_WAIT: Duration = Duration::from_secs(1);

/// Bytes acknowledged at which a download with `early_exit=250` ends.
pub(crate) const EARLY_EXIT_BYTES: u64 = 250_000_000;

/// Which way the load goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The server sends the load.
    Download,
    /// The client sends the load.
    Upload,
}

impl Direction {
    /// `download` or `upload`: the word in paths, file names and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }

    /// The path of the test, without query.
    pub fn path(self) -> &'static str {
        match self {
            Self::Download => "/ndt/v7/download",
            Self::Upload => "/ndt/v7/upload",
        }
    }

    /// The inverse of [`Direction::path`].
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        [Self::Download, Self::Upload]
            .into_iter()
            .find(|direction| direction.path() == path)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
