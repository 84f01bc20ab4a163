//! A record decoded into numbers, with the JSON names of M-Lab's `tcpinfo` rows.

use groma_sock::{TCP_INFO_BYTES, TcpInfo};
use serde::{Deserialize, Serialize};

use crate::{MESSAGE_BYTES, Record, SocketId, kind};

/// `struct tcp_bbr_info`.
const BBR_BYTES: usize = 20;

/// Declares a structure of 32-bit words and its reader from one list.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($json:literal $field:ident, $doc:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $(#[doc = $doc] #[serde(rename = $json)] pub $field: u32,)* }

        impl $name {
            /// Missing words are 0, words beyond the last are ignored.
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
                Self { $($field: words.next().unwrap_or(0),)* }
            }

            /// JSON names of the words, in kernel order.
            pub const NAMES: &[&str] = &[$($json),*];

            /// The words, in the order of [`Self::NAMES`].
            #[inline]
            pub fn numbers(&self) -> [i64; Self::NAMES.len()] {
                [$(i64::from(self.$field)),*]
            }
        }
    };
}

words! {
    /// `struct inet_diag_meminfo`, in bytes.
    MemInfo {
        "Rmem" rmem_bytes, "Data in the receive queue.";
        "Wmem" wmem_bytes, "Data in the send queue.";
        "Fmem" fmem_bytes, "Memory allocated ahead.";
        "Tmem" tmem_bytes, "Data handed to the network and not yet acknowledged as sent.";
    }
}

words! {
    /// The socket's memory (`SK_MEMINFO_*`), in bytes.
    SocketMem {
        "RmemAlloc" rmem_alloc_bytes, "Receive queue.";
        "Rcvbuf" rcvbuf_bytes, "Limit of the receive queue.";
        "WmemAlloc" wmem_alloc_bytes, "Data handed to the network.";
        "Sndbuf" sndbuf_bytes, "Limit of the send queue.";
        "FwdAlloc" fwd_alloc_bytes, "Memory allocated ahead.";
        "WmemQueued" wmem_queued_bytes, "Send queue.";
        "Optmem" optmem_bytes, "Options and filters.";
        "Backlog" backlog_bytes, "Waiting while the socket is locked.";
        "Drops" drops, "Packets dropped.";
    }
}

words! {
    /// `struct tcpvegas_info`.
    VegasInfo {
        "Enabled" enabled, "Whether Vegas computes.";
        "RTTCount" rtt_count, "Measurements of the last round.";
        "RTT" rtt_us, "Smallest round-trip time of the last round, in microseconds.";
        "MinRTT" min_rtt_us, "Smallest round-trip time ever, in microseconds.";
    }
}

/// `struct tcp_dctcp_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DctcpInfo {
    /// Whether DCTCP computes.
    #[serde(rename = "Enabled")]
    pub enabled: u16,
    /// Congestion-experienced state.
    #[serde(rename = "CEState")]
    pub ce_state: u16,
    /// Share of marked bytes, 1024 is all.
    #[serde(rename = "Alpha")]
    pub alpha: u32,
    /// Bytes acknowledged with a mark.
    #[serde(rename = "ABEcn")]
    pub ab_ecn_bytes: u32,
    /// Bytes acknowledged.
    #[serde(rename = "ABTot")]
    pub ab_tot_bytes: u32,
}

/// BBR's model of the path.
pub type BbrAttribute = groma_sock::BbrInfo;

words! {
    /// The second half of `struct inet_diag_msg`.
    MessageWords {
        "IDiagExpires" expires_ms, "Milliseconds until the timer fires.";
        "IDiagRqueue" rqueue_bytes, "Bytes in the receive queue.";
        "IDiagWqueue" wqueue_bytes, "Bytes in the send queue.";
        "IDiagUID" uid, "Owner of the socket.";
        "IDiagInode" inode, "Inode of the socket; 0 once it belongs to no process.";
    }
}

