//! The result of a test.

use std::net::SocketAddr;

use crate::protocol::{AppInfo, Direction, Measurement};

/// A server measurement that is older than our own count by this much does not cover the whole test: on a very slow path,
/// later measurements and acknowledgements are still in flight when the time is over. The client then reports the larger
/// of the two counts. The value exceeds the interval between any two samples.
const STALE_US: i64 = 1_000_000;

/// The result of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which test.
    pub direction: Direction,
    /// The UUID that the server gave the connection: the key to everything published about it.
    pub uuid: Option<String>,
    /// Mean rate in Mbit/s. For a download it counts the bytes that the client received. For an upload it counts those
    /// that the server's kernel reported as received, or on a path too slow for reports, those that it acknowledged.
    pub mean_mbps: f64,
    /// Smallest round-trip time in milliseconds, from the server's kernel.
    pub min_rtt_ms: Option<f64>,
    /// The retransmitted share of the bytes that the server sent in a download: 0 to 1.
    pub retransmission_ratio: Option<f64>,
    /// Bytes of load: received by the client in a download, and by the server in an upload, as its reports or
    /// acknowledgements show. Without either, the bytes that the client wrote.
    pub bytes: u64,
    /// Microseconds in which these bytes passed.
    pub elapsed_us: u64,
    /// The server's end of the connection.
    pub server: SocketAddr,
    /// Our end of the connection.
    pub client: SocketAddr,
}

impl Summary {
    /// `own` is our count of load, in an upload of what was acknowledged if that is known, `last` the last measurement of the server.
    pub(crate) fn new(
        direction: Direction,
        (server, client): (SocketAddr, SocketAddr),
        own: AppInfo,
        last: Option<&Measurement>,
    ) -> Self {
        let tcp = last.and_then(|measurement| measurement.tcp_info);
        let info = tcp.map(|tcp| tcp.info);
        let counted = match direction {
            Direction::Download => own,
            Direction::Upload => tcp
                .map(|tcp| AppInfo {
                    num_bytes: tcp.info.bytes_received,
                    elapsed_us: tcp.elapsed_us,
                })
                .or_else(|| last.and_then(|measurement| measurement.app_info))
                .filter(|told| told.elapsed_us > 0)
                .map_or(own, |told| {
                    if told.elapsed_us + STALE_US >= own.elapsed_us {
                        return told;
                    }
                    AppInfo {
                        num_bytes: told.num_bytes.max(own.num_bytes),
                        ..own
                    }
                }),
        };
        let ratio = info
            .filter(|info| direction == Direction::Download && info.bytes_sent > 0)
            .map(|info| info.bytes_retrans as f64 / info.bytes_sent as f64);
        Self {
            direction,
            uuid: last
                .and_then(|measurement| measurement.connection_info.as_ref())
                .and_then(|connection| connection.uuid.clone())
                .filter(|uuid| is_shown(uuid)),
            mean_mbps: 8.0 * counted.num_bytes as f64 / counted.elapsed_us.max(1) as f64,
            min_rtt_ms: info.map(|info| f64::from(info.min_rtt_us) / 1e3),
            retransmission_ratio: ratio,
            bytes: counted.num_bytes.max(0) as u64,
            elapsed_us: counted.elapsed_us.max(0) as u64,
            server,
            client,
        }
    }
}

/// Whether a UUID from a server may be shown and put into a command line: it has only the characters that Groma's and
/// M-Lab's servers use.
fn is_shown(uuid: &str) -> bool {
    (1..=200).contains(&uuid.len())
        && uuid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: AppInfo = AppInfo {
        num_bytes: 1_000_000,
        elapsed_us: 1_000_000,
    };

    fn summary(direction: Direction, last: &str) -> Summary {
        let last = Measurement::from_json(last.as_bytes()).unwrap();
        let ends = (
            "192.0.2.1:80".parse().unwrap(),
            "192.0.2.2:5".parse().unwrap(),
        );
        Summary::new(direction, ends, OWN, Some(&last))
    }

    #[test]
    fn a_uuid_that_would_write_to_the_terminal_is_not_taken() {
        let told = |uuid: &str| {
            let last = format!(r#"{{"ConnectionInfo":{{"UUID":"{uuid}"}}}}"#);
            summary(Direction::Download, &last).uuid
        };
        assert_eq!(told("ndt-a_1_0A").as_deref(), Some("ndt-a_1_0A"));
        assert_eq!(told(r"\u001b[2J"), None);
        assert_eq!(told(""), None);
    }

    #[test]
    fn a_download_is_counted_here_and_an_upload_there() {
        let last = r#"{"ConnectionInfo":{"UUID":"u"},"TCPInfo":{"BytesReceived":2000000,"ElapsedTime":4000000,
            "MinRTT":1500,"BytesSent":1000,"BytesRetrans":10}}"#;
        let download = summary(Direction::Download, last);
        assert_eq!((download.mean_mbps, download.bytes), (8.0, 1_000_000));
        assert_eq!(download.min_rtt_ms, Some(1.5));
        assert_eq!(download.retransmission_ratio, Some(0.01));
        assert_eq!(download.uuid.as_deref(), Some("u"));
        let upload = summary(Direction::Upload, last);
        assert_eq!((upload.mean_mbps, upload.bytes), (4.0, 2_000_000));
        assert_eq!(upload.retransmission_ratio, None);
    }

    #[test]
    fn an_upload_falls_back_on_what_there_is() {
        let app = summary(
            Direction::Upload,
            r#"{"AppInfo":{"NumBytes":3000000,"ElapsedTime":4000000}}"#,
        );
        assert_eq!((app.mean_mbps, app.bytes), (6.0, 3_000_000));
        let own = summary(Direction::Upload, "{}");
        assert_eq!((own.mean_mbps, own.bytes), (8.0, 1_000_000));
    }

    #[test]
    fn the_first_burst_is_not_taken_for_the_whole_upload() {
        let early = r#"{"TCPInfo":{"BytesReceived":1600,"ElapsedTime":100000}}"#;
        let last = Measurement::from_json(early.as_bytes()).unwrap();
        let ends = (
            "192.0.2.1:80".parse().unwrap(),
            "192.0.2.2:5".parse().unwrap(),
        );
        for (acked, known) in [(3_000, 3_000), (300, 1_600)] {
            let own = AppInfo {
                num_bytes: acked,
                elapsed_us: 9_800_000,
            };
            let summary = Summary::new(Direction::Upload, ends, own, Some(&last));
            assert_eq!((summary.bytes, summary.elapsed_us), (known, 9_800_000));
        }
    }
}
