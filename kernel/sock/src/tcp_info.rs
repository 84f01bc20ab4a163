//! `TCP_INFO`, `struct tcp_info` of `include/uapi/linux/tcp.h`.

use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::option::tcp_option;

/// Bytes of `struct tcp_info` that M-Lab's formats know, up to and with `tcpi_snd_wnd`; newer kernels have more.
pub const TCP_INFO_BYTES: usize = 232;

/// The state of one TCP connection (`TCP_INFO`).
pub fn tcp_info(fd: impl AsFd) -> io::Result<TcpInfo> {
    let mut buffer = [0; TCP_INFO_BYTES];
    Ok(TcpInfo::from_bytes(tcp_option(
        fd,
        libc::TCP_INFO,
        &mut buffer,
    )?))
}

/// Cuts one number after another from the front of the kernel's structure; behind its end there are zeros.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self.0.split_at(self.0.len().min(N));
        self.0 = tail;
        let mut number = [0; N];
        // A number that the end of the structure cuts in two is missing as a whole.
        if head.len() == N {
            number.copy_from_slice(head);
        }
        number
    }
}

/// Declares the structure and its reader from one list, so that the order of the fields is written down once.
/// The kernel's structure has no holes in this order, which the test of its length holds.
macro_rules! kernel_struct {
    ($(#[$about:meta])* $name:ident { $($json:literal $field:ident: $type:ty, $doc:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $(#[doc = $doc] #[serde(rename = $json)] pub $field: $type,)* }

        impl $name {
            /// Reads the kernel's structure in native byte order. Bytes beyond [`TCP_INFO_BYTES`] are ignored;
            /// fields that an older kernel does not have are 0.
            pub fn from_bytes(bytes: &[u8]) -> Self {
                let mut fields = Fields(bytes);
                Self { $($field: <$type>::from_ne_bytes(fields.take()),)* }
            }

            /// JSON names of the fields, in kernel order.
            pub const NAMES: &[&str] = &[$($json),*];

            /// The values of the fields, in the order of [`Self::NAMES`].
            #[inline]
            pub fn numbers(&self) -> [i64; Self::NAMES.len()] {
                [$(i64::from(self.$field)),*]
            }
        }

        #[cfg(test)]
        const FIELD_BYTES: usize = 0 $(+ size_of::<$type>())*;
    };
}

kernel_struct! {
    /// One reading of `TCP_INFO`, fields in kernel order, JSON names and signedness as in M-Lab's ndt7 and tcp-info
    /// results.
    TcpInfo {
        "State" state: u8, "Connection state; 1 is established (`include/net/tcp_states.h`).";
        "CAState" ca_state: u8, "Congestion state: 0 open, 1 disorder, 2 window reduced, 3 recovery, 4 loss.";
        "Retransmits" retransmits: u8, "Retransmission timeouts in a row without progress.";
        "Probes" probes: u8, "Window and keep-alive probes without answer.";
        "Backoff" backoff: u8, "Exponent of the retransmission backoff.";
        "Options" options: u8, "Bits: 1 timestamps, 2 SACK, 4 window scale, 8 ECN, 16 ECN seen, 32 SYN data.";
        "WScale" wscale: u8, "Window scales: low four bits what the peer announced, high four bits ours.";
        "AppLimited" app_limited: u8, "Bit 0: the delivery rate is limited by the application; the other bits as the kernel packs them.";
        "RTO" rto_us: u32, "Retransmission timeout in microseconds.";
        "ATO" ato_us: u32, "Delayed-acknowledgement timeout in microseconds.";
        "SndMSS" snd_mss_bytes: u32, "Bytes per segment sent.";
        "RcvMSS" rcv_mss_bytes: u32, "Estimate of the bytes per segment received.";
        "Unacked" unacked: u32, "Segments in flight.";
        "Sacked" sacked: u32, "Segments in flight that were selectively acknowledged.";
        "Lost" lost: u32, "Segments in flight believed lost.";
        "Retrans" retrans: u32, "Segments in flight that were retransmitted.";
        "Fackets" fackets: u32, "Forward acknowledgements; 0 on kernels since 4.15.";
        "LastDataSent" last_data_sent_ms: u32, "Milliseconds since data was last sent.";
        "LastAckSent" last_ack_sent_ms: u32, "Never set by Linux.";
        "LastDataRecv" last_data_recv_ms: u32, "Milliseconds since data last arrived.";
        "LastAckRecv" last_ack_recv_ms: u32, "Milliseconds since an acknowledgement last arrived.";
        "PMTU" pmtu_bytes: u32, "Path MTU.";
        "RcvSsThresh" rcv_ssthresh_bytes: u32, "Receive window ceiling.";
        "RTT" rtt_us: u32, "Smoothed round-trip time in microseconds.";
        "RTTVar" rtt_var_us: u32, "Mean deviation of the round-trip time in microseconds.";
        "SndSsThresh" snd_ssthresh: u32, "Slow-start threshold in segments.";
        "SndCwnd" snd_cwnd: u32, "Congestion window in segments.";
        "AdvMSS" adv_mss_bytes: u32, "Segment size announced to the peer.";
        "Reordering" reordering: u32, "Reordering distance in segments.";
        "RcvRTT" rcv_rtt_us: u32, "Receiver's estimate of the round-trip time in microseconds.";
        "RcvSpace" rcv_space_bytes: u32, "Receive buffer auto-tuning target.";
        "TotalRetrans" total_retrans: u32, "Segments retransmitted in the whole life of the connection.";
        "PacingRate" pacing_rate_bytes_per_s: i64, "Pacing rate in bytes per second.";
        "MaxPacingRate" max_pacing_rate_bytes_per_s: i64, "Limit of the pacing rate in bytes per second; -1 is none.";
        "BytesAcked" bytes_acked: i64, "Bytes sent and acknowledged (RFC 4898 `tcpEStatsAppHCThruOctetsAcked`).";
        "BytesReceived" bytes_received: i64, "Bytes received in order (RFC 4898 `tcpEStatsAppHCThruOctetsReceived`).";
        "SegsOut" segs_out: i32, "Segments sent, retransmissions included (RFC 4898 `tcpEStatsPerfSegsOut`).";
        "SegsIn" segs_in: i32, "Segments received (RFC 4898 `tcpEStatsPerfSegsIn`).";
        "NotsentBytes" notsent_bytes: u32, "Bytes in the send queue that were never sent.";
        "MinRTT" min_rtt_us: u32, "Smallest round-trip time of the last minutes in microseconds.";
        "DataSegsIn" data_segs_in: u32, "Segments with data received (RFC 4898 `tcpEStatsDataSegsIn`).";
        "DataSegsOut" data_segs_out: u32, "Segments with data sent (RFC 4898 `tcpEStatsDataSegsOut`).";
        "DeliveryRate" delivery_rate_bytes_per_s: i64, "Most recent goodput in bytes per second.";
        "BusyTime" busy_time_us: i64, "Microseconds with data in the send queue.";
        "RWndLimited" rwnd_limited_us: i64, "Microseconds limited by the receive window of the peer.";
        "SndBufLimited" sndbuf_limited_us: i64, "Microseconds limited by our send buffer.";
        "Delivered" delivered: u32, "Segments delivered, out of order and spurious ones included.";
        "DeliveredCE" delivered_ce: u32, "Segments delivered with an ECN mark.";
        "BytesSent" bytes_sent: i64, "Bytes of data sent, retransmissions included (RFC 4898 `tcpEStatsPerfHCDataOctetsOut`).";
        "BytesRetrans" bytes_retrans: i64, "Bytes of data retransmitted (RFC 4898 `tcpEStatsPerfOctetsRetrans`).";
        "DSackDups" dsack_dups: u32, "Duplicate segments reported by the peer (RFC 4898 `tcpEStatsStackDSACKDups`).";
        "ReordSeen" reord_seen: u32, "Reordering events.";
        "RcvOooPack" rcv_ooo_pack: u32, "Segments received out of order.";
        "SndWnd" snd_wnd_bytes: u32, "Window that the peer announced.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte `i` is `i`, so that the value of each field shows its offset.
    fn counting() -> Vec<u8> {
        (0..=255).collect()
    }

    fn u32_at(offset: u8) -> u32 {
        u32::from_ne_bytes([offset, offset + 1, offset + 2, offset + 3])
    }

    #[test]
    fn fields_stand_at_the_kernel_offsets() {
        assert_eq!(FIELD_BYTES, TCP_INFO_BYTES);
        let info = TcpInfo::from_bytes(&counting());
        assert_eq!((info.state, info.wscale, info.app_limited), (0, 6, 7));
        for (value, offset) in [
            (info.rto_us, 8),
            (info.unacked, 24),
            (info.last_data_sent_ms, 44),
            (info.pmtu_bytes, 60),
            (info.rcv_rtt_us, 92),
            (info.total_retrans, 100),
            (info.notsent_bytes, 144),
            (info.delivered, 192),
            (info.dsack_dups, 216),
            (info.snd_wnd_bytes, 228),
        ] {
            assert_eq!(value, u32_at(offset), "offset {offset}");
        }
        assert_eq!(info.segs_out, u32_at(136).cast_signed());
        for (value, offset) in [
            (info.pacing_rate_bytes_per_s, 104u8),
            (info.delivery_rate_bytes_per_s, 160),
            (info.bytes_retrans, 208),
        ] {
            let bytes: Vec<u8> = (offset..offset + 8).collect();
            assert_eq!(value, i64::from_ne_bytes(bytes.try_into().unwrap()));
        }
    }

    #[test]
    fn every_length_is_read_and_a_missing_tail_is_zero() {
        let bytes = counting();
        for length in 0..=bytes.len() {
            let info = TcpInfo::from_bytes(&bytes[..length]);
            assert_eq!(info.rto_us != 0, length >= 12, "length {length}");
            assert_eq!(info.snd_wnd_bytes != 0, length >= 232, "length {length}");
        }
    }

    #[test]
    fn unlimited_pacing_is_minus_one() {
        let info = TcpInfo::from_bytes(&[0xff; TCP_INFO_BYTES]);
        assert_eq!(info.max_pacing_rate_bytes_per_s, -1);
        let json = serde_json::to_value(info).unwrap();
        assert_eq!(json["MaxPacingRate"], -1);
        assert_eq!(json["SndWnd"], u64::from(u32::MAX));
    }
}
