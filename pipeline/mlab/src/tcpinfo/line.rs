//! One line of a file of snapshots: metadata, or a record of the kernel in base64.

use std::fmt;

use base64::decoded_len_estimate;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use groma_diag::{MESSAGE_BYTES, Snapshot};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Serialize};

use super::plain::{self, Clock};

/// Most attributes of a record; kernels know some twenty.
pub(super) const MOST_ATTRIBUTES: usize = 64;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metadata {
    #[serde(rename = "UUID")]
    pub(super) uuid: String,
    #[serde(default)]
    sequence: i64,
    #[serde(default)]
    start_time: Option<String>,
}

/// A snapshot and its time, in microseconds since 1970.
#[derive(Default)]
pub(super) struct Timed {
    pub(super) at_micros: i64,
    pub(super) snapshot: Snapshot,
}

/// The kinds of lines.
pub(super) enum Line<'a> {
    Metadata(Metadata),
    Snapshot(&'a Timed),
    /// A record without a single attribute.
    NotObserved,
}

/// The values of a parsed line.
enum Parsed {
    Metadata(Metadata),
    /// A record at this time; its bytes are in the decoder.
    At(i64),
}

/// Decodes lines into memory that is used again: a file has tens of thousands.
#[derive(Default)]
pub(super) struct Decoder {
    pub(super) message: Bytes,
    pub(super) attributes: Bytes,
    /// Type and end of each attribute.
    pub(super) ends: Vec<(u16, usize)>,
    pub(super) clock: Clock,
    /// The last snapshot and the one being decoded, in turns.
    both: [Timed; 2],
    turn: usize,
    has_last: bool,
}

impl Decoder {
    /// The last snapshot so far.
    pub(super) fn last(&self) -> Option<&Timed> {
        self.has_last.then(|| &self.both[1 - self.turn])
    }

    pub(super) fn decode(&mut self, line: &[u8]) -> Result<Line<'_>, String> {
        let at_micros = match plain::decode(self, line) {
            Some(at_micros) => {
                #[cfg(any(test, feature = "fuzz"))]
                self.assert_parsed_alike(line, at_micros);
                at_micros
            }
            None => match self.parse(line)? {
                Parsed::At(at_micros) => at_micros,
                Parsed::Metadata(metadata) => return Ok(Line::Metadata(metadata)),
            },
        };
        self.take_record(at_micros)
    }

    /// The parser makes the same of a line.
    #[cfg(any(test, feature = "fuzz"))]
    fn assert_parsed_alike(&self, line: &[u8], at_micros: i64) {
        let mut other = Decoder::default();
        let parsed = other.parse(line);
        assert!(matches!(parsed, Ok(Parsed::At(at)) if at == at_micros));
        assert_eq!(other.message.bytes(), self.message.bytes());
        assert_eq!(other.attributes.bytes(), self.attributes.bytes());
        assert_eq!(other.ends, self.ends);
    }

    /// Reads any line; the bytes of its record go into the decoder.
    fn parse(&mut self, line: &[u8]) -> Result<Parsed, String> {
        let line = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut parser = serde_json::Deserializer::from_str(line);
        let fields = parser
            .deserialize_map(FieldsOf(self))
            .and_then(|fields| parser.end().map(|()| fields))
            .map_err(|error| error.to_string())?;
        match (fields.message, fields.metadata) {
            (Text::None, None) => return Err("neither Metadata nor RawIDM".to_owned()),
            (Text::None, Some(metadata)) => return Ok(Parsed::Metadata(metadata)),
            (Text::Bad, _) => return Err("RawIDM is no base64".to_owned()),
            (Text::Decoded, _) => {}
        }
        let instant: jiff::Timestamp = fields
            .timestamp
            .unwrap_or_default()
            .parse()
            .map_err(|_| "Timestamp is no RFC 3339 time".to_owned())?;
        if fields.attributes_bad {
            return Err("an attribute is no base64".to_owned());
        }
        Ok(Parsed::At(instant.as_microsecond()))
    }

    /// Decodes the record whose bytes are there.
    fn take_record(&mut self, at_micros: i64) -> Result<Line<'_>, String> {
        let message: &[u8; MESSAGE_BYTES] = self.message.bytes().try_into().map_err(|_| {
            format!(
                "RawIDM has {} bytes, not {MESSAGE_BYTES}",
                self.message.used
            )
        })?;
        let (mut begin, bytes) = (0, self.attributes.bytes());
        let parts = self.ends.iter().map(|(kind, end)| {
            let part = &bytes[begin..*end];
            begin = *end;
            (*kind, part)
        });
        let timed = &mut self.both[self.turn];
        timed.snapshot = Snapshot::from_parts(message, parts);
        timed.at_micros = at_micros;
        if timed.snapshot.observed == 0 {
            return Ok(Line::NotObserved);
        }
        self.turn = 1 - self.turn;
        self.has_last = true;
        Ok(Line::Snapshot(&self.both[1 - self.turn]))
    }
}

