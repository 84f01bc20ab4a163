//! Addresses of people, made coarse.

use groma_diag::MESSAGE_BYTES;

/// How much of an address is written to a file. Events always have all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anonymize {
    /// All of it.
    #[default]
    None,
    /// The /24 of an IPv4 address, the /48 of an IPv6 address.
    Netblock,
}

/// A mode that is neither `none` nor `netblock`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to anonymise; use none or netblock")]
pub struct AnonymizeError(String);

impl std::str::FromStr for Anonymize {
    type Err = AnonymizeError;

    fn from_str(text: &str) -> Result<Self, AnonymizeError> {
        match text {
            "none" => Ok(Self::None),
            "netblock" => Ok(Self::Netblock),
            _ => Err(AnonymizeError(text.chars().take(40).collect())),
        }
    }
}

impl Anonymize {
    /// Makes the remote address of an `inet_diag_msg` coarse. The local one is the server's and stays.
    pub(crate) fn apply(self, message: &mut [u8; MESSAGE_BYTES]) {
        const REMOTE: usize = 24;
        const V4_IN_V6: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        if self == Self::None {
            return;
        }
        if message[0] == 2 {
            message[REMOTE + 3] = 0;
        } else if message[REMOTE..REMOTE + 12] == V4_IN_V6 {
            message[REMOTE + 15] = 0;
        } else {
            message[REMOTE + 6..REMOTE + 16].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groma_diag::Record;
    use std::net::Ipv6Addr;

    fn remote(family: u8, address: &[u8], mode: Anonymize) -> String {
        let mut message = [0; MESSAGE_BYTES];
        message[0] = family;
        message[24..24 + address.len()].copy_from_slice(address);
        mode.apply(&mut message);
        Record::parse(&message).unwrap().remote_ip().to_string()
    }

    #[test]
    fn netblocks() {
        let v6: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let mapped: Ipv6Addr = "::ffff:192.0.2.77".parse().unwrap();
        for (family, address, none, netblock) in [
            (2, &[192, 0, 2, 77][..], "192.0.2.77", "192.0.2.0"),
            (10, &v6.octets(), "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            (10, &mapped.octets(), "192.0.2.77", "192.0.2.0"),
        ] {
            assert_eq!(remote(family, address, Anonymize::None), none);
            assert_eq!(remote(family, address, Anonymize::Netblock), netblock);
        }
        assert!("house".parse::<Anonymize>().is_err());
    }
}
