//! Captures made byte by byte, so that every derived number is known beforehand.

use super::summarize;

/// One segment between 10.0.0.1:1000 (true) and 10.0.0.2:80, in raw IP.
struct Made {
    at_us: u32,
    by_opener: bool,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: u16,
    options: &'static [u8],
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_OPTIONS: &[u8] = &[2, 4, 5, 180, 3, 3, 7, 4, 2, 1, 1, 1];

fn segment(
    at_us: u32,
    by_opener: bool,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: u16,
) -> Made {
    let options = if flags & SYN == 0 {
        &[][..]
    } else {
        SYN_OPTIONS
    };
    Made {
        at_us,
        by_opener,
        sequence,
        acknowledgement,
        flags,
        payload,
        options,
    }
}

fn capture(segments: &[Made]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(96_u32.to_le_bytes());
    file.extend(101_u32.to_le_bytes());
    for made in segments {
        let header = 40 + made.options.len();
        let mut packet = vec![0x45, 0];
        packet.extend((header as u16 + made.payload).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        let ends = if made.by_opener {
            ([10, 0, 0, 1], [10, 0, 0, 2])
        } else {
            ([10, 0, 0, 2], [10, 0, 0, 1])
        };
        packet.extend(ends.0);
        packet.extend(ends.1);
        let ports: [u16; 2] = if made.by_opener {
            [1000, 80]
        } else {
            [80, 1000]
        };
        packet.extend(ports.map(u16::to_be_bytes).concat());
        packet.extend(made.sequence.to_be_bytes());
        packet.extend(made.acknowledgement.to_be_bytes());
        packet.extend([
            (((20 + made.options.len()) / 4) << 4) as u8,
            made.flags,
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        packet.extend(made.options);
        file.extend(1_600_000_000_u32.to_le_bytes());
        file.extend(made.at_us.to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend((packet.len() as u32 + u32::from(made.payload)).to_le_bytes());
        file.extend(packet);
    }
    file
}

fn handshake() -> Vec<Made> {
    vec![
        segment(0, true, 99, 0, SYN, 0),
        segment(20_000, false, 499, 100, SYN | ACK, 0),
        segment(20_500, true, 100, 500, ACK, 0),
    ]
}

#[test]
fn a_handshake_has_its_time_and_its_options() {
    let summary = serde_json::to_value(summarize(&capture(&handshake())).unwrap()).unwrap();
    assert_eq!(summary["HandshakeTime"], 20.5);
    assert_eq!(summary["Opener"]["Port"], 1000);
    assert_eq!(summary["TCPPackets"], 3);
    let way = &summary["FromOpener"];
    assert_eq!(
        (&way["MSS"], &way["WindowScale"]),
        (&1460.into(), &7.into())
    );
    assert_eq!(way["SackPermitted"], true);
    assert_eq!(way["MaxWindow"], 256 << 7);
    assert_eq!(way["MinRTTSequence"], 20.0);
    assert_eq!(summary["FromListener"]["MinRTTSequence"], 0.5);
}

#[test]
fn retransmitted_and_late_segments_are_told_apart() {
    let mut segments = handshake();
    let data = |at, sequence| segment(at, false, sequence, 100, ACK, 100);
    segments.extend([
        data(30_000, 500),
        data(31_000, 700),
        data(32_000, 600),
        data(33_000, 500),
        data(34_000, 700),
    ]);
    let summary = serde_json::to_value(summarize(&capture(&segments)).unwrap()).unwrap();
    let way = &summary["FromListener"];
    assert_eq!(way["OutOfOrderPackets"], 1, "600 filled the hole");
    assert_eq!(way["RetransmittedPackets"], 2, "500 and 700 came again");
    assert_eq!(way["RetransmittedBytes"], 200);
    assert_eq!(way["PayloadBytes"], 500);
    assert_eq!(summary["TruncatedPackets"], 5);
}

#[test]
fn an_answer_to_two_copies_measures_nothing() {
    let mut segments = handshake();
    segments.extend([
        segment(30_000, false, 500, 100, ACK, 100),
        segment(90_000, false, 500, 100, ACK, 100),
        segment(90_001, true, 100, 600, ACK, 0),
    ]);
    let summary = serde_json::to_value(summarize(&capture(&segments)).unwrap()).unwrap();
    assert_eq!(
        summary["FromListener"]["MinRTTSequence"], 0.5,
        "the handshake's"
    );
}

#[test]
fn sequence_numbers_wrap() {
    let data = |at, sequence| segment(at, true, sequence, 1, ACK, 100);
    let segments = [data(0, u32::MAX - 49), data(1, 50), data(2, u32::MAX - 49)];
    let summary = serde_json::to_value(summarize(&capture(&segments)).unwrap()).unwrap();
    let way = &summary["FromOpener"];
    assert_eq!(way["RetransmittedPackets"], 1);
    assert_eq!(way["OutOfOrderPackets"], 0);
    assert!(
        way["MaxWindow"].is_null(),
        "without a SYN nobody knows the scale"
    );
}

#[test]
fn a_cut_file_is_summed_up_to_the_cut_and_garbage_refused() {
    let whole = capture(&handshake());
    for cut in 24..whole.len() {
        let summary = summarize(&whole[..cut]).unwrap();
        assert!(summary.packets <= 3);
    }
    assert!(summarize(&whole[..whole.len() - 1]).unwrap().truncated);
    for garbage in [&b""[..], &[0; 24], &[0x0a, 0x0d, 0x0d, 0x0a, 0, 0]] {
        assert!(summarize(garbage).is_err());
    }
}
