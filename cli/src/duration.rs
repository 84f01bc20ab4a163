//! Durations of flags that took bare numbers in earlier versions.

use std::time::Duration;

use groma_service::{DurationError, parse_duration};

/// Reads a duration such as `15m`; a number alone means minutes.
pub(crate) fn minutes(text: &str) -> Result<Duration, DurationError> {
    with_unit(text, "m")
}

/// Reads a duration such as `30s`; a number alone means seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, DurationError> {
    with_unit(text, "s")
}

fn with_unit(text: &str, unit: &str) -> Result<Duration, DurationError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return parse_duration(&format!("{text}{unit}"));
    }
    parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_keeps_its_unit() {
        for (text, expected_s) in [("15", 900), ("15m", 900), ("1h30m", 5400), ("0", 0)] {
            assert_eq!(minutes(text).unwrap().as_secs(), expected_s, "{text}");
        }
        assert_eq!(seconds("60").unwrap(), seconds("1m").unwrap());
        for bad in ["", "soon", "-1", "1 m"] {
            assert!(minutes(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
