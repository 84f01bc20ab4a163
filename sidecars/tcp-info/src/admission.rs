//! Which connections are published in full.

use std::time::Duration;

use groma_diag::{Record, kind};

/// Offsets in `tcp_info` (`linux/tcp.h`): bytes received, segments received with data.
const BYTES_RECEIVED: usize = 128;
const DATA_SEGS_IN: usize = 152;

/// How a recorder learns which connections belong to admitted tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It does not: every connection is published in full, as M-Lab's recorder does.
    Everything,
    /// The experiment announces them over the event socket.
    Announced,
    /// A connection is admitted by the first payload byte that the client sends. For programs that cannot announce.
    FirstPayload {
        /// The version of the policy that applies.
        policy_version: String,
    },
}

/// The settings about connections that were not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unadmitted {
    /// How long after its end a connection may still be announced.
    pub grace: Duration,
    /// An unadmitted connection with more payload than this, both directions together, is counted as unexplained.
    pub most_bytes: u64,
    /// Local ports on which clients speak TLS from their first byte: a connection there may have [`HANDSHAKE_BYTES`] more.
    pub tls_ports: Vec<u16>,
    /// Rows are published when the oldest of them is this old, or earlier when there are many.
    pub batch_age: Duration,
}

/// Bytes of a TLS handshake and of the framing of the first records, both directions together. A client's hello with a
/// post-quantum key share has 1.8 kB, a chain of two or three certificates 3 to 6 kB, and session tickets up to 1 kB.
pub const HANDSHAKE_BYTES: u64 = 16 * 1024;

impl Unadmitted {
    /// Returns the most payload that a connection to a local port may have without being unexplained.
    pub(crate) fn most_bytes_at(&self, local_port: u16) -> u64 {
        let handshake = if self.tls_ports.contains(&local_port) {
            HANDSHAKE_BYTES
        } else {
            0
        };
        self.most_bytes.saturating_add(handshake)
    }
}

impl Default for Unadmitted {
    /// 10 s, 4 KiB, no TLS, one minute.
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            most_bytes: 4096,
            tls_ports: Vec::new(),
            batch_age: Duration::from_mins(1),
        }
    }
}

/// Whether the client of this connection has sent payload. `bytes_received` alone also counts a FIN.
pub(crate) fn has_payload(record: Record<'_>) -> bool {
    let Some(info) = record.attribute(kind::INFO) else {
        return false;
    };
    let is_set = |at: usize, length: usize| {
        info.get(at..at + length)
            .is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
    };
    is_set(BYTES_RECEIVED, 8) && is_set(DATA_SEGS_IN, 4)
}
