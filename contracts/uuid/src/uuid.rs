//! The text form of a connection's UUID.

use std::fmt;
use std::str::FromStr;

/// The text in place of a UUID when the kernel gives no socket cookie.
/// It is never empty, because an empty name once led to files called `.gz`.
pub const INVALID_UUID: &str = "INVALID_UUID";

/// The UUID of one TCP connection. Opaque: only uniqueness is promised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(String);

/// A text that cannot be a UUID, because it cannot be part of a file name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a connection UUID: 1 to 200 characters of A-Z a-z 0-9 - . _ are expected")]
pub struct UuidError(String);

impl Uuid {
    pub(crate) fn from_parts(prefix: &str, cookie: u64) -> Self {
        Self(format!("{prefix}_{cookie:016X}"))
    }

    /// The UUID of a connection whose cookie could not be read.
    pub fn invalid() -> Self {
        Self(INVALID_UUID.to_owned())
    }

    /// The UUID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The socket cookie: the 16 upper-case hex digits after the last underscore
    /// (a prefix may hold any number of underscores itself).
    pub fn cookie(&self) -> Option<u64> {
        let (_, hex) = self.0.rsplit_once('_')?;
        let well_formed =
            hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        well_formed
            .then(|| u64::from_str_radix(hex, 16).ok())
            .flatten()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        let safe = (1..=200).contains(&text.len())
            && !text.starts_with('.')
            && !text.contains("..")
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if safe {
            Ok(Self(text.to_owned()))
        } else {
            Err(UuidError(text.chars().take(64).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_uuids_give_their_cookie() {
        for (text, cookie) in [
            ("ndt-jdczh_1553815964_00000000000003E8", Some(0x3E8)),
            (
                "ndt-rczlq_1666977535_unsafe_000000000016912D",
                Some(0x16_912D),
            ),
            ("ndt-kps5n_1619746702_0000000000720dd1", None),
            (INVALID_UUID, None),
        ] {
            assert_eq!(text.parse::<Uuid>().unwrap().cookie(), cookie, "{text}");
        }
    }

    #[test]
    fn path_tricks_are_refused() {
        for bad in ["", "../etc", "a/b", ".hidden", "a b", "a..b"] {
            assert!(bad.parse::<Uuid>().is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn every_cookie_comes_back(cookie: u64) {
            let uuid = Uuid::from_parts("host_1", cookie);
            prop_assert_eq!(uuid.cookie(), Some(cookie));
            prop_assert_eq!(uuid.to_string().parse::<Uuid>().unwrap(), uuid);
        }
    }
}
