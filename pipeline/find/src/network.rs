//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::net::IpAddr;
use std::str::FromStr;

use crate::FindError;

/// A network of either family. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is in the IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    length: u32,
    width: u32,
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, width) = bits_of(address);
        width == self.width && bits & mask(self.length, width) == self.bits
    }
}

impl FromStr for Network {
    type Err = FindError;

    /// `192.0.2.0/24`, `2001:db8::/32`, or one address. Bits behind the prefix do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FindError::Network {
            text: text.to_owned(),
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let (bits, width) = bits_of(address.parse().map_err(|_| wrong())?);
        let length = length.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if length > width {
            return Err(wrong());
        }
        Ok(Network {
            bits: bits & mask(length, width),
            length,
            width,
        })
    }
}

fn bits_of(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn mask(length: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    let host = all.checked_shr(length).unwrap_or(0);
    all & !host
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn addresses_are_in_their_networks() {
        for (network, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ] {
            let net: Network = network.parse().unwrap();
            assert_eq!(
                net.contains(address.parse().unwrap()),
                inside,
                "{address} in {network}"
            );
        }
        for wrong in [
            "",
            "192.0.2.0/33",
            "192.0.2/24",
            "::/129",
            "::/-1",
            "10.0.0.0/",
            "host",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
