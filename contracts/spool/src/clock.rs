//! Whether the clock of this machine can be right.
//!
//! A board without a battery starts in 1970 or 2000 until it reaches a time server. Its results are kept and marked; nothing
//! is deleted or made unique by such a clock.

use jiff::Timestamp;

/// This program did not exist before: 2026-01-01.
const EARLIEST_S: i64 = 1_767_225_600;
/// Object names and directories of dates end before: 2100-01-01.
const LATEST_S: i64 = 4_102_444_800;

/// Returns whether a clock that shows `now` can be right. A clock that can may still be wrong.
pub fn is_plausible(now: Timestamp) -> bool {
    (EARLIEST_S..LATEST_S).contains(&now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_of_this_program_are_plausible() {
        for (time, expected) in [
            ("1970-01-01T00:00:05Z", false),
            ("2000-01-01T00:00:00Z", false),
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2099-12-31T23:59:59Z", true),
            ("2100-01-01T00:00:00Z", false),
            ("9999-12-30T00:00:00Z", false),
        ] {
            let time = time.parse().unwrap();
            assert_eq!(is_plausible(time), expected, "{time}");
        }
    }
}
