//! Lines in the very form in which tcp-info writes snapshots, read without a JSON parser in between.
//!
//! Whatever differs from that form by a byte is left to the parser, which also says what is wrong with it.

use super::line::{Bytes, Decoder, MOST_ATTRIBUTES};

/// The text between the values.
const TIMESTAMP: &[u8] = b"{\"Timestamp\":\"";
const MESSAGE: &[u8] = b"\",\"RawIDM\":\"";
const ATTRIBUTES: &[u8] = b",\"Attributes\":[";

/// The six bits of each base64 character, at each position in a group of four; [`NONE`] for other characters.
const VALUES: [[u32; 256]; 4] = [values(18), values(12), values(6), values(0)];
const NONE: u32 = 1 << 31;

const fn values(shift: u32) -> [u32; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = (value as u32) << shift;
        value += 1;
    }
    values
}

/// Decodes a line into the decoder, and gives its time in microseconds since 1970.
pub(super) fn decode(decoder: &mut Decoder, line: &[u8]) -> Option<i64> {
    let rest = line.strip_prefix(TIMESTAMP)?;
    let end = rest.iter().take(40).position(|byte| *byte == b'"')?;
    let at_micros = decoder.clock.micros(&rest[..end])?;
    let rest = rest[end..].strip_prefix(MESSAGE)?;
    decoder.message.clear(line.len());
    let rest = decoder.message.decode_plain(rest)?;
    let mut rest = rest.strip_prefix(ATTRIBUTES)?;
    decoder.attributes.clear(line.len());
    decoder.ends.clear();
    for kind in 0..MOST_ATTRIBUTES {
        if let Some(behind) = rest.strip_prefix(b"null") {
            rest = behind;
        } else {
            rest = decoder.attributes.decode_plain(rest.strip_prefix(b"\"")?)?;
            decoder.ends.push((kind as u16, decoder.attributes.used));
        }
        match rest.split_first()? {
            (b',', behind) => rest = behind,
            (b']', b"}") => return Some(at_micros),
            _ => return None,
        }
    }
    None
}

impl Bytes {
    /// Forgets what is there and makes room for what `chars` of base64 can mean, and a bit more.
    fn clear(&mut self, chars: usize) {
        self.used = 0;
        if self.memory.len() < chars {
            self.memory.resize(chars, 0);
        }
    }

    /// Appends the decoded base64 up to the next quote and returns the text after the quote.
    fn decode_plain<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = text;
        while let Some((group, behind)) = rest.split_first_chunk::<8>() {
            let (halves, _) = group.as_chunks();
            let (one, two) = (bits(halves[0]), bits(halves[1]));
            if (one | two) & NONE != 0 {
                break;
            }
            let place = self.memory[self.used..].first_chunk_mut::<8>()?;
            // Six bytes, and two that the next group writes over.
            *place = (u64::from(one) << 40 | u64::from(two) << 16).to_be_bytes();
            self.used += 6;
            rest = behind;
        }
        if let Some((group, behind)) = rest.split_first_chunk::<4>()
            && bits(*group) & NONE == 0
        {
            self.push(&bits(*group).to_be_bytes()[1..])?;
            rest = behind;
        }
        // The bits of what is filled up have to be 0.
        let (chars, bytes, behind) = match *rest {
            [b'"', ref behind @ ..] => return Some(behind),
            [a, b, b'=', b'=', b'"', ref behind @ ..] => ([a, b, b'A', b'A'], 1, behind),
            [a, b, c, b'=', b'"', ref behind @ ..] => ([a, b, c, b'A'], 2, behind),
            _ => return None,
        };
        let bits = bits(chars);
        self.push(&bits.to_be_bytes()[1..=bytes])?;
        (bits & (NONE | 0x00ff_ffff >> (8 * bytes)) == 0).then_some(behind)
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let place = self.memory.get_mut(self.used..self.used + bytes.len())?;
        place.copy_from_slice(bytes);
        self.used += bytes.len();
        Some(())
    }
}

/// The bits of four characters, with [`NONE`] where one is not of the alphabet.
#[inline]
fn bits([a, b, c, d]: [u8; 4]) -> u32 {
    let [first, second, third, fourth] = &VALUES;
    let at = |values: &[u32; 256], char: u8| values[usize::from(char)];
    at(first, a) | at(second, b) | at(third, c) | at(fourth, d)
}

/// Reads times, which mostly are of the same minute as the last one.
#[derive(Default)]
pub(super) struct Clock {
    /// `YYYY-MM-DDTHH:MM:` and what it means, once there was a time.
    minute: Option<([u8; 17], i64)>,
}

