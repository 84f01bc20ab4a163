//! Route attributes behind an `inet_diag_msg` (`struct nlattr` of `include/uapi/linux/netlink.h`).

/// Attribute types, `INET_DIAG_*` of `include/uapi/linux/inet_diag.h`.
pub mod kind {
    /// Memory of the socket, `struct inet_diag_meminfo`, 16 bytes.
    pub const MEMINFO: u16 = 1;
    /// `struct tcp_info`, 232 bytes and more on newer kernels.
    pub const INFO: u16 = 2;
    /// `struct tcpvegas_info`, 16 bytes.
    pub const VEGASINFO: u16 = 3;
    /// Name of the congestion control, with a zero byte behind it.
    pub const CONG: u16 = 4;
    /// Type of service, 1 byte.
    pub const TOS: u16 = 5;
    /// Traffic class, 1 byte, IPv6.
    pub const TCLASS: u16 = 6;
    /// `SK_MEMINFO_*`, nine words, 36 bytes.
    pub const SKMEMINFO: u16 = 7;
    /// Directions that are shut down, 1 byte.
    pub const SHUTDOWN: u16 = 8;
    /// `struct tcp_dctcp_info`, 16 bytes.
    pub const DCTCPINFO: u16 = 9;
    /// Protocol of the socket, 1 byte.
    pub const PROTOCOL: u16 = 10;
    /// Mark of the socket, 4 bytes; only for `CAP_NET_ADMIN`.
    pub const MARK: u16 = 15;
    /// `struct tcp_bbr_info`, 20 bytes.
    pub const BBRINFO: u16 = 16;
    /// Traffic class id, 4 bytes.
    pub const CLASS_ID: u16 = 17;
}

const HEADER_BYTES: usize = 4;
/// The upper two bits of the type are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;

/// The attributes of one record, as (type, payload), in the kernel's order.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(pub(crate) &'a [u8]);

impl Attributes<'_> {
    /// Whether every attribute lies within the message; a tail of padding is allowed.
    pub(crate) fn well_formed(mut self) -> bool {
        for _ in self.by_ref() {}
        self.0.len() < HEADER_BYTES
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let payload = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_words_and_the_last_padding_may_lack() {
        let bytes = [5, 0, 8, 0, 3, 0, 0, 0, 6, 0, 4, 0x80, 7, 8];
        let found: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(found, [(8, &[3_u8][..]), (4, &[7, 8][..])]);
        assert!(Attributes(&bytes).well_formed());
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for bytes in [&[3_u8, 0, 1, 0][..], &[9, 0, 1, 0, 1, 2, 3, 4], &[0; 8]] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
            assert!(!Attributes(bytes).well_formed(), "{bytes:?}");
        }
    }
}
