//! Result files that are JSON: unpacked within bounds, checked, brought to one line without touching a digit.

use std::borrow::Cow;
use std::io::{BufReader, Read};

use flate2::read::MultiGzDecoder;
use groma_schema::Schema;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The text of a result file, `.gz` unpacked. The error says why it cannot be had.
pub(crate) fn text<'a>(
    file_name: &str,
    bytes: &'a [u8],
    max_bytes: u64,
) -> Result<Cow<'a, str>, String> {
    let not_utf8 = |_| "it is not UTF-8".to_owned();
    if file_name.strip_suffix(".gz").is_none() {
        return std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(not_utf8);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(max_bytes + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("it is not gzip: {error}"))?;
    if unpacked.len() as u64 > max_bytes {
        return Err(format!("unpacked it has more than {max_bytes} bytes"));
    }
    String::from_utf8(unpacked)
        .map(Cow::Owned)
        .map_err(|error| not_utf8(error.utf8_error()))
}

/// Accepts exactly one JSON value that keeps to the schema, if there is one.
pub(crate) fn check(text: &str, schema: Option<&Schema>) -> Result<(), String> {
    let Some(schema) = schema else {
        return well_formed(text.as_bytes());
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    schema.validate(&value).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        format!("it does not keep to the schema: {}", lines.join("; "))
    })
}

/// Accepts exactly one JSON value, read as a stream of at most `max_bytes`.
pub(crate) fn well_formed_within(reader: impl Read, max_bytes: u64) -> Result<(), String> {
    let mut reader = reader.take(max_bytes + 1);
    let verdict = well_formed(BufReader::new(&mut reader));
    if reader.limit() == 0 {
        return Err(format!("unpacked it has more than {max_bytes} bytes"));
    }
    verdict
}

fn well_formed(reader: impl Read) -> Result<(), String> {
    serde_json::from_reader::<_, IgnoredAny>(reader)
        .map(|_| ())
        .map_err(|error| format!("it is not JSON: {error}"))
}

/// One line of a valid JSON text: as it is where it has no line break inside, else without the white space between
/// its tokens. Numbers and strings keep their spelling.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if !text.contains(['\n', '\r']) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    let mut in_string = false;
    let mut escaped = false;
    for char in text.chars() {
        if in_string {
            in_string = escaped || char != '"';
            escaped = !escaped && char == '\\';
        } else if matches!(char, ' ' | '\t' | '\r' | '\n') {
            continue;
        } else {
            in_string = char == '"';
        }
        line.push(char);
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
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
            assert_eq!(one_line(text), expected);
        }
    }

    #[test]
    fn well_formedness() {
        for good in ["{}", "[1,2]\n", "\"x\"", " null "] {
            assert_eq!(check(good, None), Ok(()), "{good:?}");
        }
        for bad in ["", "{", "{} {}", "{'a':1}", "nul", "{\"a\":1}\n{\"a\":2}"] {
            assert!(check(bad, None).is_err(), "{bad:?}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(check(&deep, None).is_err());
    }

    #[test]
    fn unpacking_is_bounded() {
        assert_eq!(text("a.json.gz", &gzip(b"{}"), 10).unwrap(), "{}");
        assert!(text("a.json.gz", &gzip(&vec![b' '; 1_000_000]), 1000).is_err());
        assert!(text("a.json.gz", b"{}", 10).is_err());
        assert!(text("a.json.gz", &gzip(b"{}")[..5], 10).is_err());
        assert!(text("a.json", b"\xff", 10).is_err());
        assert_eq!(text("a.json", b"{}", 1).unwrap(), "{}");
    }

    proptest::proptest! {
        #[test]
        fn one_line_keeps_the_value(text in "[\\[\\]{}:,\"\\\\ \n0-9a]{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let line = one_line(&text);
                proptest::prop_assert!(!line.contains('\n'));
                proptest::prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            }
        }
    }
}
