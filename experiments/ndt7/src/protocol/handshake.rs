//! The WebSocket upgrade (RFC 6455, section 4), as far as both ends share it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use sha1::{Digest, Sha1};

/// Appended to the key before it is hashed (RFC 6455, section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.finalize())
}

/// A fresh `Sec-WebSocket-Key`: 16 random bytes in base64.
pub(crate) fn new_key() -> String {
    STANDARD.encode(rand::random::<[u8; 16]>())
}

/// The key of a request that asks for a WebSocket of version 13; `None` when a header of the upgrade is missing.
pub(crate) fn upgrade_key(headers: &HeaderMap) -> Option<&str> {
    let wanted = has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let valid = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    (wanted && valid).then_some(key)
}

/// Whether one of the comma-separated values of a header is `token`, whatever its case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn request(changed: &str, value: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, usual) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ] {
            let value = if name == changed { value } else { Some(usual) };
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
        }
        headers
    }

    #[test]
    fn every_header_of_the_upgrade_is_needed() {
        assert_eq!(upgrade_key(&request("", None)), Some(KEY));
        for (name, value) in [
            ("connection", None),
            ("connection", Some("close")),
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("sec-websocket-version", None),
            ("sec-websocket-version", Some("8")),
            ("sec-websocket-key", None),
            ("sec-websocket-key", Some("")),
            ("sec-websocket-key", Some("c2hvcnQ=")),
        ] {
            assert_eq!(
                upgrade_key(&request(name, value)),
                None,
                "{name}: {value:?}"
            );
        }
        assert_eq!(STANDARD.decode(new_key()).unwrap().len(), 16);
    }
}
