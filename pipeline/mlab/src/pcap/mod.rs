//! A summary of the packet headers of a connection: `pcap`. The schema of the datatype defines the columns and their sources.

mod flow;
mod packet;

use arrow_schema::{Field, Fields};
use flow::{Flow, Way};
use packet::{Capture, Segment};

use groma_load::Batch;
use groma_load::Micros;
use groma_load::{Datatype, Measurement, Rule, base_name, record};

/// The values of a row.
pub(crate) const DERIVED: Rule = Rule {
    name: "derived",
    what: "a has what can be derived from the headers of the file's one connection, each column defined in the schema; id is the file's name without .pcap and .gz.",
    why: "M-Lab's table has the id alone.",
};

/// A cut file still says something.
pub(crate) const CUT_CAPTURE: Rule = Rule {
    name: "cut-capture",
    what: "A file that ends within a packet, or whose gzip stream ends early, is summed up to there, with a.Truncated true; the latter also is an entry of the error list.",
    why: "A capture ends when its writer is stopped, whatever was half written.",
};

/// Every way in which a row differs from its file.
const RULES: &[Rule] = &[DERIVED, CUT_CAPTURE];

/// Packet headers: `pcap`.
#[derive(Debug)]
pub(crate) struct Pcap;

impl Datatype for Pcap {
    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn columns(&self, fields: Fields) -> Vec<Field> {
        vec![record("a", fields)]
    }

    fn wants(&self, member: &str) -> bool {
        is_wanted(member)
    }

    fn append(&self, source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
        append(source, batch)
    }
}

fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    name.strip_suffix(".gz").unwrap_or(name).ends_with(".pcap")
}

fn append(source: &Measurement<'_>, batch: &mut Batch) -> Result<(), String> {
    let mut summary = summarize(source.bytes)?;
    summary.truncated |= source.is_cut;
    let name = base_name(source.archiver.filename.as_deref().unwrap_or_default());
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let id = name.strip_suffix(".pcap").filter(|id| !id.is_empty());
    batch.put("a", &summary)?;
    batch.end_row(id, source.archiver);
    Ok(())
}

#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    packets: u64,
    #[serde(rename = "TCPPackets")]
    tcp_packets: u64,
    other_packets: u64,
    truncated_packets: u64,
    captured_bytes: u64,
    wire_bytes: u64,
    snap_len: u32,
    link_type: u32,
    start_time: Option<Micros>,
    end_time: Option<Micros>,
    truncated: bool,
    handshake_time: Option<f64>,
    opener: Option<End>,
    listener: Option<End>,
    from_opener: Option<Way>,
    from_listener: Option<Way>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct End {
    #[serde(rename = "IP")]
    ip: String,
    port: u16,
}

/// Sums a capture up.
pub(super) fn summarize(bytes: &[u8]) -> Result<Summary, String> {
    let mut capture = Capture::open(bytes)?;
    let mut summary = Summary {
        snap_len: capture.snap_len,
        link_type: capture.link_type,
        ..Summary::default()
    };
    let mut flow: Option<Flow> = None;
    while let Some(packet) = capture.next_packet() {
        summary.packets += 1;
        summary.captured_bytes += packet.data.len() as u64;
        summary.wire_bytes += u64::from(packet.wire_bytes);
        summary.truncated_packets +=
            u64::from((packet.data.len() as u64) < u64::from(packet.wire_bytes));
        let micros = Micros(packet.nanoseconds.div_euclid(1000));
        if summary.start_time.is_none_or(|start| micros.0 < start.0) {
            summary.start_time = Some(micros);
        }
        if summary.end_time.is_none_or(|end| micros.0 > end.0) {
            summary.end_time = Some(micros);
        }
        let Some(segment) = Segment::parse(capture.link_type, packet.data) else {
            summary.other_packets += 1;
            continue;
        };
        let flow = flow.get_or_insert_with(|| Flow::of(&segment));
        if flow.take(packet.nanoseconds, &segment) {
            summary.tcp_packets += 1;
        } else {
            summary.other_packets += 1;
        }
    }
    summary.truncated = capture.is_cut();
    if let Some(flow) = flow {
        let end = |(ip, port): (std::net::IpAddr, u16)| End {
            ip: ip.to_string(),
            port,
        };
        summary.handshake_time = flow.handshake_ms();
        summary.opener = Some(end(flow.opener));
        summary.listener = Some(end(flow.listener));
        let (from_opener, from_listener) = flow.finish();
        summary.from_opener = Some(from_opener);
        summary.from_listener = Some(from_listener);
    }
    Ok(summary)
}

#[cfg(test)]
mod tests;
