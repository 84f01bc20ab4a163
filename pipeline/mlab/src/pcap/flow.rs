//! Values that are derived from the segments of one connection.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::packet::Segment;

/// Holes in the sequence space that are remembered; of a connection with more, late segments count as retransmitted.
const MOST_HOLES: usize = 256;

/// Segments and timestamps that wait for their answer; the oldest give way.
const MOST_WAITING: usize = 1024;

type EndPoint = (IpAddr, u16);

/// Counts of one direction; the columns of the schema.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Way {
    packets: u64,
    bytes: u64,
    payload_bytes: u64,
    pub(super) retransmitted_packets: u64,
    retransmitted_bytes: u64,
    pub(super) out_of_order_packets: u64,
    syn_packets: u64,
    fin_packets: u64,
    rst_packets: u64,
    #[serde(rename = "MSS")]
    pub(super) mss: Option<u16>,
    window_scale: Option<u8>,
    sack_permitted: Option<bool>,
    min_window: Option<u64>,
    max_window: Option<u64>,
    zero_window_packets: u64,
    #[serde(rename = "MinRTTSequence")]
    pub(super) min_rtt_sequence: Option<f64>,
    #[serde(rename = "MinRTTTimestamps")]
    pub(super) min_rtt_timestamps: Option<f64>,
}

/// One direction while it is followed.
#[derive(Default)]
struct Side {
    way: Way,
    /// End of the highest sequence number seen.
    next: Option<u32>,
    /// Ranges below it that were never seen.
    holes: Vec<(u32, u32)>,
    /// End of a segment sent once, and when.
    unacknowledged: VecDeque<(u32, i64)>,
    /// `TSval`, and when it was first seen.
    unechoed: VecDeque<(u32, i64)>,
    last_tsval: Option<u32>,
    /// Smallest and largest unscaled window.
    windows: Option<(u16, u16)>,
    /// Whether a SYN of this side was seen. Only then a missing window scale is certain.
    syn_seen: bool,
}

/// A connection.
pub(super) struct Flow {
    pub(super) opener: EndPoint,
    pub(super) listener: EndPoint,
    from_opener: Side,
    from_listener: Side,
    syn: Option<i64>,
    /// When the SYN-ACK came, and the sequence number that answers it.
    syn_ack: Option<u32>,
    handshake: Option<i64>,
}

/// Whether `a` is before `b` in sequence space (RFC 9293 3.4).
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn milliseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn keep_smaller(least: &mut Option<f64>, nanoseconds: i64) {
    // A clock that was set back measures nothing.
    if nanoseconds >= 0 {
        let value = milliseconds(nanoseconds);
        *least = Some(least.map_or(value, |least| least.min(value)));
    }
}

impl Flow {
    /// The connection that a segment belongs to. A SYN-ACK is sent by the listener.
    pub(super) fn of(first: &Segment) -> Flow {
        let answers = first.syn() && first.ack();
        let (opener, listener) = if answers {
            (first.to, first.from)
        } else {
            (first.from, first.to)
        };
        Flow {
            opener,
            listener,
            from_opener: Side::default(),
            from_listener: Side::default(),
            syn: None,
            syn_ack: None,
            handshake: None,
        }
    }

    /// Whether the segment is one of this connection, and then counts it.
    pub(super) fn take(&mut self, now: i64, segment: &Segment) -> bool {
        let (side, other) = if (segment.from, segment.to) == (self.opener, self.listener) {
            (&mut self.from_opener, &mut self.from_listener)
        } else if (segment.from, segment.to) == (self.listener, self.opener) {
            (&mut self.from_listener, &mut self.from_opener)
        } else {
            return false;
        };
        side.count(segment);
        side.follow(now, segment);
        if segment.ack() {
            other.acknowledged(now, segment.acknowledgement);
        }
        side.stamp(now, segment, other);
        self.shake(now, segment);
        true
    }

    fn shake(&mut self, now: i64, segment: &Segment) {
        let by_opener = segment.from == self.opener;
        if segment.syn() && !segment.ack() && by_opener && self.syn_ack.is_none() {
            self.syn = Some(now);
        } else if segment.syn() && segment.ack() && !by_opener && self.syn.is_some() {
            self.syn_ack.get_or_insert(segment.sequence.wrapping_add(1));
        } else if let (Some(answer), Some(syn)) = (self.syn_ack, self.syn)
            && by_opener
            && segment.ack()
            && segment.acknowledgement == answer
            && self.handshake.is_none()
        {
            self.handshake = Some(now - syn);
        }
    }

    pub(super) fn handshake_ms(&self) -> Option<f64> {
        self.handshake.filter(|time| *time >= 0).map(milliseconds)
    }