/// `struct inet_diag_msg` without the identity of the socket, which is [`SocketId`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InetDiagMsg {
    /// 2 (IPv4) or 10 (IPv6).
    #[serde(rename = "IDiagFamily")]
    pub family: u8,
    /// Connection state.
    #[serde(rename = "IDiagState")]
    pub state: u8,
    /// Which timer runs: 0 none, 1 retransmit, 2 keep-alive, 3 TIME-WAIT, 4 zero-window probe.
    #[serde(rename = "IDiagTimer")]
    pub timer: u8,
    /// Retransmissions, probes or keep-alives without answer.
    #[serde(rename = "IDiagRetrans")]
    pub retrans: u8,
    /// Both ends; not part of the published row's message, which has it beside.
    #[serde(skip)]
    pub id: Option<SocketId>,
    /// The counters behind the identity.
    #[serde(flatten)]
    pub words: MessageWords,
}

/// One record, decoded. Absent attributes are `None` or 0; [`Snapshot::observed`] distinguishes the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Bit `n - 1` is set when attribute `n` was there.
    #[serde(rename = "Observed")]
    pub observed: u32,
    /// Bit `n - 1` is set when attribute `n` has bytes that are decoded nowhere here.
    #[serde(rename = "NotFullyParsed")]
    pub not_fully_parsed: u32,
    /// The message itself.
    #[serde(rename = "InetDiagMsg")]
    pub inet_diag_msg: Option<InetDiagMsg>,
    /// Name of the congestion control.
    #[serde(rename = "CongestionAlgorithm")]
    pub congestion_algorithm: String,
    /// Type of service.
    #[serde(rename = "TOS")]
    pub tos: u8,
    /// Traffic class.
    #[serde(rename = "TClass")]
    pub tclass: u8,
    /// Traffic class id.
    #[serde(rename = "ClassID")]
    pub class_id: u32,
    /// Directions that are shut down: 1 receiving, 2 sending.
    #[serde(rename = "Shutdown")]
    pub shutdown: u8,
    /// Protocol; 6 is TCP.
    #[serde(rename = "Protocol")]
    pub protocol: u8,
    /// Mark of the socket.
    #[serde(rename = "Mark")]
    pub mark: u32,
    /// `TCP_INFO`.
    #[serde(rename = "TCPInfo")]
    pub tcp_info: Option<TcpInfo>,
    /// Memory in the older form.
    #[serde(rename = "MemInfo")]
    pub mem_info: Option<MemInfo>,
    /// Memory in the newer form.
    #[serde(rename = "SocketMem")]
    pub socket_mem: Option<SocketMem>,
    /// State of Vegas.
    #[serde(rename = "VegasInfo")]
    pub vegas_info: Option<VegasInfo>,
    /// State of DCTCP.
    #[serde(rename = "DCTCPInfo")]
    pub dctcp_info: Option<DctcpInfo>,
    /// State of BBR.
    #[serde(rename = "BBRInfo")]
    pub bbr_info: Option<BbrAttribute>,
}

impl Snapshot {
    /// Decodes a record of the kernel.
    pub fn of(record: Record<'_>) -> Self {
        Self::from_parts(record.message(), record.attributes())
    }

    /// Decodes a message and its attributes, however they were kept; of a type that comes twice the last counts.
    pub fn from_parts<'a>(
        message: &[u8; MESSAGE_BYTES],
        attributes: impl Iterator<Item = (u16, &'a [u8])>,
    ) -> Self {
        let mut snapshot = Self {
            inet_diag_msg: Some(InetDiagMsg::from_bytes(message)),
            ..Self::default()
        };
        for (kind, payload) in attributes {
            let bit = match kind {
                1..=32 => 1 << (kind - 1),
                _ => 0,
            };
            snapshot.observed |= bit;
            if !snapshot.take(kind, payload) {
                snapshot.not_fully_parsed |= bit;
            }
        }
        snapshot
    }

