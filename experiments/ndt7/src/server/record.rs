//! The record of one test.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::metrics::{Ignored, Metrics};
use crate::protocol::channel::{Listener, PeerEnd, lock};
use crate::protocol::{CLOSE_WAIT, Direction, LEAVING_WAIT, Measurement};

/// Most measurements of a client in one result.
const MOST_CLIENT_MEASUREMENTS: usize = 1000;
/// Most bytes of text, as the client wrote it, in one result.
const MOST_CLIENT_TEXT_BYTES: usize = 1 << 20;

/// Why the load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The time was over.
    Runtime,
    /// A client that asked for it has acknowledged enough.
    EarlyExit,
    /// The client ended it.
    Peer(PeerEnd),
    /// The connection broke while we wrote.
    Broken,
}

impl Ending {
    /// Whether the test ended as planned.
    pub(crate) fn is_okay(self) -> bool {
        matches!(self, Self::Runtime | Self::EarlyExit)
    }
}

/// Everything that is measured in one test.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Samples of the server, in order; the last is the summary.
    pub(crate) server: Vec<Measurement>,
    /// Measurements that the client sent.
    pub(crate) client: Vec<Measurement>,
    /// When and why the load ended.
    pub(crate) ended: Option<(Timestamp, Ending)>,
    /// Payload of load that was sent.
    pub(crate) sent_bytes: u64,
    /// Payload of load that was received.
    pub(crate) received_bytes: u64,
    /// How late each sample was taken that was due at a moment of its own.
    pub(crate) late: Vec<Duration>,
    client_text_bytes: usize,
    collection_over: bool,
    ignored_unreadable: u64,
    ignored_excess: u64,
}

impl Record {
    /// The mean rate in Mbit/s as clients compute it, from the last sample of the kernel; `None` when nothing moved.
    pub(crate) fn rate_mbps(&self, direction: Direction) -> Option<f64> {
        let tcp = self.server.last()?.tcp_info?;
        let bytes = match direction {
            Direction::Download => tcp.info.bytes_acked,
            Direction::Upload => tcp.info.bytes_received,
        };
        let rate_mbps = 8.0 * bytes as f64 / tcp.elapsed_us as f64;
        (rate_mbps.is_finite() && rate_mbps > 0.0).then_some(rate_mbps)
    }

    /// M-Lab's label for how the test went.
    pub(crate) fn result_label(&self, direction: Direction) -> &'static str {
        let okay = self.ended.is_some_and(|(_, ending)| ending.is_okay());
        match (okay, self.rate_mbps(direction)) {
            (true, Some(_)) => "okay-with-rate",
            (true, None) => "okay-without-rate",
            (false, Some(_)) => "error-with-rate",
            (false, None) => "error-without-rate",
        }
    }

    /// How long after the load the connection may stay open for the client's close frame.
    pub(crate) fn close_wait(&self) -> Duration {
        match self.ended {
            Some((_, ending)) if ending.is_okay() => CLOSE_WAIT,
            _ => LEAVING_WAIT,
        }
    }

    /// Tells the metrics what was not stored.
    pub(crate) fn count_ignored(&self, direction: Direction, metrics: &Metrics) {
        if direction == Direction::Download {
            metrics.ignored_load(self.received_bytes);
        }
        metrics.ignored(direction, Ignored::Unreadable, self.ignored_unreadable);
        metrics.ignored(direction, Ignored::Excess, self.ignored_excess);
    }

    fn client_text(&mut self, text: Option<&[u8]>) {
        if self.collection_over {
            self.ignored_unreadable += 1;
            return;
        }
        let room = self.client.len() < MOST_CLIENT_MEASUREMENTS
            && text
                .is_some_and(|text| self.client_text_bytes + text.len() <= MOST_CLIENT_TEXT_BYTES);
        let Some(text) = text.filter(|_| room) else {
            self.ignored_excess += 1;
            return;
        };
        if let Some(measurement) = Measurement::from_client(text) {
            self.client_text_bytes += text.len();
            self.client.push(measurement);
        } else {
            self.ignored_unreadable += 1;
            self.collection_over = true;
        }
    }
}

/// The listener of the server: notes in the record what the client sends.
pub(crate) struct Note<'a>(pub(crate) &'a Mutex<Record>);

impl Listener for Note<'_> {
    fn binary(&mut self, bytes: usize) {
        lock(self.0).received_bytes += bytes as u64;
    }

    fn text(&mut self, text: Option<Vec<u8>>) {
        lock(self.0).client_text(text.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TcpSample;
    use crate::protocol::frame::Violation;

    #[test]
    fn a_flood_of_measurements_is_cut_at_a_thousand() {
        let mut record = Record::default();
        for _ in 0..1500 {
            record.client_text(Some(br#"{"AppInfo":{"NumBytes":1,"ElapsedTime":1}}"#));
        }
        assert_eq!((record.client.len(), record.ignored_excess), (1000, 500));
    }

    #[test]
    fn long_measurements_are_cut_at_a_mebibyte() {
        let mut record = Record::default();
        let mut text = br#"{"AppInfo":{"NumBytes":1,"ElapsedTime":1}}"#.to_vec();
        text.resize(60_000, b' ');
        for _ in 0..20 {
            record.client_text(Some(&text));
        }
        record.client_text(None);
        assert_eq!((record.client.len(), record.ignored_excess), (17, 4));
        assert!(!record.collection_over);
    }

    #[test]
    fn garbage_ends_the_collection() {
        let mut record = Record::default();
        for text in [&b"{}"[..], b"garbage", b"{}"] {
            record.client_text(Some(text));
        }
        assert_eq!((record.client.len(), record.ignored_unreadable), (1, 2));
    }

    #[test]
    fn labels_tell_the_ending_and_the_rate() {
        let mut tcp = TcpSample {
            elapsed_us: 8,
            ..TcpSample::default()
        };
        tcp.info.bytes_acked = 1_000;
        let measured = Measurement {
            tcp_info: Some(tcp),
            ..Measurement::default()
        };
        for (ending, direction, rate_mbps, label) in [
            (
                Ending::Runtime,
                Direction::Download,
                Some(1000.0),
                "okay-with-rate",
            ),
            (
                Ending::EarlyExit,
                Direction::Upload,
                None,
                "okay-without-rate",
            ),
            (
                Ending::Broken,
                Direction::Download,
                Some(1000.0),
                "error-with-rate",
            ),
            (
                Ending::Peer(PeerEnd::Closed(1000)),
                Direction::Upload,
                None,
                "error-without-rate",
            ),
            (
                Ending::Peer(PeerEnd::Violated(Violation::TooBig)),
                Direction::Upload,
                None,
                "error-without-rate",
            ),
        ] {
            let record = Record {
                server: vec![measured.clone()],
                ended: Some((Timestamp::now(), ending)),
                ..Record::default()
            };
            assert_eq!(record.rate_mbps(direction), rate_mbps);
            assert_eq!(record.result_label(direction), label);
        }
        assert_eq!(
            Record::default().result_label(Direction::Upload),
            "error-without-rate"
        );
    }
}
