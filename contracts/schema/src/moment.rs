//! The shapes of dates and times in JSON. They are checked here byte by byte, before any parser sees them, because the
//! engines that read the same text later are each lenient in a way of their own.

/// `YYYY-MM-DD`, year 1 or later.
pub(crate) fn is_date(text: &str) -> bool {
    shape(text.as_bytes(), b"dddd-dd-dd")
        && !text.starts_with("0000")
        && text.parse::<jiff::civil::Date>().is_ok()
}

/// `HH:MM:SS` with up to nine digits of fraction. Leap seconds are refused: most engines cannot store them.
pub(crate) fn is_time(text: &str) -> bool {
    let Some((clock, fraction)) = text.as_bytes().split_at_checked(8) else {
        return false;
    };
    let in_range = |at: usize, limit: u8| (clock[at] - b'0') * 10 + (clock[at + 1] - b'0') < limit;
    let fraction_is_good = match fraction.split_first() {
        None => true,
        Some((b'.', digits)) => {
            (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    };
    shape(clock, b"dd:dd:dd")
        && in_range(0, 24)
        && in_range(3, 60)
        && in_range(6, 60)
        && fraction_is_good
}

/// A date and a time with `T` or a space between them.
pub(crate) fn is_datetime(text: &str) -> bool {
    text.split_once(['T', 't', ' '])
        .is_some_and(|(date, time)| is_date(date) && is_time(time))
}

/// RFC 3339: a date and a time with `Z` or an offset of hours and minutes.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let Some(local) = without_offset(text) else {
        return false;
    };
    // The library ends a day before the calendar does.
    is_datetime(local) && (text.parse::<jiff::Timestamp>().is_ok() || text.starts_with("9999-12-3"))
}

fn without_offset(text: &str) -> Option<&str> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some(local);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let bytes = offset.as_bytes();
    (shape(bytes, b"+dd:dd") || shape(bytes, b"-dd:dd")).then_some(local)
}

/// Whether `text` has the length of `pattern` and a digit wherever that has a `d`.
fn shape(text: &[u8], pattern: &[u8]) -> bool {
    text.len() == pattern.len()
        && text.iter().zip(pattern).all(|(byte, want)| {
            if *want == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == want
            }
        })
}
