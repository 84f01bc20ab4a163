//! Access to those pages of an admin port that show more than counts.

use std::net::IpAddr;
use std::path::Path;

use axum::http::{HeaderMap, header};

/// Opens pages to clients on loopback and to those that send a token.
///
/// A client counts as one on loopback when its address and the requested host both are, and when neither a reverse
/// proxy nor a web page is between: a page of any site can make a browser on this machine send requests.
#[derive(Clone, Default)]
pub struct Access {
    token: Option<String>,
}

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The token is too short to resist guessing.
    #[error(
        "cannot use the token in {path}: it has {bytes} bytes; write at least {SHORTEST} random ones"
    )]
    Short {
        /// The file.
        path: String,
        /// The length of the token.
        bytes: usize,
    },
}

/// Shortest token, in bytes.
const SHORTEST: usize = 16;

/// Headers that reverse proxies and browsers add.
const NOT_DIRECT: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "origin",
    "sec-fetch-site",
];

impl Access {
    /// Reads the token from a file; white space around it does not count.
    pub fn with_token_file(path: &Path) -> Result<Self, TokenError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read {
            path: name.clone(),
            source,
        })?;
        let token = text.trim();
        if token.len() < SHORTEST {
            return Err(TokenError::Short {
                path: name,
                bytes: token.len(),
            });
        }
        Ok(Self {
            token: Some(token.to_owned()),
        })
    }

    /// Returns whether this client may read the pages.
    pub(crate) fn allows(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        is_direct_loopback(peer, headers) || self.has_token(headers)
    }

    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION);
        let sent = sent
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match (&self.token, sent) {
            (Some(token), Some(sent)) => is_same(token.as_bytes(), sent.as_bytes()),
            _ => false,
        }
    }
}

/// Compares in a time that depends on the lengths alone.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let differing = left
        .iter()
        .zip(right)
        .fold(0, |bits, (l, r)| bits | (l ^ r));
    left.len() == right.len() && differing == 0
}

fn is_direct_loopback(peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    peer.to_canonical().is_loopback()
        && host.is_some_and(is_loopback_host)
        && !NOT_DIRECT.iter().any(|name| headers.contains_key(*name))
}

/// Returns the name or address in the value of a `Host` header (RFC 9110, section 7.2), without port and brackets.
pub fn host_name(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.unwrap_or_default()
}

fn is_loopback_host(host: &str) -> bool {
    let name = host_name(host);
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn only_direct_clients_on_loopback_need_no_token() {
        let access = Access::default();
        let (near, far): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [192, 0, 2, 1].into());
        let host = ("host", "localhost:9990");
        for (peer, pairs, expected) in [
            (near, vec![host], true),
            ("::1".parse().unwrap(), vec![("host", "[::1]:9990")], true),
            ("::ffff:127.0.0.1".parse().unwrap(), vec![host], true),
            (far, vec![host], false),
            (near, vec![], false),
            (near, vec![("host", "rebound.example:9990")], false),
            (near, vec![("host", "localhost.example")], false),
            (near, vec![host, ("x-forwarded-for", "192.0.2.1")], false),
            (near, vec![host, ("origin", "https://site.example")], false),
            (near, vec![host, ("sec-fetch-site", "cross-site")], false),
            (near, vec![host, ("authorization", "Bearer ")], true),
            (far, vec![host, ("authorization", "Bearer ")], false),
        ] {
            assert_eq!(
                access.allows(peer, &headers(&pairs)),
                expected,
                "{peer} {pairs:?}"
            );
        }
    }

    #[test]
    fn a_token_opens_the_pages_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let access = Access::with_token_file(&file).unwrap();
        let far = [192, 0, 2, 1].into();
        for (sent, expected) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer 0123456789abcdef", true),
            ("Bearer 0123456789abcdeg", false),
            ("Bearer 0123456789abcdef0", false),
            ("Bearer", false),
            ("Basic 0123456789abcdef", false),
        ] {
            let sent = headers(&[("authorization", sent)]);
            assert_eq!(access.allows(far, &sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert!(Access::with_token_file(&file).is_err());
        std::fs::write(&file, " secret \n").unwrap();
        let error = Access::with_token_file(&file).err().unwrap().to_string();
        assert!(
            error.contains("6 bytes") && error.contains("token"),
            "{error}"
        );
    }
}
