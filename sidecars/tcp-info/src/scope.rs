//! Which sockets are recorded: tests, never people.

use std::net::IpAddr;

use groma_diag::Record;

/// The sockets that belong to the experiment.
#[derive(Debug, Clone)]
pub enum Scope {
    /// On a machine that is shared: only sockets whose local port is one of the experiment's. Loopback counts, because
    /// a lab runs on it; of its two ends only the server's has such a port.
    Ports(Vec<u16>),
    /// A network namespace of the experiment's own: everything but what is excluded, and but loopback, link-local,
    /// multicast and unspecified addresses, which carry no measurement.
    Whole {
        /// Local ports that are not recorded, for instance those of metrics.
        excluded_local_ports: Vec<u16>,
        /// Remote addresses that are not recorded, for instance those of a control plane.
        excluded_remotes: Vec<Prefix>,
    },
}

/// An address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: u128,
    bits: u32,
    is_v4: bool,
}

/// A text that is not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {0:?} as an address prefix; write it as 192.0.2.0/24, 2001:db8::/32, or a single address"
)]
pub struct PrefixError(String);

impl Scope {
    /// Whether this socket is recorded. Sockets without a remote end never are.
    pub fn includes(&self, record: Record<'_>) -> bool {
        if record.remote_port() == 0 {
            return false;
        }
        match self {
            Self::Ports(ports) => ports.contains(&record.local_port()),
            Self::Whole {
                excluded_local_ports,
                excluded_remotes,
            } => {
                let remote = record.remote_ip();
                !excluded_local_ports.contains(&record.local_port())
                    && !carries_no_measurement(remote)
                    && !carries_no_measurement(record.local_ip())
                    && !excluded_remotes
                        .iter()
                        .any(|prefix| prefix.contains(remote))
            }
        }
    }
}

fn carries_no_measurement(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_multicast() || address.is_unspecified() || link_local
}

impl Prefix {
    /// Whether the address lies within; an IPv4 address lies in no IPv6 prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (number, is_v4) = number(address);
        let differing = number ^ self.address;
        is_v4 == self.is_v4 && (self.bits == 0 || differing >> (width(is_v4) - self.bits) == 0)
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

fn width(is_v4: bool) -> u32 {
    if is_v4 { 32 } else { 128 }
}

impl std::str::FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let error = || PrefixError(text.chars().take(80).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let (address, is_v4) = number(address.parse().map_err(|_| error())?);
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| error())?,
            None => width(is_v4),
        };
        if bits > width(is_v4) {
            return Err(error());
        }
        Ok(Self {
            address,
            bits,
            is_v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(local: &str, remote: &str) -> Vec<u8> {
        let mut body = vec![0; groma_diag::MESSAGE_BYTES];
        for (end, port_at, address_at) in [(local, 4, 8), (remote, 6, 24)] {
            let end: std::net::SocketAddr = end.parse().unwrap();
            body[port_at..port_at + 2].copy_from_slice(&end.port().to_be_bytes());
            match end.ip() {
                IpAddr::V4(v4) => {
                    body[0] = 2;
                    body[address_at..address_at + 4].copy_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    body[0] = 10;
                    body[address_at..address_at + 16].copy_from_slice(&v6.octets());
                }
            }
        }
        body
    }

    fn included(scope: &Scope, local: &str, remote: &str) -> bool {
        scope.includes(Record::parse(&body(local, remote)).unwrap())
    }

    #[test]
    fn on_a_shared_machine_only_the_servers_end_counts() {
        let scope = Scope::Ports(vec![4443, 40_000]);
        assert!(included(&scope, "127.0.0.1:4443", "127.0.0.1:51000"));
        assert!(!included(&scope, "127.0.0.1:51000", "127.0.0.1:4443"));
        assert!(!included(&scope, "192.0.2.1:22", "198.51.100.7:51000"));
        assert!(!included(&scope, "192.0.2.1:4443", "0.0.0.0:0"));
        assert!(included(&scope, "[2001:db8::1]:40000", "[2001:db8::2]:1"));
    }

    #[test]
    fn a_whole_namespace_but_for_what_is_excluded() {
        let scope = Scope::Whole {
            excluded_local_ports: vec![9990, 65_535],
            excluded_remotes: vec![
                "10.1.0.0/16".parse().unwrap(),
                "2001:db8:5::/48".parse().unwrap(),
            ],
        };
        assert!(included(&scope, "192.0.2.1:5000", "10.2.0.1:443"));
        for (local, remote) in [
            ("192.0.2.1:65535", "198.51.100.7:51000"),
            ("192.0.2.1:5000", "10.1.255.255:443"),
            ("[2001:db8::1]:5000", "[::ffff:10.1.0.9]:443"),
            ("[2001:db8::1]:5000", "[2001:db8:5::9]:443"),
            ("127.0.0.1:5000", "127.0.0.1:443"),
            ("[fe80::1]:5000", "[fe80::2]:443"),
            ("192.0.2.1:5000", "224.0.0.1:443"),
        ] {
            assert!(!included(&scope, local, remote), "{local} {remote}");
        }
    }

    #[test]
    fn prefixes() {
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()) && !all.contains("::2".parse().unwrap()));
        let one: Prefix = "192.0.2.1".parse().unwrap();
        assert!(!one.contains("192.0.2.2".parse().unwrap()));
        for bad in ["", "x", "1.2.3.4/33", "::/129", "1.2.3.4/-1", "1.2.3.4/"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
