//! Checks that must hold for any bytes of an untrusted peer; the fuzz targets call them.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::frame::{Decoder, Event, Violation};
use crate::protocol::handshake::{accept_key, upgrade_key};
use crate::protocol::{Measurement, query};

/// The output of a decoder: all events except load, the bytes of load, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    events: Vec<Event>,
    load_bytes: u64,
    violation: Option<Violation>,
}

impl Decoded {
    /// Decodes `input` in pieces of `piece_bytes`; with `skips`, load is not shown to the decoder where it allows that.
    fn new(masked: bool, mut input: &[u8], piece_bytes: usize, skips: bool) -> Self {
        let (mut decoder, mut decoded) = (Decoder::new(masked), Self::default());
        while !input.is_empty() {
            let ahead = decoder.load_ahead().min(input.len() as u64) as usize;
            if skips && ahead > 0 {
                decoder.skip(ahead);
                decoded.load_bytes += ahead as u64;
                input = &input[ahead..];
                continue;
            }
            let (mut piece, rest) = input.split_at(piece_bytes.min(input.len()));
            input = rest;
            loop {
                match decoder.next(&mut piece) {
                    Ok(None) => break,
                    Ok(Some(Event::Binary(bytes))) => decoded.load_bytes += bytes as u64,
                    Ok(Some(event)) => decoded.events.push(event),
                    Err(violation) => {
                        decoded.violation = Some(violation);
                        return decoded;
                    }
                }
            }
        }
        decoded
    }
}

/// Frames mean the same however they are cut and whether their load is looked at or not.
pub fn frames(data: &[u8]) {
    let Some((&[shape, piece], input)) = data.split_first_chunk() else {
        return;
    };
    let masked = shape & 1 == 0;
    let whole = Decoded::new(masked, input, input.len().max(1), false);
    let piece_bytes = usize::from(piece) + 1;
    assert_eq!(whole, Decoded::new(masked, input, piece_bytes, false));
    assert_eq!(whole, Decoded::new(masked, input, piece_bytes, true));
    assert!(whole.load_bytes <= input.len() as u64);
}

/// No header and no query is a reason to panic; what is accepted has the form of RFC 6455.
pub fn handshake(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.unwrap_or_default()),
        ) {
            headers.append(name, value);
        }
    }
    if let Some(key) = upgrade_key(&headers) {
        assert_eq!(accept_key(key).len(), 28);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(pairs) = query::parse(text)
    {
        let pairs_again = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let again = query::format(pairs_again);
        // Encoded it may be longer than what is accepted.
        assert!(query::parse(&again).is_none_or(|parsed| parsed == pairs));
    }
}

/// The stored measurement of a client reads back as the same, and holds no free text of the client.
pub fn measurement(data: &[u8]) {
    let Some(read) = Measurement::from_client(data) else {
        return;
    };
    assert!(read.connection_info.is_none());
    let json = serde_json::to_vec(&read).expect("a measurement has no map keys but strings");
    assert_eq!(Measurement::from_json(&json), Some(read));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            frames(&data);
            handshake(&data);
            measurement(&data);
        }

        #[test]
        fn short_frames_are_cut_anywhere(
            shape in any::<[u8; 2]>(),
            frames_in in proptest::collection::vec((0u8..16, 0usize..90, any::<bool>()), 0..8),
        ) {
            let mut data = shape.to_vec();
            for (opcode, length, last) in frames_in {
                let mask = shape[0] & 1 == 0;
                data.extend([opcode | if last { 0x80 } else { 0 }, length as u8 | if mask { 0x80 } else { 0 }]);
                data.extend(vec![0x61; length + if mask { 4 } else { 0 }]);
            }
            frames(&data);
        }
    }
}
