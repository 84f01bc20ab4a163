use crate::cursor::Cursor;
use crate::error::Fault;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::fmt;

/// `YYYYMMDDTHHMMSS[.f…]Z`: an instant in UTC, with as many digits of the fraction as were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    civil: DateTime,
    /// `None` without a point; a point without digits has been seen as well.
    digits: Option<u8>,
}

impl Stamp {
    /// The form that Groma writes: microseconds, always six digits; anything finer is cut off.
    pub(crate) fn of(timestamp: Timestamp) -> Self {
        let civil = timestamp.to_zoned(TimeZone::UTC).datetime();
        let whole = civil.subsec_nanosecond() / 1_000 * 1_000;
        let civil = civil
            .with()
            .subsec_nanosecond(whole)
            .build()
            .expect("a cut fraction stays in range");
        Self {
            civil,
            digits: Some(6),
        }
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        let zoned = self
            .civil
            .to_zoned(TimeZone::UTC)
            .expect("years of four digits are in range");
        zoned.timestamp()
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
        const PIECE: &str = "timestamp";
        let start = *cursor;
        let text = cursor.until('Z');
        cursor.expect("Z", PIECE)?;
        let (whole, fraction) = match text.text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text.text, None),
        };
        let digits = fraction.unwrap_or_default();
        let shaped = whole.len() == 15
            && whole.bytes().enumerate().all(|(at, byte)| {
                if at == 8 {
                    byte == b'T'
                } else {
                    byte.is_ascii_digit()
                }
            })
            && digits.len() <= 9
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !shaped {
            return start.fault(
                PIECE,
                "must be YYYYMMDDTHHMMSS, a fraction of at most 9 digits, and Z",
            );
        }
        let number = |from: usize, to: usize| whole[from..to].parse::<i8>().ok();
        let civil = || {
            let nanoseconds = format!("{digits:0<9}").parse().ok()?;
            let year = whole[..4].parse().ok()?;
            let (month, day) = (number(4, 6)?, number(6, 8)?);
            DateTime::new(
                year,
                month,
                day,
                number(9, 11)?,
                number(11, 13)?,
                number(13, 15)?,
                nanoseconds,
            )
            .ok()
        };
        // The last day of the year 9999 is a civil date and no instant.
        match civil().filter(|civil| civil.to_zoned(TimeZone::UTC).is_ok()) {
            Some(civil) => Ok(Self {
                civil,
                digits: fraction.map(|digits| digits.len() as u8),
            }),
            None => start.fault(PIECE, "no such date or time"),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.civil;
        write!(f, "{:04}{:02}{:02}T", t.year(), t.month(), t.day())?;
        write!(f, "{:02}{:02}{:02}", t.hour(), t.minute(), t.second())?;
        if let Some(digits) = self.digits {
            let nanoseconds = format!("{:09}", t.subsec_nanosecond());
            write!(f, ".{}", &nanoseconds[..usize::from(digits)])?;
        }
        f.write_str("Z")
    }
}
