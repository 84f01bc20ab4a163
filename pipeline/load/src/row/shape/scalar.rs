//! Single values in the ways in which `BigQuery` takes them.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Number, Value};

/// A whole number in any of the ways in which `BigQuery` takes one.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn whole(number: &Number) -> Option<i64> {
    // Beyond 2^53 a float no longer says which integer was meant.
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

/// Base64 as the hexadecimal text that Arrow reads bytes from.
pub(super) fn hexadecimal(base64: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(base64).ok()?;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Some(text)
}

/// RFC 3339 as units since 1970, cut to whole units.
pub(super) fn timestamp(text: &str, units_per_second: i128) -> Option<i64> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    let nanoseconds_per_unit = 1_000_000_000 / units_per_second;
    i64::try_from(instant.as_nanosecond().div_euclid(nanoseconds_per_unit)).ok()
}
