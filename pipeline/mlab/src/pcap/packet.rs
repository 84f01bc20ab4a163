//! Capture files (the classic format, draft-ietf-opsawg-pcap) and the headers of TCP over IP in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// File and packet headers.
const FILE_BYTES: usize = 24;
const RECORD_BYTES: usize = 16;

/// Link types (tcpdump.org's list): Ethernet, raw IP, Linux cooked 1 and 2.
const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const COOKED: u32 = 113;
const COOKED2: u32 = 276;

/// Most IPv6 extension headers that are passed over.
const MOST_EXTENSIONS: usize = 8;

/// A capture, read packet by packet.
pub(super) struct Capture<'a> {
    rest: &'a [u8],
    big_endian: bool,
    nanoseconds_per_unit: i64,
    cut: bool,
    pub(super) snap_len: u32,
    pub(super) link_type: u32,
}

/// A packet as it was kept.
pub(super) struct Packet<'a> {
    /// Since 1970.
    pub(super) nanoseconds: i64,
    pub(super) wire_bytes: u32,
    pub(super) data: &'a [u8],
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

impl<'a> Capture<'a> {
    /// Reads the file header.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() < FILE_BYTES {
            return Err(format!("{} bytes are no capture file", bytes.len()));
        }
        let (big_endian, nanoseconds_per_unit) = match bytes[..4] {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            [0x0a, 0x0d, 0x0d, 0x0a] => return Err("pcapng, where pcap was expected".to_owned()),
            _ => return Err("no magic number of a capture file".to_owned()),
        };
        let field = |at| word(bytes, at, big_endian).unwrap_or_default();
        // Two halves, the major version first: 2.4 is the one that there is.
        let version = field(4);
        if ![0x0002_0004, 0x0004_0002].contains(&version) {
            return Err(format!(
                "version {version:#010x} of a capture file, not 2.4"
            ));
        }
        Ok(Capture {
            rest: &bytes[FILE_BYTES..],
            big_endian,
            nanoseconds_per_unit,
            cut: false,
            snap_len: field(16),
            // The upper bits say how long a frame check sequence is.
            link_type: field(20) & 0xffff,
        })
    }

    /// Whether the file ended within a packet.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn next_packet(&mut self) -> Option<Packet<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.read();
        self.cut = packet.is_none();
        packet
    }

    fn read(&mut self) -> Option<Packet<'a>> {
        let header = self.rest.get(..RECORD_BYTES)?;
        let field = |at| word(header, at, self.big_endian);
        let length = field(8)? as usize;
        let data = self.rest[RECORD_BYTES..].get(..length)?;
        let packet = Packet {
            nanoseconds: i64::from(field(0)?) * 1_000_000_000
                + i64::from(field(4)?) * self.nanoseconds_per_unit,
            wire_bytes: field(12)?,
            data,
        };
        self.rest = &self.rest[RECORD_BYTES + length..];
        Some(packet)
    }
}

/// A TCP segment's headers.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) from: (IpAddr, u16),
    pub(super) to: (IpAddr, u16),
    pub(super) ip_bytes: u64,
    pub(super) payload_bytes: u32,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    flags: u8,
    pub(super) window: u16,
    pub(super) options: Options,
}

/// The values of the options.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
    /// `TSval` and `TSecr`.
    pub(super) timestamps: Option<(u32, u32)>,
}

impl Segment {
    pub(super) fn fin(&self) -> bool {
        self.flags & 1 != 0
    }
    pub(super) fn syn(&self) -> bool {
        self.flags & 2 != 0
    }
    pub(super) fn rst(&self) -> bool {
        self.flags & 4 != 0
    }
    pub(super) fn ack(&self) -> bool {
        self.flags & 16 != 0
    }

    /// The headers of a frame; `None` for what is not TCP, is a later fragment, or was cut before the end of them.
    pub(super) fn parse(link_type: u32, frame: &[u8]) -> Option<Segment> {
        let (protocol, at) = match link_type {
            ETHERNET => ethernet(frame)?,
            COOKED => (half(frame, 14)?, 16),
            COOKED2 => (half(frame, 0)?, 20),
            // Raw IP says by its first bits what it is.
            RAW => (
                if frame.first()? >> 4 == 6 {
                    0x86dd
                } else {
                    0x0800
                },
                0,
            ),
            _ => return None,
        };
        let packet = frame.get(at..)?;
        match protocol {
            0x0800 => ipv4(packet),
            0x86dd => ipv6(packet),
            _ => None,
        }
    }
}

/// Type and offset of what a frame carries, VLAN tags passed over (IEEE 802.1Q).
fn ethernet(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    for _ in 0..3 {
        match half(frame, at)? {
            0x8100 | 0x88a8 => at += 4,
            kind => return Some((kind, at + 2)),
        }
    }
    None
}

fn ipv4(packet: &[u8]) -> Option<Segment> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(half(packet, 2)?);
    let is_later_fragment = half(packet, 6)? & 0x1fff != 0;
    if packet[0] >> 4 != 4 || header_bytes < 20 || *packet.get(9)? != 6 || is_later_fragment {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    };
    tcp(
        (address(12)?, address(16)?),
        packet.get(header_bytes..)?,
        header_bytes,
        total,
    )
}

fn ipv6(packet: &[u8]) -> Option<Segment> {
    let total = usize::from(half(packet, 4)?) + 40;
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    let (from, to) = (address(8)?, address(24)?);
    let (mut next, mut at) = (packet[6], 40);
    for _ in 0..MOST_EXTENSIONS {
        match next {
            6 => return tcp((from, to), packet.get(at..)?, at, total),
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                next = *packet.get(at)?;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}

fn tcp(
    (from, to): (IpAddr, IpAddr),
    segment: &[u8],
    ip_header_bytes: usize,
    total: usize,
) -> Option<Segment> {
    let header_bytes = usize::from(segment.get(12)? >> 4) * 4;
    let options = segment.get(20..header_bytes)?;
    let payload = total.checked_sub(ip_header_bytes + header_bytes)?;
    Some(Segment {
        from: (from, half(segment, 0)?),
        to: (to, half(segment, 2)?),
        ip_bytes: total as u64,
        payload_bytes: u32::try_from(payload).ok()?,
        sequence: word(segment, 4, true)?,
        acknowledgement: word(segment, 8, true)?,
        flags: segment[13],
        window: half(segment, 14)?,
        options: read_options(options),
    })
}

fn read_options(mut rest: &[u8]) -> Options {
    let mut options = Options::default();
    while let Some((kind, tail)) = rest.split_first() {
        match kind {
            0 => break,
            1 => {
                rest = tail;
                continue;
            }
            _ => {}
        }
        let Some(length) = tail.first().map(|length| usize::from(*length)) else {
            break;
        };
        let Some(body) = rest.get(2..length.max(2)) else {
            break;
        };
        match (kind, body.len()) {
            (2, 2) => options.mss = half(body, 0),
            // RFC 7323: more than 14 counts as 14.
            (3, 1) => options.window_scale = Some(body[0].min(14)),
            (4, 0) => options.sack_permitted = true,
            (8, 8) => options.timestamps = word(body, 0, true).zip(word(body, 4, true)),
            _ => {}
        }
        if length < 2 {
            break;
        }
        rest = &rest[length..];
    }
    options
}