    /// The totals of both directions.
    pub(super) fn finish(self) -> (Way, Way) {
        let scale = |side: &Side, other: &Side| {
            let agreed = side
                .way
                .window_scale
                .filter(|_| other.way.window_scale.is_some());
            // Without the SYN the scale is unknown, and an unscaled window would be wrong.
            (side.syn_seen && other.syn_seen).then(|| agreed.unwrap_or(0))
        };
        let scales = (
            scale(&self.from_opener, &self.from_listener),
            scale(&self.from_listener, &self.from_opener),
        );
        let end = |side: Side, scale: Option<u8>| {
            let mut way = side.way;
            if let (Some((least, most)), Some(scale)) = (side.windows, scale) {
                way.min_window = Some(u64::from(least) << scale);
                way.max_window = Some(u64::from(most) << scale);
            }
            way
        };
        (
            end(self.from_opener, scales.0),
            end(self.from_listener, scales.1),
        )
    }
}

impl Side {
    fn count(&mut self, segment: &Segment) {
        let way = &mut self.way;
        way.packets += 1;
        way.bytes += segment.ip_bytes;
        way.payload_bytes += u64::from(segment.payload_bytes);
        way.syn_packets += u64::from(segment.syn());
        way.fin_packets += u64::from(segment.fin());
        way.rst_packets += u64::from(segment.rst());
        way.zero_window_packets += u64::from(segment.window == 0 && !segment.rst());
        if segment.syn() {
            self.syn_seen = true;
            way.mss = segment.options.mss;
            way.window_scale = segment.options.window_scale;
            way.sack_permitted = Some(segment.options.sack_permitted);
        } else if !segment.rst() {
            let window = segment.window;
            let (least, most) = self.windows.unwrap_or((window, window));
            self.windows = Some((least.min(window), most.max(window)));
        }
    }

    /// Tells new bytes from those seen before and from those that came late.
    fn follow(&mut self, now: i64, segment: &Segment) {
        let length = segment.payload_bytes;
        let marks = u32::from(segment.syn()) + u32::from(segment.fin());
        let begin = segment.sequence;
        let end = begin.wrapping_add(length).wrapping_add(marks);
        let Some(next) = self.next else {
            self.next = Some(end);
            self.wait_for(end, now, begin);
            return;
        };
        if begin == end {
            return;
        }
        if !before(begin, next) {
            if begin != next && self.holes.len() < MOST_HOLES {
                self.holes.push((next, begin));
            }
            self.next = Some(end);
            self.wait_for(end, now, begin);
            return;
        }
        let brings_new = before(next, end) || self.fill(begin, end);
        if before(next, end) {
            self.next = Some(end);
        }
        // Whatever is acknowledged from here on may answer either copy (Karn).
        self.unacknowledged
            .retain(|(of, _)| before(end, *of) || !before(begin, *of));
        if length == 0 {
            return;
        }
        if brings_new {
            self.way.out_of_order_packets += 1;
        } else {
            self.way.retransmitted_packets += 1;
            self.way.retransmitted_bytes += u64::from(length);
        }
    }

    /// Takes a range out of the holes; whether any of it was in one.
    fn fill(&mut self, begin: u32, end: u32) -> bool {
        let mut filled = false;
        let mut left = Vec::with_capacity(self.holes.len());
        for (from, to) in self.holes.drain(..) {
            if !before(from, end) || !before(begin, to) {
                left.push((from, to));
                continue;
            }
            filled = true;
            if before(from, begin) {
                left.push((from, begin));
            }
            if before(end, to) {
                left.push((end, to));
            }
        }
        left.truncate(MOST_HOLES);
        self.holes = left;
        filled
    }

    fn wait_for(&mut self, end: u32, now: i64, begin: u32) {
        if begin == end {
            return;
        }
        if self.unacknowledged.len() == MOST_WAITING {
            self.unacknowledged.pop_front();
        }
        self.unacknowledged.push_back((end, now));
    }

    /// The other side has everything up to `number`.
    fn acknowledged(&mut self, now: i64, number: u32) {
        while let Some((end, sent)) = self.unacknowledged.front().copied() {
            if before(number, end) {
                break;
            }
            // An acknowledgement of several segments was held back for all but the last.
            if number == end {
                keep_smaller(&mut self.way.min_rtt_sequence, now - sent);
            }
            self.unacknowledged.pop_front();
        }
    }

    fn stamp(&mut self, now: i64, segment: &Segment, other: &mut Side) {
        let Some((value, echo)) = segment.options.timestamps else {
            return;
        };
        if self.last_tsval.is_none_or(|last| before(last, value)) {
            self.last_tsval = Some(value);
            if self.unechoed.len() == MOST_WAITING {
                self.unechoed.pop_front();
            }
            self.unechoed.push_back((value, now));
        }
        if !segment.ack() {
            return;
        }
        while let Some((value, seen)) = other.unechoed.front().copied() {
            if before(echo, value) {
                break;
            }
            if value == echo {
                keep_smaller(&mut other.way.min_rtt_timestamps, now - seen);
            }
            other.unechoed.pop_front();
        }
    }
}
