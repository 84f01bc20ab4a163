//! Snapshots into columns.

use groma_diag::{BbrAttribute, DctcpInfo, InetDiagMsg, MemInfo, Snapshot, SocketMem, VegasInfo};
use groma_sock::TcpInfo;
use serde::Serialize;

use super::line::Timed;
use groma_load::{Block, Micros, Place, Unfit};

/// The numbers that a snapshot has once.
const TOP: &[&str] = &[
    "Observed",
    "NotFullyParsed",
    "TOS",
    "TClass",
    "ClassID",
    "Shutdown",
    "Protocol",
    "Mark",
];

const MESSAGE: &[&str] = &[
    "IDiagFamily",
    "IDiagState",
    "IDiagTimer",
    "IDiagRetrans",
    "IDiagExpires",
    "IDiagRqueue",
    "IDiagWqueue",
    "IDiagUID",
    "IDiagInode",
];

const DCTCP: &[&str] = &["Enabled", "CEState", "Alpha", "ABEcn", "ABTot"];

const BBR: &[&str] = &["BW", "MinRTT", "PacingGain", "CwndGain"];

/// The values that are not numbers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head<'a> {
    timestamp: Micros,
    congestion_algorithm: &'a str,
}

/// Snapshots of which the numbers are not put yet.
pub(super) struct Columns {
    top: Block<{ TOP.len() }>,
    message: Block<{ MESSAGE.len() }>,
    tcp_info: Block<{ TcpInfo::NAMES.len() }>,
    mem_info: Block<{ MemInfo::NAMES.len() }>,
    socket_mem: Block<{ SocketMem::NAMES.len() }>,
    vegas_info: Block<{ VegasInfo::NAMES.len() }>,
    dctcp_info: Block<{ DCTCP.len() }>,
    bbr_info: Block<{ BBR.len() }>,
}

impl Default for Columns {
    fn default() -> Self {
        Columns {
            top: Block::new(None, TOP),
            message: Block::new(Some("InetDiagMsg"), MESSAGE),
            tcp_info: Block::new(Some("TCPInfo"), TcpInfo::NAMES),
            mem_info: Block::new(Some("MemInfo"), MemInfo::NAMES),
            socket_mem: Block::new(Some("SocketMem"), SocketMem::NAMES),
            vegas_info: Block::new(Some("VegasInfo"), VegasInfo::NAMES),
            dctcp_info: Block::new(Some("DCTCPInfo"), DCTCP),
            bbr_info: Block::new(Some("BBRInfo"), BBR),
        }
    }
}

impl Columns {
    /// Takes the snapshot that belongs at `place`. Its numbers may be put there later.
    pub(super) fn take(&mut self, mut place: Place<'_, '_>, timed: &Timed) -> Result<(), Unfit> {
        let of = &timed.snapshot;
        let head = Head {
            timestamp: Micros(timed.at_micros),
            congestion_algorithm: &of.congestion_algorithm,
        };
        head.serialize(place.again())?;
        let place = &mut place;
        self.top.take(place, top(of))?;
        if let Some(part) = &of.inet_diag_msg {
            self.message.take(place, message(part))?;
        }
        if let Some(part) = &of.tcp_info {
            self.tcp_info.take(place, part.numbers())?;
        }
        if let Some(part) = &of.mem_info {
            self.mem_info.take(place, part.numbers())?;
        }
        if let Some(part) = &of.socket_mem {
            self.socket_mem.take(place, part.numbers())?;
        }
        if let Some(part) = &of.vegas_info {
            self.vegas_info.take(place, part.numbers())?;
        }
        if let Some(part) = &of.dctcp_info {
            self.dctcp_info.take(place, dctcp(part))?;
        }
        if let Some(part) = &of.bbr_info {
            self.bbr_info.take(place, bbr(part))?;
        }
        Ok(())
    }

    /// Puts all that was taken; `place` is that of the last snapshot.
    pub(super) fn put(&mut self, mut place: Place<'_, '_>) -> Result<(), Unfit> {
        let place = &mut place;
        self.top.put(place)?;
        self.message.put(place)?;
        self.tcp_info.put(place)?;
        self.mem_info.put(place)?;
        self.socket_mem.put(place)?;
        self.vegas_info.put(place)?;
        self.dctcp_info.put(place)?;
        self.bbr_info.put(place)
    }
}

fn top(of: &Snapshot) -> [i64; TOP.len()] {
    [
        of.observed.into(),
        of.not_fully_parsed.into(),
        of.tos.into(),
        of.tclass.into(),
        of.class_id.into(),
        of.shutdown.into(),
        of.protocol.into(),
        of.mark.into(),
    ]
}

fn message(of: &InetDiagMsg) -> [i64; MESSAGE.len()] {
    [
        of.family.into(),
        of.state.into(),
        of.timer.into(),
        of.retrans.into(),
        of.words.expires_ms.into(),
        of.words.rqueue_bytes.into(),
        of.words.wqueue_bytes.into(),
        of.words.uid.into(),
        of.words.inode.into(),
    ]
}

fn dctcp(of: &DctcpInfo) -> [i64; DCTCP.len()] {
    [
        of.enabled.into(),
        of.ce_state.into(),
        of.alpha.into(),
        of.ab_ecn_bytes.into(),
        of.ab_tot_bytes.into(),
    ]
}

fn bbr(of: &BbrAttribute) -> [i64; BBR.len()] {
    [
        of.bw_bytes_per_s,
        of.min_rtt_us.into(),
        of.pacing_gain.into(),
        of.cwnd_gain.into(),
    ]
}
