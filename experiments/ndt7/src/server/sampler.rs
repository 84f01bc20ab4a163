//! Samples of the kernel about one connection, as the measurement that is sent and stored.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use groma_sock::{bbr_info, tcp_info};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::protocol::{AppInfo, BbrSample, ConnectionInfo, Measurement, TcpSample};

/// Samples one socket.
#[derive(Debug)]
pub(crate) struct Sampler {
    socket: Arc<OwnedFd>,
    start: Instant,
    connection: ConnectionInfo,
}

impl Sampler {
    /// `socket` is a duplicate of the connection's descriptor, so that it can be asked while both halves are in use.
    pub(crate) fn new(
        socket: Arc<OwnedFd>,
        (server, client): (SocketAddr, SocketAddr),
        uuid: String,
    ) -> Self {
        Self {
            socket,
            start: Instant::now(),
            connection: ConnectionInfo {
                client: client.to_string(),
                server: server.to_string(),
                uuid: Some(uuid),
                start_time: Some(Timestamp::now().to_string()),
            },
        }
    }

    /// When the measurement began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// One measurement now; `num_bytes` is the application's own count of load.
    ///
    /// BBR is read before `TCP_INFO`, whose state then shows whether the connection was still there for both. A kernel
    /// that cannot be asked leaves its objects out, and the test goes on.
    pub(crate) fn sample(&self, num_bytes: u64) -> Measurement {
        let bbr = bbr_info(&self.socket).unwrap_or_default();
        let tcp = tcp_info(&self.socket).ok();
        let elapsed_us = self.start.elapsed().as_micros() as i64;
        Measurement {
            app_info: Some(AppInfo {
                num_bytes: num_bytes as i64,
                elapsed_us,
            }),
            connection_info: Some(self.connection.clone()),
            bbr_info: tcp.map(|_| BbrSample {
                info: bbr.unwrap_or_default(),
                elapsed_us,
            }),
            tcp_info: tcp.map(|info| TcpSample { info, elapsed_us }),
        }
    }

    /// Bytes that the client acknowledged so far; 0 when the kernel cannot be asked.
    pub(crate) fn bytes_acked(&self) -> u64 {
        tcp_info(&self.socket).map_or(0, |info| info.bytes_acked as u64)
    }
}
