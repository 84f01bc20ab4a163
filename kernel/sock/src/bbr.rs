//! The state of BBR, `struct tcp_bbr_info` of `include/uapi/linux/inet_diag.h`.

use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::{congestion_control, option::tcp_option};

/// Bytes of the structure that every version shares; version 3 appends more.
const SHARED_BYTES: usize = 20;
/// Room for what longer versions append, so that the kernel has no reason to refuse.
const READ_BYTES: usize = 128;

/// The model that BBR has of the path. JSON names are those of M-Lab's ndt7 results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BbrInfo {
    /// Bandwidth, max-filtered, in bytes per second.
    #[serde(rename = "BW")]
    pub bw_bytes_per_s: i64,
    /// Round-trip time, min-filtered, in microseconds.
    #[serde(rename = "MinRTT")]
    pub min_rtt_us: u32,
    /// Pacing gain with 8 fractional bits: 256 means 1.0.
    #[serde(rename = "PacingGain")]
    pub pacing_gain: u32,
    /// Window gain with 8 fractional bits: 256 means 1.0.
    #[serde(rename = "CwndGain")]
    pub cwnd_gain: u32,
}

impl BbrInfo {
    /// Reads the 20 bytes that all versions share and ignores what follows; `None` when there are fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let shared = bytes.first_chunk::<SHARED_BYTES>()?;
        let words: [u32; SHARED_BYTES / 4] = std::array::from_fn(|at| {
            let word = &shared[4 * at..][..4];
            u32::from_ne_bytes([word[0], word[1], word[2], word[3]])
        });
        Some(Self {
            bw_bytes_per_s: (u64::from(words[1]) << 32 | u64::from(words[0])).cast_signed(),
            min_rtt_us: words[2],
            pacing_gain: words[3],
            cwnd_gain: words[4],
        })
    }
}

/// What BBR knows about the path of this socket (`TCP_CC_INFO`); `None` when another congestion control is in use.
///
/// The name is asked first because `TCP_CC_INFO` answers for DCTCP and Vegas too, with other structures.
pub fn bbr_info(fd: impl AsFd) -> io::Result<Option<BbrInfo>> {
    let fd = fd.as_fd();
    if !congestion_control(fd)?.starts_with("bbr") {
        return Ok(None);
    }
    let mut buffer = [0; READ_BYTES];
    Ok(BbrInfo::from_bytes(tcp_option(
        fd,
        libc::TCP_CC_INFO,
        &mut buffer,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel_bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn bandwidth_is_split_over_two_words() {
        let info = BbrInfo::from_bytes(&kernel_bytes(&[7, 1, 1500, 739, 512])).unwrap();
        assert_eq!(info.bw_bytes_per_s, (1 << 32) + 7);
        assert_eq!(
            (info.min_rtt_us, info.pacing_gain, info.cwnd_gain),
            (1500, 739, 512)
        );
    }

    #[test]
    fn a_longer_structure_is_cut_and_a_shorter_one_is_nothing() {
        let longer = kernel_bytes(&[7, 0, 1, 2, 3, 9, 9, 9]);
        assert_eq!(
            BbrInfo::from_bytes(&longer),
            BbrInfo::from_bytes(&longer[..20])
        );
        assert_eq!(BbrInfo::from_bytes(&longer[..19]), None);
    }

    #[test]
    fn json_has_the_published_names() {
        assert_eq!(
            serde_json::to_string(&BbrInfo::default()).unwrap(),
            r#"{"BW":0,"MinRTT":0,"PacingGain":0,"CwndGain":0}"#
        );
    }
}
