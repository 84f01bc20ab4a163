//! JSON result files: checked, and copied as one line with their numbers and strings unchanged, without the whole file in memory.

use std::io::{self, Read, Write};

use groma_schema::{Forgotten, Schema};

use crate::Gate;
use crate::scan::{BUFFER_BYTES, Quotes, Scanned, Seen};

/// The position of the one value in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether it has line breaks, which are all between tokens.
    pub(crate) is_broken: bool,
}

/// Accepts exactly one JSON value within the limits of the gate. The error is the reason for the refusal.
pub(crate) fn inspect(text: impl Read, gate: Gate<'_>) -> Result<Extent, String> {
    let max_bytes = gate.max_bytes;
    let seen = Seen::default();
    let mut reader = Scanned::new(text.take(max_bytes.saturating_add(1)), &seen);
    let json = serde_json::Deserializer::from_reader(&mut reader);
    let verdict = judge(json, gate.schema, &|| seen.line());
    if reader.text.limit() == 0 {
        return Err(format!("it has more than {max_bytes} bytes"));
    }
    verdict.map(|()| seen.into_extent())
}

/// As [`inspect`], for a text in memory, which is faster.
pub(crate) fn inspect_slice(text: &[u8], gate: Gate<'_>) -> Result<Extent, String> {
    let reader = serde_json::Deserializer::from_slice(text);
    if text.len() as u64 > gate.max_bytes || judge(reader, gate.schema, &|| 0).is_err() {
        // Again, for a reason with the line number.
        return inspect(text, gate);
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
        format!("it does not follow the schema: {}", lines.join("; "))
    })
}

/// Writes the value of an inspected text as one line: unchanged if it has no line break, otherwise without the white space
/// between its tokens. Numbers and strings keep their spelling.
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
    let mut quotes = Quotes::default();
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
            if quotes.pass(byte) || !b" \t\r\n".contains(&byte) {
                buffer[kept] = byte;
                kept += 1;
            }
        }
        out.write_all(&buffer[..kept])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn gate(schema: Option<&Schema>, max_bytes: u64) -> Gate<'_> {
        Gate { schema, max_bytes }
    }

    const NO_LIMIT: u64 = u64::MAX;

    /// The line of a text, found both ways.
    fn line(text: &str) -> Result<String, String> {
        let extent = inspect(text.as_bytes(), gate(None, NO_LIMIT));
        assert_eq!(
            inspect_slice(text.as_bytes(), gate(None, NO_LIMIT)),
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
        assert!(inspect(&no_utf8[..], gate(None, NO_LIMIT)).is_err());
        assert!(inspect_slice(no_utf8, gate(None, NO_LIMIT)).is_err());
    }

    #[test]
    fn sizes_are_bounded() {
        for (text, limit) in [("[1,2,3]", 6), ("\"aaaaaaa\"", 6), ("[1]        ", 6)] {
            let error = inspect_slice(text.as_bytes(), gate(None, limit)).unwrap_err();
            assert_eq!(error, "it has more than 6 bytes");
        }
        let endless = io::repeat(b'x');
        let error = inspect(b"\"".chain(endless), gate(None, NO_LIMIT)).unwrap_err();
        assert!(error.contains("a string has more than"), "{error}");
    }

    #[test]
    fn a_reason_names_the_field_and_the_line() {
        let schema = Schema::parse(
            r#"[{"name":"a","type":"INTEGER"},{"name":"b","type":"STRING","mode":"REQUIRED"}]"#,
        )
        .unwrap();
        let text = "{\n\"a\":\n1.5\n,\n\"b\":7}";
        let reason = inspect_slice(text.as_bytes(), gate(Some(&schema), NO_LIMIT)).unwrap_err();
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
