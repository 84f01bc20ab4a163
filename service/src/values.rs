//! Flag values in M-Lab's notation.

use std::net::{AddrParseError, SocketAddr};
use std::time::Duration;

/// Returns the environment variable that replaces a missing flag: upper case,
/// every other character than `A-Z0-9` an underscore, and one more before a leading digit
/// (`tcpinfo.eventsocket` is `TCPINFO_EVENTSOCKET`), as M-Lab's `flagx` maps them.
///
/// `flag` is the name without its leading hyphens.
pub fn env_name(flag: &str) -> String {
    let mut name = String::with_capacity(flag.len() + 1);
    if flag.starts_with(|first: char| first.is_ascii_digit()) {
        name.push('_');
    }
    name.extend(flag.to_uppercase().chars().map(|c| match c {
        'A'..='Z' | '0'..='9' => c,
        _ => '_',
    }));
    name
}

/// Reads an address to listen on as Go writes it: `:8080` is that port on all
/// addresses of both families. Fits clap's `value_parser`.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    if text.starts_with(':') {
        format!("[::]{text}").parse()
    } else {
        text.parse()
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a sequence of numbers with units.
    #[error("{0:?} is not a duration; write it as 30s, 1h30m or 250ms")]
    Syntax(String),
    /// A unit that Go does not know, or none.
    #[error("{text:?} has no valid unit at {unit:?}; use ns, us, ms, s, m or h")]
    Unit {
        /// The whole text.
        text: String,
        /// The text in place of the unit.
        unit: String,
    },
    /// More than Go's largest duration, 2^63 - 1 ns (about 292 years).
    #[error("{0:?} is longer than 292 years")]
    TooLong(String),
}

/// Reads a duration in Go's notation: numbers with units that add up (`30s`, `1h30m`,
/// `1.5s`, `250ms`), or `0`. Units: `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`.
///
/// A sign is an error: no flag of ours means a negative time. A fraction of a
/// nanosecond is cut off. Fits clap's `value_parser`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let too_long = || DurationError::TooLong(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(DurationError::Syntax(text.to_owned()));
    }
    let mut total_ns: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !(c.is_ascii_digit() || c == '.'));
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(DurationError::Syntax(text.to_owned()));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| DurationError::Unit {
            text: text.to_owned(),
            unit: unit.to_owned(),
        })?;
        total_ns = whole_ns(whole, unit_ns)
            .and_then(|ns| total_ns.checked_add(ns))
            .and_then(|ns| ns.checked_add(fraction_ns(fraction, unit_ns)))
            .filter(|ns| i64::try_from(*ns).is_ok())
            .ok_or_else(too_long)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total_ns))
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign U+00B5 and the Greek letter U+03BC look alike; Go takes both.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// `None` when it overflows.
fn whole_ns(digits: &str, unit_ns: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u64>().ok()?.checked_mul(unit_ns)
}

fn fraction_ns(digits: &str, unit_ns: u64) -> u64 {
    // 18 digits reach below a nanosecond of any unit and keep the product within u128.
    let digits = &digits[..digits.len().min(18)];
    let scale = 10_u128.pow(digits.len() as u32);
    let value: u128 = digits.parse().unwrap_or(0);
    (value * u128::from(unit_ns) / scale) as u64
}

/// Why a text is not a byte count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteCountError {
    /// Not digits with an optional suffix.
    #[error("{0:?} is not a byte count; write it as 20MB, 512K or 1000 (decimal multiples)")]
    Syntax(String),
    /// More than 2^64 - 1 bytes.
    #[error("{0:?} is more than 2^64 - 1 bytes")]
    TooLarge(String),
}

/// Reads a number of bytes as M-Lab's flags write it: `^[0-9]+([KMG]?B?)$` with decimal
/// multiples (`K` = 1000, `M` = 10^6, `G` = 10^9). Fits clap's `value_parser`.
pub fn parse_byte_count(text: &str) -> Result<u64, ByteCountError> {
    let (digits, suffix) = split_where(text, |c| !c.is_ascii_digit());
    let multiple: u64 = match suffix.strip_suffix('B').unwrap_or(suffix) {
        "" => 1,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(ByteCountError::Syntax(text.to_owned())),
    };
    if digits.is_empty() {
        return Err(ByteCountError::Syntax(text.to_owned()));
    }
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(multiple))
        .ok_or_else(|| ByteCountError::TooLarge(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_all_addresses() {
        for (text, address) in [
            (":8080", "[::]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(parse_listen_address(text).unwrap().to_string(), address);
        }
        for bad in ["", ":", ":x", "8080", "host:80", "::1:2:"] {
            assert!(parse_listen_address(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn flags_map_to_the_environment() {
        let cases = [
            ("tcpinfo.eventsocket", "TCPINFO_EVENTSOCKET"),
            ("archive_size_threshold", "ARCHIVE_SIZE_THRESHOLD"),
            ("IPCacheTimeout", "IPCACHETIMEOUT"),
            ("hostname", "HOSTNAME"),
            ("6to4-prefix", "_6TO4_PREFIX"),
            ("a-é", "A__"),
            ("", ""),
        ];
        for (flag, name) in cases {
            assert_eq!(env_name(flag), name, "{flag}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            (".5m", 30_000_000_000),
            ("1.h", 3_600_000_000_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("3\u{3bc}s", 3_000),
            ("0.9ns", 0),
            ("1.0000000000000000000000000000001s", 1_000_000_000),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "-1s",
            "+1s",
            "s",
            ".s",
            "1",
            "1d",
            "1s ",
            "1..2s",
            "1e3s",
            "9223372036854775808ns",
            "99999999999999999999h",
            "2562048h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn byte_counts_are_decimal() {
        let cases = [
            ("0", 0),
            ("20MB", 20_000_000),
            ("20M", 20_000_000),
            ("5B", 5),
            ("1K", 1_000),
            ("1KB", 1_000),
            ("3GB", 3_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_byte_count(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "B",
            "MB",
            "20mb",
            "20MiB",
            "20BB",
            "1.5M",
            "-1",
            " 1",
            "1 MB",
            "18446744073709551616",
            "18446744073709551615K",
        ] {
            assert!(parse_byte_count(text).is_err(), "{text}");
        }
    }
}
