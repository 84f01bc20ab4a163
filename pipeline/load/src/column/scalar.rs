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
    let instant: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(instant.as_nanosecond().div_euclid(1000)).ok()
}

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
    use super::decimal;

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