impl Clock {
    /// Microseconds since 1970, cut to whole ones, of a time in UTC that is not before.
    fn micros(&mut self, text: &[u8]) -> Option<i64> {
        let (minute, rest) = text.split_first_chunk::<17>()?;
        let start_micros = match self.minute {
            Some((last, micros)) if last == *minute => micros,
            _ => {
                let micros = start_micros(minute)?;
                self.minute = Some((*minute, micros));
                micros
            }
        };
        let (seconds, fraction) = match rest.strip_suffix(b"Z")? {
            [a, b] => ([*a, *b], [].as_slice()),
            [a, b, b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
                ([*a, *b], fraction)
            }
            _ => return None,
        };
        let mut micros = 0;
        for place in 0..6 {
            micros = micros * 10 + fraction.get(place).map_or(Some(0), |byte| digit(*byte))?;
        }
        // The cut part must consist of digits too.
        fraction
            .iter()
            .skip(6)
            .try_for_each(|byte| digit(*byte).map(drop))?;
        let seconds = digit(seconds[0])? * 10 + digit(seconds[1])?;
        (seconds < 60).then_some(start_micros + seconds * 1_000_000 + micros)
    }
}

/// What `YYYY-MM-DDTHH:MM:` means, if it is not before 1970.
fn start_micros(minute: &[u8; 17]) -> Option<i64> {
    if (minute[4], minute[10], minute[16]) != (b'-', b'T', b':') {
        return None;
    }
    let whole = [minute, b"00Z".as_slice()].concat();
    let start: jiff::Timestamp = std::str::from_utf8(&whole).ok()?.parse().ok()?;
    Some(start.as_microsecond()).filter(|micros| *micros >= 0)
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::decode;
    use crate::tcpinfo::line::Decoder;

    /// A snapshot with attributes of these lengths; 0 is none.
    fn line(time: &str, lengths: &[usize]) -> String {
        let bytes = |count: usize| {
            (0..count)
                .map(|at| (at * 37 + count) as u8)
                .collect::<Vec<_>>()
        };
        let attributes: Vec<String> = lengths
            .iter()
            .map(|length| match length {
                0 => "null".to_owned(),
                length => format!("\"{}\"", BASE64_STANDARD.encode(bytes(*length))),
            })
            .collect();
        let message = BASE64_STANDARD.encode(bytes(72));
        let attributes = attributes.join(",");
        format!(r#"{{"Timestamp":"{time}","RawIDM":"{message}","Attributes":[{attributes}]}}"#)
    }

    /// Whether the line was read here; if so, the decoder compares it with what the parser makes of it.
    fn is_plain(line: &[u8]) -> bool {
        let _ = Decoder::default().decode(line);
        decode(&mut Decoder::default(), line).is_some()
    }

    #[test]
    fn what_tcp_info_writes_needs_no_parser() {
        for time in [
            "2026-01-02T03:04:05Z",
            "2019-07-01T00:00:12.092Z",
            "2024-02-29T23:59:59.123456789Z",
            "1970-01-01T00:00:00.1Z",
        ] {
            let lengths: Vec<usize> = (0..20).collect();
            assert!(is_plain(line(time, &lengths).as_bytes()), "{time}");
            assert!(is_plain(line(time, &[0, 0, 248]).as_bytes()), "{time}");
        }
    }

    #[test]
    fn other_times_are_left_to_the_parser() {
        for time in [
            "2019-08-26T19:56:10.820011347-04:00",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.5Z",
            "2023-02-29T00:00:00Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05.12345678xZ",
            "20260102T030405.0000Z",
            &format!("{}00Z", "\0".repeat(17)),
            "",
        ] {
            assert!(!is_plain(line(time, &[4]).as_bytes()), "{time}");
        }
    }

    #[test]
    fn whatever_byte_is_another_the_parser_agrees() {
        let whole = line("2026-01-02T03:04:05.678Z", &[1, 0, 2, 3, 9, 20]).into_bytes();
        let mut plain = 0;
        for at in 0..whole.len() {
            for byte in [
                b'"', b'\\', b'=', b',', b']', b'0', b'9', b'A', b'/', b' ', 0xff,
            ] {
                let mut other = whole.clone();
                other[at] = byte;
                plain += usize::from(is_plain(&other));
            }
            assert!(!is_plain(&whole[..at]));
        }
        // Other digits and other characters of base64 are as plain.
        assert!(plain > 100);
    }

    #[test]
    fn more_attributes_than_there_can_be_are_refused() {
        let many = line("2026-01-02T03:04:05Z", &[0; 65]);
        assert!(Decoder::default().decode(many.as_bytes()).is_err());
    }
}
