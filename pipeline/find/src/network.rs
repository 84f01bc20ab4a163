//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::FindError;

/// A network of either family. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is in the IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Reports whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = FindError;

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address. Bits after the prefix are ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FindError::Network {
            text: text.to_owned(),
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = address.to_canonical();
        let Some(length) = length else {
            return Ok(Network(address.into()));
        };
        let length = length.parse().map_err(|_| wrong())?;
        let network = IpNet::new(address, length).map_err(|_| wrong())?;
        Ok(Network(network.trunc()))
    }
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
