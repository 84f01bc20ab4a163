//! One socket as the kernel described it: `struct inet_diag_msg` and its attributes, read where they lie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::Attributes;

/// Bytes of `struct inet_diag_msg`.
pub const MESSAGE_BYTES: usize = 72;
/// Bytes of a [`Key`]: the family and `struct inet_diag_sockid`.
pub const KEY_BYTES: usize = 49;

const ID: std::ops::Range<usize> = 4..52;

/// Connection states, `include/net/tcp_states.h`.
pub mod state {
    /// Data flows.
    pub const ESTABLISHED: u8 = 1;
    /// Our FIN is acknowledged, the peer's has not come.
    pub const FIN_WAIT2: u8 = 5;
    /// Closed; the state of every destroyed socket.
    pub const CLOSE: u8 = 7;
    /// A name for each state, as `ss` and the RFC write it; `?` for what is none.
    pub fn name(state: u8) -> &'static str {
        const NAMES: [&str; 13] = [
            "?",
            "ESTABLISHED",
            "SYN-SENT",
            "SYN-RECV",
            "FIN-WAIT-1",
            "FIN-WAIT-2",
            "TIME-WAIT",
            "CLOSE",
            "CLOSE-WAIT",
            "LAST-ACK",
            "LISTEN",
            "CLOSING",
            "NEW-SYN-RECV",
        ];
        NAMES.get(usize::from(state)).unwrap_or(&"?")
    }
}

/// One socket in a message of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(&'a [u8]);

/// What [`crate::Diag::get`] asks by: family, both ends, interface and cookie, as the kernel gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) [u8; KEY_BYTES]);

/// Both ends of a connection; JSON names and order of M-Lab's `SockID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketId {
    /// Local port.
    #[serde(rename = "SPort")]
    pub local_port: u16,
    /// Remote port.
    #[serde(rename = "DPort")]
    pub remote_port: u16,
    /// Local address; IPv4 within IPv6 is written as IPv4.
    #[serde(rename = "SrcIP")]
    pub local_ip: IpAddr,
    /// Remote address.
    #[serde(rename = "DstIP")]
    pub remote_ip: IpAddr,
    /// Index of the interface that the socket is bound to, or 0.
    #[serde(rename = "Interface")]
    pub interface: u32,
    /// The socket cookie, as a signed number.
    #[serde(rename = "Cookie")]
    pub cookie: i64,
}

impl<'a> Record<'a> {
    /// Reads a message body; `None` when it is too short or an attribute leaves it.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let attributes = Attributes(body.get(MESSAGE_BYTES..)?);
        attributes.well_formed().then_some(Self(body))
    }

    /// The whole body: the message and its attributes.
    pub fn body(self) -> &'a [u8] {
        self.0
    }

    /// The 72 bytes of `struct inet_diag_msg`.
    pub fn message(self) -> &'a [u8; MESSAGE_BYTES] {
        self.0.first_chunk().expect("parse() checked the length")
    }

    /// The attributes in the kernel's order.
    pub fn attributes(self) -> Attributes<'a> {
        Attributes(&self.0[MESSAGE_BYTES..])
    }

    /// The payload of the first attribute of this type (see [`crate::kind`]).
    pub fn attribute(self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, payload)| (found == kind).then_some(payload))
    }

    /// Address family: 2 (IPv4) or 10 (IPv6).
    pub fn family(self) -> u8 {
        self.0[0]
    }

    /// Connection state, see [`state`].
    pub fn state(self) -> u8 {
        self.0[1]
    }

    /// Port on our side.
    pub fn local_port(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Port on the other side; 0 when there is none.
    pub fn remote_port(self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// Address on our side; IPv4 within IPv6 comes out as IPv4.
    pub fn local_ip(self) -> IpAddr {
        self.address(8)
    }

    /// Address on the other side.
    pub fn remote_ip(self) -> IpAddr {
        self.address(24)
    }

    /// The socket cookie (`SO_COOKIE`).
    pub fn cookie(self) -> u64 {
        let word = |at: usize| {
            u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
        };
        u64::from(word(48)) << 32 | u64::from(word(44))
    }

    /// Both ends, for people and for events.
    pub fn id(self) -> SocketId {
        SocketId {
            local_port: self.local_port(),
            remote_port: self.remote_port(),
            local_ip: self.local_ip(),
            remote_ip: self.remote_ip(),
            interface: u32::from_ne_bytes([self.0[40], self.0[41], self.0[42], self.0[43]]),
            cookie: self.cookie().cast_signed(),
        }
    }

    /// The key with which the socket is requested later.
    pub fn key(self) -> Key {
        let mut key = [0; KEY_BYTES];
        key[0] = self.family();
        key[1..].copy_from_slice(&self.0[ID]);
        Key(key)
    }

    /// The family decides, not the look of the bytes: `2001:db8::` has twelve zero bytes too.
    fn address(self, at: usize) -> IpAddr {
        let bytes: [u8; 16] = self.0[at..at + 16].try_into().expect("16 bytes");
        if self.family() == libc::AF_INET as u8 {
            let [a, b, c, d, ..] = bytes;
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            Ipv6Addr::from(bytes).to_canonical()
        }
    }
}

impl Key {
    /// Reads a key back from its bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes: family, then `struct inet_diag_sockid`.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_with_twelve_zero_bytes_stays_ipv6() {
        let mut body = [0; MESSAGE_BYTES];
        body[0] = libc::AF_INET6 as u8;
        body[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        body[34..40].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let record = Record::parse(&body).unwrap();
        assert_eq!(record.local_ip().to_string(), "2001:db8::");
        assert_eq!(record.remote_ip().to_string(), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            if let Some(record) = Record::parse(&body) {
                let _ = (record.id(), record.key(), record.cookie(), record.attributes().count());
            }
        }
    }
}
