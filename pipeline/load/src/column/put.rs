//! Single values into columns, in the ways in which `BigQuery` takes them.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::civil;

use super::Column;
use super::scalar::{decimal, timestamp, whole};

/// A value did not fit its column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

/// Microseconds per second.
const MICROS: i128 = 1_000_000;

impl Column {
    /// NULL; an empty list for a REPEATED column.
    pub(crate) fn put_null(&mut self, at: usize) {
        match self {
            Column::Record(record) => record.put_null(at),
            Column::List(_) => self.pad(at + 1),
            Column::Text(text) | Column::Bytes(text) => text.put_null(at),
            Column::Integer(plain)
            | Column::Instant(plain)
            | Column::Datetime(plain)
            | Column::Time(plain) => plain.put_null(at),
            Column::Float(plain) => plain.put_null(at),
            Column::Boolean(flags) => flags.put_null(at),
            Column::Date(plain) => plain.put_null(at),
            Column::Decimal(plain) => plain.put_null(at),
        }
    }

    #[inline]
    pub(crate) fn put_integer(&mut self, at: usize, value: i64) -> Result<(), Misfit> {
        // Nearly all columns of the large datatypes.
        if let Column::Integer(plain) = self {
            plain.put(at, value);
            return Ok(());
        }
        self.put_integer_as_other(at, value)
    }

    fn put_integer_as_other(&mut self, at: usize, value: i64) -> Result<(), Misfit> {
        match self {
            Column::Float(plain) => plain.put(at, value as f64),
            Column::Decimal(plain) => plain.put(at, i128::from(value) * 1_000_000_000),
            _ => return Err(Misfit),
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn put_unsigned(&mut self, at: usize, value: u64) -> Result<(), Misfit> {
        match (i64::try_from(value), &mut *self) {
            (Ok(value), _) => self.put_integer(at, value),
            (_, Column::Float(plain)) => {
                plain.put(at, value as f64);
                Ok(())
            }
            _ => Err(Misfit),
        }
    }

    pub(crate) fn put_float(&mut self, at: usize, value: f64) -> Result<(), Misfit> {
        match self {
            Column::Float(plain) => plain.put(at, value),
            Column::Integer(plain) => plain.put(at, whole(value).ok_or(Misfit)?),
            Column::Decimal(plain) => {
                plain.put(at, decimal(&value.to_string()).ok_or(Misfit)?);
            }
            _ => return Err(Misfit),
        }
        Ok(())
    }

    pub(crate) fn put_boolean(&mut self, at: usize, value: bool) -> Result<(), Misfit> {
        match self {
            Column::Boolean(flags) => flags.put(at, value),
            _ => return Err(Misfit),
        }
        Ok(())
    }

    pub(crate) fn put_text(&mut self, at: usize, value: &str) -> Result<(), Misfit> {
        match self {
            Column::Text(text) => text.put(at, value.as_bytes()),
            Column::Bytes(text) => {
                let bytes = BASE64_STANDARD.decode(value).map_err(|_| Misfit)?;
                text.put(at, &bytes);
            }
            Column::Integer(plain) => plain.put(at, value.parse().map_err(|_| Misfit)?),
            Column::Instant(plain) => plain.put(at, timestamp(value).ok_or(Misfit)?),
            Column::Datetime(plain) => {
                let clock: civil::DateTime = value.parse().map_err(|_| Misfit)?;
                let instant = clock
                    .to_zoned(jiff::tz::TimeZone::UTC)
                    .map_err(|_| Misfit)?;
                let micros = instant
                    .timestamp()
                    .as_nanosecond()
                    .div_euclid(1_000_000_000 / MICROS);
                plain.put(at, i64::try_from(micros).map_err(|_| Misfit)?);
            }
            Column::Time(plain) => {
                let time: civil::Time = value.parse().map_err(|_| Misfit)?;
                let seconds = i64::from(time.hour()) * 3600
                    + i64::from(time.minute()) * 60
                    + i64::from(time.second());
                let micros = i64::from(time.subsec_nanosecond()) / 1000;
                plain.put(at, seconds * 1_000_000 + micros);
            }
            Column::Date(plain) => {
                let date: civil::Date = value.parse().map_err(|_| Misfit)?;
                let epoch = civil::Date::constant(1970, 1, 1);
                plain.put(at, (date - epoch).get_days());
            }
            Column::Decimal(plain) => plain.put(at, decimal(value).ok_or(Misfit)?),
            _ => return Err(Misfit),
        }
        Ok(())
    }
}
