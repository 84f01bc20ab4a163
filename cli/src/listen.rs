//! Addresses to listen on, as flags.

use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;

use anyhow::Context as _;
use groma_service::{listen_tcp, parse_listen_address};

/// A socket to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `off`, or nothing.
    Off,
    /// `ADDRESS:PORT`; with `:PORT` alone every address of both families.
    On(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "off" {
            return Ok(Self::Off);
        }
        parse_listen_address(text)
            .map(Self::On)
            .map_err(|_| format!("{text:?} is neither ADDRESS:PORT nor :PORT nor off"))
    }
}

impl Listen {
    /// Listens; returns no socket when it is off.
    pub(crate) fn open(self) -> anyhow::Result<Option<TcpListener>> {
        let Self::On(address) = self else {
            return Ok(None);
        };
        listen_tcp(address).map(Some).with_context(|| {
            format!("listen on {address}; ports below 1024 need root or CAP_NET_BIND_SERVICE")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn addresses_ports_and_nothing() {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443));
        for (text, expected) in [
            ("", Some(Listen::Off)),
            ("off", Some(Listen::Off)),
            (":443", Some(Listen::On(everywhere))),
            ("[::]:443", Some(Listen::On(everywhere))),
            ("0.0.0.0:0", Some(Listen::On(([0, 0, 0, 0], 0).into()))),
            ("443", None),
            (":", None),
            (":65536", None),
            ("localhost:80", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn off_opens_nothing_and_an_address_one_socket() {
        assert!(Listen::Off.open().unwrap().is_none());
        let socket = ":0".parse::<Listen>().unwrap().open().unwrap().unwrap();
        assert_ne!(socket.local_addr().unwrap().port(), 0);
    }
}
