//! The path of a file below its experiment's directory.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::{FileName, Name, NameError};

/// `<datatype>/YYYY/MM/DD/<file>`, relative to the experiment's directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolPath {
    /// The datatype's directory.
    pub datatype: Name,
    /// The UTC date directory; it becomes the partition that the row lands in.
    pub date: Date,
    /// The file.
    pub file: FileName,
}

/// A path that is not of the form `<datatype>/YYYY/MM/DD/<file>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The number of parts is wrong.
    #[error("{0:?} is not of the form <datatype>/YYYY/MM/DD/<file>")]
    Shape(String),
    /// The three directories after the datatype are not a date.
    #[error(
        "{0:?}: the directories after the datatype are not a date YYYY/MM/DD from 1970 to 2099"
    )]
    Date(String),
    /// The datatype or the file name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl SpoolPath {
    /// The path below the datatype's directory, `YYYY/MM/DD/<file>`: the name of
    /// the file within a bundle.
    pub fn member_name(&self) -> String {
        format!("{}/{}", date_dir(self.date), self.file)
    }
}

impl fmt::Display for SpoolPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.datatype, date_dir(self.date), self.file)
    }
}

impl FromStr for SpoolPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [datatype, year, month, day, file] = parts[..] else {
            return Err(PathError::Shape(text.chars().take(300).collect()));
        };
        let date = parse_date_dir(&[year, month, day])
            .ok_or_else(|| PathError::Date(text.chars().take(300).collect()))?;
        Ok(Self {
            datatype: datatype.parse()?,
            date,
            file: file.parse()?,
        })
    }
}

/// `YYYY/MM/DD`.
pub fn date_dir(date: Date) -> String {
    format!("{:04}/{:02}/{:02}", date.year(), date.month(), date.day())
}

/// Returns the date of the three directory names of `YYYY/MM/DD`: years 1970 to 2099, always two digits for month and day.
/// A clock that was never set writes 1970, and its results are published too.
pub fn parse_date_dir(parts: &[&str; 3]) -> Option<Date> {
    let digits = |text: &str, length: usize| {
        (text.len() == length && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<i16>().ok())
            .flatten()
    };
    let (year, month, day) = (
        digits(parts[0], 4)?,
        digits(parts[1], 2)?,
        digits(parts[2], 2)?,
    );
    if !(1970..=2099).contains(&year) {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_it_was_read() {
        let text = "ndt7/2020/03/18/ndt7-download-x.json.gz";
        let path: SpoolPath = text.parse().unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(path.member_name(), "2020/03/18/ndt7-download-x.json.gz");
    }

    #[test]
    fn paths_that_break_the_contract() {
        for bad in [
            "ndt7/2020/03/18",
            "ndt7/2020/3/18/x.json",
            "ndt7/2020/02/30/x.json",
            "ndt7/1969/12/31/x.json",
            "ndt7/2020/03/18/sub/x.json",
            "ndt7/2020/03/18/.x.json",
            "../2020/03/18/x.json",
            "/ndt7/2020/03/18/x.json",
            "NDT7/2020/03/18/x.json",
        ] {
            assert!(bad.parse::<SpoolPath>().is_err(), "{bad:?} was accepted");
        }
    }
}
