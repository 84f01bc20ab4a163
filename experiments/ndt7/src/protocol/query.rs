//! The query string: client metadata in, client metadata out.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest query that a server must accept, and the longest that this one does, in bytes.
const LONGEST_BYTES: usize = 4096;

/// All bytes except the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Decodes a query as the specification asks: `None` when it is longer than 4096 bytes or not URL-encoded UTF-8; of
/// duplicate keys the first wins; a key without value has an empty one.
pub(crate) fn parse(query: &str) -> Option<Vec<(String, String)>> {
    if query.len() > LONGEST_BYTES {
        return None;
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        if !pairs.iter().any(|(known, _)| *known == key) {
            pairs.push((key, value));
        }
    }
    Some(pairs)
}

/// Decodes one key or value (WHATWG URL, section 5.1); `None` for a broken escape or bytes that are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Encodes metadata as a query without the question mark.
pub(crate) fn format<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        query.extend(utf8_percent_encode(key, RESERVED));
        query.push('=');
        query.extend(utf8_percent_encode(value, RESERVED));
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(query: &str) -> Option<Vec<(String, String)>> {
        parse(query)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn good_queries() {
        for (query, expected) in [
            ("", pairs(&[])),
            ("a=1&b=2", pairs(&[("a", "1"), ("b", "2")])),
            ("a=1&a=2", pairs(&[("a", "1")])),
            ("a&b=&&", pairs(&[("a", ""), ("b", "")])),
            ("a=x+y%20z%2B", pairs(&[("a", "x y z+")])),
            ("a=b=c", pairs(&[("a", "b=c")])),
            ("%C3%A4=%e2%82%ac", pairs(&[("ä", "€")])),
            ("a=1;b=2", pairs(&[("a", "1;b=2")])),
        ] {
            assert_eq!(parsed(query), Some(expected), "{query}");
        }
    }

    #[test]
    fn bad_queries() {
        for query in ["a=%zz", "a=%", "a=%4", "a=%ff", "%=1", "a=%+1"] {
            assert_eq!(parsed(query), None, "{query}");
        }
        assert!(parsed(&format!("a={}", "x".repeat(4094))).is_some());
        assert!(parsed(&format!("a={}", "x".repeat(4095))).is_none());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(key in ".{1,40}", value in ".{0,40}") {
            let query = format([(key.as_str(), value.as_str())]);
            prop_assert_eq!(parse(&query), Some(vec![(key, value)]));
        }

        #[test]
        fn any_text_is_survived(query in ".*") {
            let _ = parse(&query);
        }
    }
}
