//! The codec against itself, against bytes written by hand, and against arbitrary bytes.

use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// Feeds `bytes` in pieces of the given sizes, cycling, and joins the counts of load.
fn decode(
    decoder: &mut Decoder,
    bytes: &[u8],
    pieces: &[usize],
) -> (Vec<Event>, Option<Violation>) {
    let mut events: Vec<Event> = Vec::new();
    let mut sizes = pieces.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(size);
        rest = after;
        loop {
            match decoder.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Binary(more))) => match events.last_mut() {
                    Some(Event::Binary(bytes)) => *bytes += more,
                    _ => events.push(Event::Binary(more)),
                },
                Ok(Some(event)) => events.push(event),
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert!(piece.is_empty(), "the decoder stopped before the end");
    }
    (events, None)
}

fn decode_whole(masked: bool, bytes: &[u8]) -> (Vec<Event>, Option<Violation>) {
    decode(&mut Decoder::new(masked), bytes, &[usize::MAX])
}

/// A masked frame with a first byte of one's choice.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, Opcode::Text, payload, Some(MASK));
    bytes[0] = first;
    bytes
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455, section 5.7.
    let hello = Event::Text(b"Hello".to_vec());
    let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(decode_whole(false, &unmasked).0, [hello]);
    let masked = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        decode_whole(true, &masked).0,
        [Event::Text(b"Hello".to_vec())]
    );
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(
        decode_whole(false, &fragments).0,
        [Event::Text(b"Hello".to_vec())]
    );
    assert_eq!(
        header(Opcode::Binary, 256, None).as_slice(),
        [0x82, 0x7E, 0x01, 0x00]
    );
    assert_eq!(
        header(Opcode::Binary, 65536, None).as_slice(),
        [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]
    );
}

#[test]
fn violations() {
    let long = vec![b'x'; 126];
    let huge = |first: u8, length: u64| {
        let mut bytes = vec![first, 0xFF];
        bytes.extend(length.to_be_bytes());
        bytes.extend(MASK);
        bytes
    };
    for (bytes, violation) in [
        (raw(0x83, b""), Violation::Reserved),
        (raw(0x8B, b""), Violation::Reserved),
        (raw(0xC1, b"x"), Violation::Reserved),
        (raw(0xA2, b"x"), Violation::Reserved),
        (raw(0x92, b"x"), Violation::Reserved),
        (vec![0x81, 0x01, b'x'], Violation::Masking),
        (raw(0x09, b""), Violation::Control),
        (raw(0x89, &long), Violation::Control),
        (raw(0x88, &long), Violation::Control),
        (raw(0x80, b"x"), Violation::Fragments),
        (
            [raw(0x01, b"x"), raw(0x81, b"y")].concat(),
            Violation::Fragments,
        ),
        (raw(0x88, b"x"), Violation::Close),
        (raw(0x88, &1005u16.to_be_bytes()), Violation::Close),
        (raw(0x88, &999u16.to_be_bytes()), Violation::Close),
        (raw(0x88, &[0x03, 0xE8, 0xFF]), Violation::Reason),
        (huge(0x82, (1 << 24) + 1), Violation::TooBig),
        (huge(0x82, u64::MAX), Violation::TooBig),
        (huge(0x81, u64::MAX), Violation::TooBig),
        (
            [raw(0x02, b"x"), huge(0x80, 1 << 24)].concat(),
            Violation::TooBig,
        ),
    ] {
        assert_eq!(decode_whole(true, &bytes).1, Some(violation), "{bytes:?}");
    }
    assert_eq!(
        decode_whole(false, &raw(0x81, b"x")).1,
        Some(Violation::Masking)
    );
}

#[test]
fn a_message_of_exactly_the_limit_is_taken() {
    let mut bytes = Vec::new();
    encode(&mut bytes, Opcode::Binary, &vec![7; 1 << 24], Some(MASK));
    assert_eq!(
        decode_whole(true, &bytes),
        (vec![Event::Binary(1 << 24)], None)
    );
}

#[test]
fn text_too_long_to_keep_is_not_kept() {
    let mut bytes = Vec::new();
    encode(&mut bytes, Opcode::Text, &vec![b'x'; 1 << 20], Some(MASK));
    encode(&mut bytes, Opcode::Text, b"short", Some(MASK));
    let mut decoder = Decoder::new(true);
    let (events, violation) = decode(&mut decoder, &bytes, &[1000]);
    assert_eq!(violation, None);
    assert_eq!(events, [Event::LongText, Event::Text(b"short".to_vec())]);
    assert!(decoder.kept_bytes() <= 1 << 16);
}

#[test]
fn control_frames_come_between_fragments() {
    let bytes = [raw(0x01, b"ab"), raw(0x89, b"ping"), raw(0x80, b"cd")].concat();
    let expected = vec![Event::Ping(b"ping".to_vec()), Event::Text(b"abcd".to_vec())];
    assert_eq!(decode_whole(true, &bytes), (expected, None));
}

fn message() -> impl Strategy<Value = (Opcode, Vec<u8>)> {
    let short = proptest::collection::vec(any::<u8>(), 0..126);
    let long = proptest::collection::vec(any::<u8>(), 0..70_000);
    prop_oneof![
        (Just(Opcode::Text), long.clone()),
        (Just(Opcode::Binary), long),
        (Just(Opcode::Ping), short.clone()),
        (Just(Opcode::Pong), short),
    ]
}

fn expected(messages: &[(Opcode, Vec<u8>)]) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (opcode, payload) in messages {
        match (opcode, events.last_mut()) {
            (Opcode::Binary, Some(Event::Binary(bytes))) => *bytes += payload.len(),
            (Opcode::Binary, _) if payload.is_empty() => {}
            (Opcode::Binary, _) => events.push(Event::Binary(payload.len())),
            (Opcode::Text, _) if payload.len() > 1 << 16 => events.push(Event::LongText),
            (Opcode::Text, _) => events.push(Event::Text(payload.clone())),
            (Opcode::Ping, _) => events.push(Event::Ping(payload.clone())),
            _ => events.push(Event::Pong),
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(
        messages in proptest::collection::vec(message(), 0..6),
        mask in any::<Option<[u8; 4]>>(),
        pieces in proptest::collection::vec(1usize..5000, 1..8),
    ) {
        let mut bytes = Vec::new();
        for (opcode, payload) in &messages {
            encode(&mut bytes, *opcode, payload, mask);
        }
        let decoded = decode(&mut Decoder::new(mask.is_some()), &bytes, &pieces);
        prop_assert_eq!(decoded, (expected(&messages), None));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        masked in any::<bool>(),
        pieces in proptest::collection::vec(1usize..50, 1..8),
    ) {
        let whole = decode_whole(masked, &bytes);
        let cut = decode(&mut Decoder::new(masked), &bytes, &pieces);
        prop_assert_eq!(whole, cut);
    }
}
