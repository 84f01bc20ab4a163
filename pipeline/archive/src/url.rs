//! URLs: percent-encoding (RFC 3986, section 2.1), and the form of a URL that a message may show.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// All bytes except the unreserved characters of RFC 3986. Amazon's signatures need exactly this set.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// As [`RESERVED`], for paths: slashes stay.
const IN_PATH: &AsciiSet = &RESERVED.remove(b'/');
/// As [`IN_PATH`], for file URLs: colons stay too.
const IN_FILE_PATH: &AsciiSet = &IN_PATH.remove(b':');

/// Encodes text as one component of a URL.
#[cfg(any(feature = "gcs", feature = "s3"))]
pub(crate) fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), RESERVED).to_string()
}

/// Encodes a path; slashes stay.
#[cfg(feature = "remote")]
pub(crate) fn encode_path(path: &str) -> String {
    percent_encode(path.as_bytes(), IN_PATH).to_string()
}

/// Encodes the path of a file URL; slashes and colons stay.
pub(crate) fn encode_file_path(path: &[u8]) -> String {
    percent_encode(path, IN_FILE_PATH).to_string()
}

/// Decodes percent-encoded text. Returns `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut escapes = text.split('%').skip(1);
    escapes
        .all(is_escape)
        .then(|| percent_decode_str(text).collect())
}

/// Returns a URL without user, password, query and fragment, as messages may show it. The result is shorter if the parts
/// cannot be separated with certainty.
pub fn shown(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (plain, query) = rest.split_at(end);
    match plain.rsplit_once('@') {
        Some((_, plain)) => format!("{scheme}{plain}"),
        // The question or number sign may be part of a password.
        None if query.contains('@') && plain.contains(':') => format!("{scheme}…"),
        None => format!("{scheme}{plain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (url, expected) in [
            ("s3://bucket/a/b", "s3://bucket/a/b"),
            ("https://host:8080/x", "https://host:8080/x"),
            ("https://user:pw@host/x?sig=1#f", "https://host/x"),
            ("https://host/x?mail=a@b&sig=1", "https://host/x"),
            ("s3://AKIA:se/cret@bucket/x", "s3://bucket/x"),
            ("s3://AKIA:se?cret@bucket/x", "s3://…"),
            ("user:pw@host", "host"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn encoded_text_decodes_to_itself_and_a_broken_escape_is_refused() {
        let text = "a b/%é:~";
        assert_eq!(encode_file_path(text.as_bytes()), "a%20b/%25%C3%A9:~");
        let decoded = decode(&encode_file_path(text.as_bytes()));
        assert_eq!(decoded.as_deref(), Some(text.as_bytes()));
        for broken in ["%", "a%2", "%zz", "%2%20", "%\u{e9}0"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
