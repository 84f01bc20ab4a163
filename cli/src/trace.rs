//! Prints the record of a test's connection for people.

use std::io;

use groma_find::{Stage, Trace};
use groma_tcp_info::decode::{Moment, write_plot};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A recorded connection in short; everything as of its last snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Files of the recorder that became rows.
    pub pieces: usize,
    pub snapshots: usize,
    /// Between the first and the last snapshot.
    pub seconds: f64,
    /// `ADDRESS port PORT` of both ends.
    pub local: String,
    pub remote: String,
    pub congestion_algorithm: String,
    pub bytes_acked: i64,
    pub bytes_received: i64,
    pub min_rtt_ms: f64,
    pub total_retrans: i64,
}

/// `None` until its first row is loaded.
pub(crate) fn summary(trace: &Trace) -> Option<Summary> {
    let last = &trace.rows.last()?["a"];
    let (id, info) = (&last["SockID"], &last["FinalSnapshot"]["TCPInfo"]);
    let times: Vec<Timestamp> = snapshots(trace).filter_map(time).collect();
    let end = |ip: &str, port: &str| {
        format!(
            "{} port {}",
            id[ip].as_str().unwrap_or("?"),
            id[port].as_i64().unwrap_or(0)
        )
    };
    let number = |name: &str| info[name].as_i64().unwrap_or(0);
    Some(Summary {
        pieces: trace.rows.len(),
        snapshots: snapshots(trace).count(),
        seconds: match (times.first(), times.last()) {
            (Some(first), Some(last)) => last.duration_since(*first).as_secs_f64(),
            _ => 0.0,
        },
        local: end("SrcIP", "SPort"),
        remote: end("DstIP", "DPort"),
        congestion_algorithm: last["FinalSnapshot"]["CongestionAlgorithm"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        bytes_acked: number("BytesAcked"),
        bytes_received: number("BytesReceived"),
        min_rtt_ms: number("MinRTT") as f64 / 1000.0,
        total_retrans: number("TotalRetrans"),
    })
}

/// Two lines about the connection, or one about where it is on its way.
pub(crate) fn lines(trace: &Trace) -> Vec<String> {
    let Some(summary) = summary(trace) else {
        return vec![match trace.stage {
            Stage::Unknown => "not traced".to_owned(),
            stage => format!("{}, no row yet", stage.as_str()),
        }];
    };
    [
        format!(
            "{} snapshots in {} {} over {:.2} s, {} <- {}, {}",
            summary.snapshots,
            summary.pieces,
            if summary.pieces == 1 {
                "piece"
            } else {
                "pieces"
            },
            summary.seconds,
            summary.local,
            summary.remote,
            summary.congestion_algorithm
        ),
        format!(
            "{} bytes acknowledged, {} received, minimum RTT {:.3} ms, {} segments retransmitted",
            summary.bytes_acked, summary.bytes_received, summary.min_rtt_ms, summary.total_retrans
        ),
    ]
    // Rows are other people's words; a terminal must not obey them.
    .map(|line| line.replace(char::is_control, "\u{fffd}"))
    .to_vec()
}

/// Draws the connection over time.
pub(crate) fn plot(trace: &Trace, width: usize, out: &mut impl io::Write) -> io::Result<()> {
    let moments: Vec<Moment> = snapshots(trace)
        .filter_map(|snapshot| {
            Some(Moment {
                timestamp: time(snapshot)?,
                state: snapshot["TCPInfo"]["State"]
                    .as_u64()
                    .and_then(|state| state.try_into().ok())
                    .unwrap_or(0),
                // A snapshot without it is drawn as a gap.
                info: serde_json::from_value(snapshot["TCPInfo"].clone()).ok(),
            })
        })
        .collect();
    write_plot(&moments, width, out)
}

fn snapshots(trace: &Trace) -> impl Iterator<Item = &Value> {
    trace
        .rows
        .iter()
        .filter_map(|row| row["raw"]["Snapshots"].as_array())
        .flatten()
}

fn time(snapshot: &Value) -> Option<Timestamp> {
    snapshot["Timestamp"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn piece(sequence: i64, seconds: &[i64]) -> Value {
        let snapshots: Vec<Value> = seconds
            .iter()
            .map(|second| {
                json!({
                    "Timestamp": format!("2026-11-22T00:00:{second:02}Z"),
                    "TCPInfo": {"State": 1, "BytesAcked": second * 1_000_000, "RTT": 2000, "SndCwnd": 10},
                })
            })
            .collect();
        let info = json!({"BytesAcked": 7_000_000, "BytesReceived": 100, "MinRTT": 1500, "TotalRetrans": 3});
        json!({
            "a": {
                "SockID": {"SPort": 443, "DPort": 5000, "SrcIP": "192.0.2.1", "DstIP": "198.51.100.7"},
                "FinalSnapshot": {"TCPInfo": info, "CongestionAlgorithm": "bbr"},
            },
            "raw": {"Metadata": {"Sequence": sequence}, "Snapshots": snapshots},
        })
    }

    #[test]
    fn pieces_are_one_connection() {
        let mut trace = Trace {
            stage: Stage::Claimed,
            spool_file: None,
            rows: Vec::new(),
            unreadable: Vec::new(),
        };
        assert_eq!(lines(&trace), ["claimed, no row yet"]);
        trace.rows = vec![piece(0, &[1, 2, 3]), piece(1, &[4, 5, 7])];
        assert_eq!(
            lines(&trace),
            [
                "6 snapshots in 2 pieces over 6.00 s, 192.0.2.1 port 443 <- 198.51.100.7 port 5000, bbr",
                "7000000 bytes acknowledged, 100 received, minimum RTT 1.500 ms, 3 segments retransmitted",
            ]
        );
        let mut drawn = Vec::new();
        plot(&trace, 40, &mut drawn).unwrap();
        let drawn = String::from_utf8(drawn).unwrap();
        assert!(
            drawn.starts_with("throughput out (Mbit/s), highest 8.00\n"),
            "{drawn}"
        );
        assert!(drawn.contains("6.00 s"), "{drawn}");
    }
}