/// Bytes behind one another, in memory that is not cleared in between.
#[derive(Default)]
pub(super) struct Bytes {
    pub(super) memory: Vec<u8>,
    pub(super) used: usize,
}

impl Bytes {
    fn bytes(&self) -> &[u8] {
        &self.memory[..self.used]
    }

    /// Appends the decoded text; false if it is not base64.
    fn decode(&mut self, text: &str) -> bool {
        let room = self.used + decoded_len_estimate(text.len());
        if self.memory.len() < room {
            self.memory.resize(room, 0);
        }
        match BASE64_STANDARD.decode_slice(text, &mut self.memory[self.used..]) {
            Ok(count) => {
                self.used += count;
                true
            }
            Err(_) => false,
        }
    }
}

/// The result of decoding a base64 text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Text {
    /// Absent, or null.
    #[default]
    None,
    Decoded,
    Bad,
}

#[derive(Default)]
struct Fields<'a> {
    timestamp: Option<&'a str>,
    message: Text,
    attributes_bad: bool,
    metadata: Option<Metadata>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(field_identifier)]
enum Key {
    Timestamp,
    RawIDM,
    Attributes,
    Metadata,
    #[serde(other)]
    Other,
}

/// Reads a line's fields; the bytes of the record go into the decoder.
struct FieldsOf<'d>(&'d mut Decoder);

impl<'de> Visitor<'de> for FieldsOf<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let FieldsOf(decoder) = self;
        decoder.message.used = 0;
        decoder.attributes.used = 0;
        decoder.ends.clear();
        let (mut fields, mut seen) = (Fields::default(), 0_u8);
        while let Some(key) = map.next_key::<Key>()? {
            let bit = 1 << key as u8;
            if seen & bit != 0 && key != Key::Other {
                return Err(A::Error::custom("a field is given twice"));
            }
            seen |= bit;
            match key {
                Key::Timestamp => fields.timestamp = Some(map.next_value()?),
                Key::RawIDM => {
                    fields.message = map.next_value_seed(Base64(&mut decoder.message))?;
                }
                Key::Attributes => {
                    let attributes = Attributes(&mut decoder.attributes, &mut decoder.ends);
                    fields.attributes_bad = !map.next_value_seed(attributes)?;
                }
                Key::Metadata => fields.metadata = map.next_value()?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

struct Base64<'d>(&'d mut Bytes);

impl<'de> DeserializeSeed<'de> for Base64<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Base64<'_> {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(if self.0.decode(text) {
            Text::Decoded
        } else {
            Text::Bad
        })
    }
}

/// Every attribute at the place of its type; null where there was none.
struct Attributes<'d>(&'d mut Bytes, &'d mut Vec<(u16, usize)>);

impl<'de> DeserializeSeed<'de> for Attributes<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of base64")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Attributes(bytes, ends) = self;
        let (mut kind, mut sound) = (0, true);
        while let Some(text) = seq.next_element_seed(Base64(bytes))? {
            if usize::from(kind) == MOST_ATTRIBUTES {
                return Err(A::Error::custom(format!(
                    "more than {MOST_ATTRIBUTES} attributes"
                )));
            }
            match text {
                Text::None => {}
                Text::Decoded => ends.push((kind, bytes.used)),
                Text::Bad => sound = false,
            }
            kind += 1;
        }
        Ok(sound)
    }
}
