//! Single values in the ways in which `BigQuery` takes them.

/// Digits behind the point of a NUMERIC.
const SCALE: usize = 9;

/// Largest magnitude of a NUMERIC in billionths: 38 digits.
const NUMERIC_LIMIT: i128 = 10_i128.pow(38);

/// A float that is a whole number.
pub(super) fn whole(float: f64) -> Option<i64> {
    // Beyond 2^53 a float no longer says which integer was meant.
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

/// RFC 3339 as microseconds since 1970, cut to whole ones.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    match text.parse::<jiff::Timestamp>() {
        Ok(instant) => i64::try_from(instant.as_nanosecond().div_euclid(1000)).ok(),
        Err(_) => last_hours(text),
    }
}

/// Instants of the last day of the year 9999, which are valid in RFC 3339 and in `BigQuery` and too late for the library.
fn last_hours(text: &str) -> Option<i64> {
    let (local, offset_minutes) = if let Some(local) = text.strip_suffix(['Z', 'z']) {
        (local, 0)
    } else {
        let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let (sign, digits) = match offset.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        };
        let (hours, minutes) = digits.split_once(':')?;
        let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
        let sound = (0..24).contains(&hours) && (0..60).contains(&minutes);
        (local, sound.then_some(sign * (60 * hours + minutes))?)
    };
    let local: jiff::civil::DateTime = local.parse().ok()?;
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let since =
        local.duration_since(epoch).as_nanos() - i128::from(offset_minutes) * 60_000_000_000;
    let micros = i64::try_from(since.div_euclid(1000)).ok()?;
    (0..=LAST_MICROS).contains(&micros).then_some(micros)
}

/// 9999-12-31T23:59:59.999999Z, the last instant of a TIMESTAMP.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// A decimal number without exponent as billionths; more than nine digits behind the point are refused, not rounded.
pub(super) fn decimal(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (units, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = !units.is_empty() && fraction.len() <= SCALE && units.len() <= 29;
    if !sound || !all_digits(units) || !all_digits(fraction) {
        return None;
    }
    let magnitude: i128 = format!("{units}{fraction:0<SCALE$}").parse().ok()?;
    (magnitude < NUMERIC_LIMIT).then_some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::{LAST_MICROS, decimal, timestamp};

    #[test]
    fn the_last_hours_of_the_calendar_are_times() {
        for (text, expected) in [
            ("9999-12-31T23:59:59.999999999Z", Some(LAST_MICROS)),
            ("9999-12-31T23:59:59Z", Some(LAST_MICROS - 999_999)),
            ("9999-12-31T22:59:59.999999-01:00", Some(LAST_MICROS)),
            ("9999-12-31T23:59:59-01:00", None),
            ("9999-12-31T24:00:00Z", None),
            ("9999-12-31T23:59:59", None),
            ("1970-01-01T00:00:00Z", Some(0)),
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, expected) in [
            ("1", Some(1_000_000_000)),
            ("-0.000000001", Some(-1)),
            ("12.5", Some(12_500_000_000)),
            ("0.0000000001", None),
            ("1e3", None),
            ("", None),
            ("-", None),
            ("1.2.3", None),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }
}
