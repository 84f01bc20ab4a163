//! Result files that are JSON: checked and brought to one line without touching a digit, and never in memory as a whole.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};

use groma_schema::{Forgotten, Schema};

/// A longer string makes a file malformed: of a row this much is in memory at a time.
const STRING_MAX_BYTES: u64 = 8 * 1024 * 1024;
const BUFFER_BYTES: usize = 32 * 1024;

/// Where in a text its one value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    start: u64,
    end: u64,
    /// Whether it has line breaks, all of them between tokens.
    is_broken: bool,
}

/// Accepts exactly one JSON value that keeps to the schema, if there is one, in at most `max_bytes`. The error is the
/// reason for the quarantine.
pub(crate) fn inspect(
    text: impl Read,
    schema: Option<&Schema>,
    max_bytes: u64,
) -> Result<Extent, String> {
    let seen = Seen::default();
    let mut reader = Scanned {
        text: text.take(max_bytes.saturating_add(1)),
        chunk: vec![0; BUFFER_BYTES],
        given: 0,
        filled: 0,
        seen: &seen,
    };
    let json = serde_json::Deserializer::from_reader(&mut reader);
    let verdict = judge(json, schema, &|| seen.line());
    if reader.text.limit() == 0 {
        return Err(format!("it has more than {max_bytes} bytes"));
    }
    verdict.map(|()| seen.scan.into_inner().extent())
}

/// The same for a text in memory, which is faster.
pub(crate) fn inspect_slice(
    text: &[u8],
    schema: Option<&Schema>,
    max_bytes: u64,
) -> Result<Extent, String> {
    let reader = serde_json::Deserializer::from_slice(text);
    if text.len() as u64 > max_bytes || judge(reader, schema, &|| 0).is_err() {
        // Once more, for a reason that names the line.
        return inspect(text, schema, max_bytes);
    }
    let is_space = |byte: &u8| b" \t\r\n".contains(byte);
    let start = text.iter().take_while(|byte| is_space(byte)).count();
    let end = text.len() - text.iter().rev().take_while(|byte| is_space(byte)).count();
    Ok(Extent {
        start: start as u64,
        end: end as u64,
        is_broken: text[start..end].iter().any(|byte| b"\r\n".contains(byte)),
    })
}

fn judge<'de, R: serde_json::de::Read<'de>>(
    mut reader: serde_json::Deserializer<R>,
    schema: Option<&Schema>,
    line: &dyn Fn() -> u64,
) -> Result<(), String> {
    let not_json = |error| format!("it is not JSON: {error}");
    let verdict = match schema {
        Some(schema) => schema.validate_from(&mut reader, line),
        None => serde::Deserialize::deserialize(&mut reader).map(|_: Forgotten| Ok(())),
    };
    let verdict = verdict.map_err(not_json)?;
    reader.end().map_err(not_json)?;
    verdict.map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        format!("it does not keep to the schema: {}", lines.join("; "))
    })
}

/// Writes the value of a text that was inspected as one line: as it is where it has no line break inside, else without
/// the white space between its tokens. Numbers and strings keep their spelling.
pub(crate) fn copy_line(
    mut text: impl Read,
    extent: Extent,
    out: &mut dyn Write,
) -> io::Result<()> {
    io::copy(&mut (&mut text).take(extent.start), &mut io::sink())?;
    let mut value = text.take(extent.end - extent.start);
    if !extent.is_broken {
        io::copy(&mut value, out)?;
        return Ok(());
    }
    let mut place = Place::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match value.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut kept = 0;
        for index in 0..read {
            let byte = buffer[index];
            if place.pass(byte) || !b" \t\r\n".contains(&byte) {
                buffer[kept] = byte;
                kept += 1;
            }
        }
        out.write_all(&buffer[..kept])?;
    }
}

/// Whether a byte of valid JSON stands in a string.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    in_string: bool,
    is_escaped: bool,
}

impl Place {
    /// Goes past a byte; answers whether it is of a string, its last quote not included.
    fn pass(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
        } else {
            self.in_string = byte == b'"';
        }
        self.in_string
    }
}

/// A reader that keeps an eye on what goes through it. The parser takes single bytes, so that all work is done on chunks.
struct Scanned<'a, R> {
    text: R,
    chunk: Vec<u8>,
    given: usize,
    filled: usize,
    seen: &'a Seen,
}

/// What of a text was read so far.
#[derive(Debug, Default)]
struct Seen {
    scan: RefCell<Scan>,
    /// How much of the chunk that was scanned last was given to the parser.
    given: Cell<usize>,
}

#[derive(Debug, Default)]
struct Scan {
    bytes: u64,
    /// Line breaks before the chunk, and their places in it.
    newlines_before: u64,
    newlines: Vec<usize>,
    place: Place,
    string_bytes: u64,
    longest_string_bytes: u64,
    start: Option<u64>,
    end: u64,
    /// Whether a line ended after the start, and whether something came after that.
    had_break: bool,
    is_broken: bool,
}

impl Seen {
    /// The line of what was given last but for one byte: a number is known to have ended when the next byte is read.
    fn line(&self) -> u64 {
        let scan = self.scan.borrow();
        let before = |place: &usize| place + 1 < self.given.get();
        scan.newlines_before + scan.newlines.partition_point(before) as u64 + 1
    }
}

impl Scan {
    fn extent(&self) -> Extent {
        Extent {
            start: self.start.unwrap_or(0),
            end: self.end,
            is_broken: self.is_broken,
        }
    }

    fn chunk(&mut self, chunk: &[u8]) {
        self.newlines_before += self.newlines.len() as u64;
        self.newlines.clear();
        for (place, byte) in chunk.iter().enumerate() {
            self.pass(place, *byte);
        }
    }

