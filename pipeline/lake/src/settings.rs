//! When a date is worked on, and how large its files become.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How a lake is kept. No setting changes what is right, only when and how large.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long after its last midnight (UTC) a date is closed, so that what was on its way has come.
    pub grace: Duration,
    /// A live date is compacted when its oldest small file is this old.
    pub compact_after: Duration,
    /// A live date is also compacted when it has this many small files.
    pub compact_files: usize,
    /// How long replaced files stay for those who read them; longer than the longest query.
    pub linger: Duration,
    /// Input bytes after which another part begins.
    pub part_bytes: u64,
    /// Bytes, as encoded, after which another row group begins: what finding one row decodes at most.
    pub row_group_bytes: usize,
    /// Rows after which another row group begins.
    pub row_group_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            grace: Duration::from_hours(1),
            compact_after: Duration::from_hours(1),
            compact_files: 2000,
            linger: Duration::from_mins(15),
            part_bytes: 256 << 20,
            row_group_bytes: 32 << 20,
            row_group_rows: 2500,
        }
    }
}

impl Settings {
    /// Whether nothing more is expected of a date.
    pub(crate) fn is_closed(&self, date: Date, now: Timestamp) -> bool {
        let midnight = date
            .tomorrow()
            .and_then(|next| next.to_zoned(TimeZone::UTC))
            .map(|midnight| midnight.timestamp());
        // The last date that the calendar knows never ends.
        midnight.is_ok_and(|midnight| {
            now.duration_since(midnight)
                >= self.grace.try_into().unwrap_or(jiff::SignedDuration::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_closed_a_grace_after_its_last_midnight() {
        let settings = Settings::default();
        let date = "2024-02-28".parse().unwrap();
        for (now, closed) in [
            ("2024-02-28T23:59:59Z", false),
            ("2024-02-29T00:59:59Z", false),
            ("2024-02-29T01:00:00Z", true),
            ("2020-01-01T00:00:00Z", false),
        ] {
            assert_eq!(
                settings.is_closed(date, now.parse().unwrap()),
                closed,
                "{now}"
            );
        }
        assert!(!settings.is_closed(Date::MAX, Timestamp::now()));
    }
}