    /// Whether every byte of the attribute found a place. Shorter structures come from older kernels and are complete.
    fn take(&mut self, kind: u16, payload: &[u8]) -> bool {
        let fits = |bytes: usize| payload.len() <= bytes;
        match kind {
            kind::MEMINFO => {
                self.mem_info = Some(MemInfo::from_bytes(payload));
                fits(size_of::<MemInfo>())
            }
            kind::INFO => {
                self.tcp_info = Some(TcpInfo::from_bytes(payload));
                fits(TCP_INFO_BYTES)
            }
            kind::VEGASINFO => {
                self.vegas_info = Some(VegasInfo::from_bytes(payload));
                fits(size_of::<VegasInfo>())
            }
            kind::CONG => {
                let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
                self.congestion_algorithm = String::from_utf8_lossy(name).into_owned();
                true
            }
            kind::TOS => byte(payload, &mut self.tos),
            kind::TCLASS => byte(payload, &mut self.tclass),
            kind::SKMEMINFO => {
                self.socket_mem = Some(SocketMem::from_bytes(payload));
                fits(size_of::<SocketMem>())
            }
            kind::SHUTDOWN => byte(payload, &mut self.shutdown),
            kind::DCTCPINFO => {
                self.dctcp_info = Some(DctcpInfo::from_bytes(payload));
                fits(16)
            }
            kind::PROTOCOL => byte(payload, &mut self.protocol),
            kind::MARK => word(payload, &mut self.mark),
            kind::BBRINFO => {
                self.bbr_info = bbr(payload);
                fits(BBR_BYTES)
            }
            kind::CLASS_ID => word(payload, &mut self.class_id),
            _ => false,
        }
    }
}

impl InetDiagMsg {
    fn from_bytes(message: &[u8; MESSAGE_BYTES]) -> Self {
        Self {
            family: message[0],
            state: message[1],
            timer: message[2],
            retrans: message[3],
            id: Record::parse(message).map(Record::id),
            words: MessageWords::from_bytes(&message[52..]),
        }
    }
}

impl DctcpInfo {
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut padded = [0; 16];
        let length = bytes.len().min(16);
        padded[..length].copy_from_slice(&bytes[..length]);
        let half = |at: usize| u16::from_ne_bytes([padded[at], padded[at + 1]]);
        let word = |at: usize| {
            u32::from_ne_bytes([padded[at], padded[at + 1], padded[at + 2], padded[at + 3]])
        };
        Self {
            enabled: half(0),
            ce_state: half(2),
            alpha: word(4),
            ab_ecn_bytes: word(8),
            ab_tot_bytes: word(12),
        }
    }
}

fn bbr(payload: &[u8]) -> Option<BbrAttribute> {
    let mut padded = [0; BBR_BYTES];
    let length = payload.len().min(BBR_BYTES);
    padded[..length].copy_from_slice(&payload[..length]);
    BbrAttribute::from_bytes(&padded)
}

fn byte(payload: &[u8], place: &mut u8) -> bool {
    payload.first().map(|value| *place = *value).is_some()
}

fn word(payload: &[u8], place: &mut u32) -> bool {
    let value = payload.try_into().map(u32::from_ne_bytes);
    value.map(|value| *place = value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_structures_are_flagged_and_short_ones_filled() {
        let message = [0; MESSAGE_BYTES];
        let long = [1_u8; 280];
        for (kind, length, flagged) in [
            (kind::INFO, 280, true),
            (kind::INFO, 232, false),
            (kind::INFO, 168, false),
            (kind::SKMEMINFO, 40, true),
            (kind::SKMEMINFO, 32, false),
            (kind::BBRINFO, 20, false),
            (kind::TOS, 0, true),
            (kind::MARK, 3, true),
            (21, 8, true),
        ] {
            let snapshot = Snapshot::from_parts(&message, [(kind, &long[..length])].into_iter());
            assert_eq!(snapshot.observed, 1 << (kind - 1));
            assert_eq!(
                snapshot.not_fully_parsed != 0,
                flagged,
                "{kind} of {length}"
            );
        }
    }

    #[test]
    fn an_empty_name_and_a_type_without_a_bit_do_no_harm() {
        let message = [0; MESSAGE_BYTES];
        let parts: [(u16, &[u8]); 3] = [(kind::CONG, b""), (200, b"x"), (0, b"")];
        let snapshot = Snapshot::from_parts(&message, parts.into_iter());
        assert_eq!(
            (snapshot.observed, snapshot.congestion_algorithm.as_str()),
            (8, "")
        );
    }
}