    fn pass(&mut self, place: usize, byte: u8) {
        self.bytes += 1;
        if self.place.pass(byte) {
            self.string_bytes += 1;
            self.longest_string_bytes = self.longest_string_bytes.max(self.string_bytes);
        } else {
            self.string_bytes = 0;
        }
        match byte {
            b'\n' | b'\r' => {
                if byte == b'\n' {
                    self.newlines.push(place);
                }
                self.had_break = self.start.is_some();
            }
            b' ' | b'\t' => {}
            _ => {
                self.start.get_or_insert(self.bytes - 1);
                self.end = self.bytes;
                self.is_broken |= self.had_break;
            }
        }
    }
}

impl<R: Read> Scanned<'_, R> {
    /// Reads the next chunk; false at the end.
    #[cold]
    fn fill(&mut self) -> io::Result<bool> {
        let read = self.text.read(&mut self.chunk)?;
        if read == 0 {
            return Ok(false);
        }
        let mut scan = self.seen.scan.borrow_mut();
        scan.chunk(&self.chunk[..read]);
        if scan.longest_string_bytes > STRING_MAX_BYTES {
            let reason = format!("a string has more than {STRING_MAX_BYTES} bytes");
            return Err(io::Error::other(reason));
        }
        (self.given, self.filled) = (0, read);
        Ok(true)
    }
}

impl<R: Read> Read for Scanned<'_, R> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.filled && !self.fill()? {
            return Ok(0);
        }
        let ready = &self.chunk[self.given..self.filled];
        let length = buffer.len().min(ready.len());
        if let ([place], [byte, ..]) = (&mut *buffer, ready) {
            *place = *byte;
        } else {
            buffer[..length].copy_from_slice(&ready[..length]);
        }
        self.given += length;
        self.seen.given.set(self.given);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NO_LIMIT: u64 = u64::MAX;

    /// The line of a text, found both ways.
    fn line(text: &str) -> Result<String, String> {
        let extent = inspect(text.as_bytes(), None, NO_LIMIT);
        assert_eq!(
            inspect_slice(text.as_bytes(), None, NO_LIMIT),
            extent,
            "{text:?}"
        );
        let mut line = Vec::new();
        copy_line(text.as_bytes(), extent?, &mut line).unwrap();
        Ok(String::from_utf8(line).unwrap())
    }

    #[test]
    fn lines() {
        let cases = [
            ("{\"a\": 1}\n", "{\"a\": 1}"),
            (
                "{\n  \"a\" : [ 1.50 , 2e400 ],\r\n\t\"b c\" : \"x \\\" y\\\\\" }\n",
                "{\"a\":[1.50,2e400],\"b c\":\"x \\\" y\\\\\"}",
            ),
            (" 12345678901234567890123 \n\n", "12345678901234567890123"),
            ("[\n]", "[]"),
        ];
        for (text, expected) in cases {
            if text.contains("2e400") {
                // Beyond every number that can be stored, so it is refused; the rest of the line is what counts.
                assert!(line(text).unwrap_err().contains("line 2"), "{text:?}");
                assert_eq!(
                    line(&text.replace("2e400", "2e30")).unwrap(),
                    expected.replace("2e400", "2e30")
                );
            } else {
                assert_eq!(line(text).unwrap(), expected);
            }
        }
    }

    #[test]
    fn well_formedness() {
        for good in ["{}", "[1,2]\n", "\"x\"", " null "] {
            line(good).unwrap();
        }
        for bad in ["", "{", "{} {}", "{'a':1}", "nul", "{\"a\":1}\n{\"a\":2}"] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
        assert!(line(&"[".repeat(1_000_000)).is_err());
        let no_utf8 = b"{\"a\":\"\xff\"}";
        assert!(inspect(&no_utf8[..], None, NO_LIMIT).is_err());
        assert!(inspect_slice(no_utf8, None, NO_LIMIT).is_err());
    }

    #[test]
    fn sizes_are_bounded() {
        for (text, limit) in [("[1,2,3]", 6), ("\"aaaaaaa\"", 6), ("[1]        ", 6)] {
            let error = inspect_slice(text.as_bytes(), None, limit).unwrap_err();
            assert_eq!(error, "it has more than 6 bytes");
        }
        let endless = io::repeat(b'x');
        let error = inspect(b"\"".chain(endless), None, NO_LIMIT).unwrap_err();
        assert!(error.contains("a string has more than"), "{error}");
    }

    #[test]
    fn a_reason_names_the_field_and_the_line() {
        let schema = Schema::parse(
            r#"[{"name":"a","type":"INTEGER"},{"name":"b","type":"STRING","mode":"REQUIRED"}]"#,
        )
        .unwrap();
        let text = "{\n\"a\":\n1.5\n,\n\"b\":7}";
        let reason = inspect_slice(text.as_bytes(), Some(&schema), NO_LIMIT).unwrap_err();
        assert!(
            reason.contains("$.a: a fractional number where INTEGER is expected (line 3)"),
            "{reason}"
        );
        assert!(
            reason.contains("$.b: an integer where STRING is expected (line 5)"),
            "{reason}"
        );
    }

    proptest::proptest! {
        #[test]
        fn a_line_keeps_the_value(text in "[\\[\\]{}:,\"\\\\ \n0-9a]{0,40}") {
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => {
                    let line = line(&text).unwrap();
                    proptest::prop_assert!(!line.contains('\n'));
                    proptest::prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
                }
                Err(_) => proptest::prop_assert!(line(&text).is_err()),
            }
        }
    }
}
