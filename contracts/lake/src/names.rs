//! The names that a log entry may contain. Each is parsed into a type that cannot lead out of its directory.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Kind, STAGED_DIR, STAGED_DIR_IN_BUCKET, TablePath, date_dir, date_of};

/// Longest file name of Linux file systems, in bytes.
const NAME_BYTES: usize = 255;

/// How the names of data files begin: of compacted live dates, and of sealed dates.
const COMPACTED: &str = "compact-";
const SEALED: &str = "part-";

/// A name in a log entry that violates the rules of its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {text:?} {rule}")]
pub struct FieldError {
    field: &'static str,
    text: String,
    rule: &'static str,
}

impl FieldError {
    fn new(field: &'static str, text: &str, rule: &'static str) -> FieldError {
        FieldError {
            field,
            text: text.chars().take(200).collect(),
            rule,
        }
    }
}

/// The file name of a data file without its extension: one path component that is not hidden.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stem(String);

/// The path of a data file below its table's directory: `live/date=YYYY-MM-DD/compact-NNNNNN-N.parquet` or
/// `sealed/date=YYYY-MM-DD/part-NNNNNN-N.parquet`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartPath {
    text: String,
    date: Date,
}

/// The path of a staged file below the lake: a staging directory and one file name that begins with the table, the date and
/// the number of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StagedPath(String);

/// A SHA-256 in 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

/// Reports whether a text is one visible component of a path.
pub fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES
        && !text.starts_with('.')
        && !text.contains(['/', '\\'])
        && !text.chars().any(char::is_control)
}

impl TryFrom<String> for Stem {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Stem, FieldError> {
        if is_file_name(&text) {
            Ok(Stem(text))
        } else {
            Err(FieldError::new(
                "stem or merged",
                &text,
                "is not one file name",
            ))
        }
    }
}

impl PartPath {
    /// Returns the path of a data file of the log entry `number`; `index` counts the data files of that entry. `kind` is
    /// [`Kind::Sealed`] or [`Kind::Live`].
    pub fn new(kind: Kind, date: Date, number: usize, index: usize) -> PartPath {
        let (kind, name) = if kind == Kind::Sealed {
            (kind, SEALED)
        } else {
            (Kind::Live, COMPACTED)
        };
        let file = kind.file_name(&format!("{name}{number:06}-{index}"));
        let text = format!("{}/{}/{file}", kind.as_str(), date_dir(date));
        PartPath { text, date }
    }

    fn parse(text: &str) -> Option<Date> {
        let (kind, rest) = text.split_once('/')?;
        let (day, file) = rest.split_once('/')?;
        let date = date_of(day)?;
        let (kind, name) = [(Kind::Live, COMPACTED), (Kind::Sealed, SEALED)]
            .into_iter()
            .find(|(known, _)| known.as_str() == kind)?;
        let numbers = kind.stem_of(file)?.strip_prefix(name)?;
        let (number, index) = numbers.split_once('-')?;
        let is_number =
            |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        (number.len() >= 6 && is_number(number) && is_number(index)).then_some(date)
    }

    /// Returns the date of the rows.
    pub fn date(&self) -> Date {
        self.date
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether the file belongs to a sealed date.
    pub fn is_sealed(&self) -> bool {
        Path::new(&self.text).starts_with(Kind::Sealed.as_str())
    }

    /// Returns the file name.
    pub fn file_name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the file name without its extension.
    pub fn stem(&self) -> &str {
        let name = self.file_name();
        Kind::Live.stem_of(name).unwrap_or(name)
    }
}

impl Stem {
    /// Returns the name of a file without its extension.
    pub fn of(path: &Path) -> Result<Stem, FieldError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Stem::try_from(stem.into_owned())
    }
}

impl TryFrom<String> for PartPath {
    type Error = FieldError;

    fn try_from(text: String) -> Result<PartPath, FieldError> {
        let rule = "is not live/date=YYYY-MM-DD/compact-NNNNNN-N.parquet or sealed/date=YYYY-MM-DD/part-NNNNNN-N.parquet";
        match PartPath::parse(&text) {
            Some(date) => Ok(PartPath { text, date }),
            None => Err(FieldError::new("path", &text, rule)),
        }
    }
}

impl StagedPath {
    /// Returns the path of the staged file `name` in the staging directory `dir`.
    pub fn new(dir: &str, name: &str) -> StagedPath {
        StagedPath(format!("{dir}/{name}"))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether the file was staged for the entry `number` of the log of this table and date.
    pub fn is_of(&self, table: &TablePath, date: Date, number: usize) -> bool {
        let (experiment, datatype) = (table.experiment(), table.datatype());
        let begin = format!("{experiment}.{datatype}.{date}.{number}.");
        self.0
            .split_once('/')
            .is_some_and(|(_, name)| name.starts_with(&begin))
    }
}

impl TryFrom<String> for StagedPath {
    type Error = FieldError;

    fn try_from(text: String) -> Result<StagedPath, FieldError> {
        let is_staged = text.split_once('/').is_some_and(|(dir, name)| {
            [STAGED_DIR, STAGED_DIR_IN_BUCKET].contains(&dir) && is_file_name(name)
        });
        if is_staged {
            Ok(StagedPath(text))
        } else {
            let rule = "is not a file in the staging directory of the lake";
            Err(FieldError::new("staged", &text, rule))
        }
    }
}

impl Sha256Hex {
    /// Returns the hexadecimal form of a digest.
    pub fn of(digest: &[u8; 32]) -> Sha256Hex {
        let digit = |nibble| char::from_digit(u32::from(nibble), 16);
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Sha256Hex(digits.filter_map(digit).collect())
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = FieldError;

    fn try_from(text: String) -> Result<Sha256Hex, FieldError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Sha256Hex(text))
        } else {
            let rule = "is not 64 lower-case hexadecimal digits";
            Err(FieldError::new("sha256", &text, rule))
        }
    }
}

/// Implements the conversions of a name to text and to a path.
macro_rules! as_text {
    ($($name:ident . $text:tt),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.$text
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                Path::new(&self.$text)
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.$text
            }
        }
    )+};
}

as_text!(Stem.0, PartPath.text, StagedPath.0, Sha256Hex.0);

impl Borrow<str> for Stem {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_paths_stay_below_their_table() {
        let good = [
            "live/date=2024-05-06/compact-000000-0.parquet",
            "sealed/date=2024-05-06/part-000012-3.parquet",
        ];
        for text in good {
            let path = PartPath::try_from(text.to_owned()).unwrap();
            assert_eq!(path.as_str(), text);
        }
        for text in [
            "",
            "../../../trv/moved_here",
            "/etc/passwd",
            "sealed/date=2024-05-06/../../x-000000-0.parquet",
            "sealed/../date=2024-05-06/part-000000-0.parquet",
            "sealed/date=../part-000000-0.parquet",
            "sealed/date=20240506/part-000000-0.parquet",
            "sealed//part-000000-0.parquet",
            "log/date=2024-05-06/part-000000-0.parquet",
            "live/date=2024-05-06/part-000000-0.parquet",
            "sealed/date=2024-05-06/part-000000-.parquet",
            "sealed/date=2024-05-06/part-000000-0.parquet\0",
            "sealed/date=2024-05-06/part-000000-0.parquet/x",
        ] {
            assert!(PartPath::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn staged_paths_and_stems_are_one_name() {
        assert!(StagedPath::try_from(".staged/lab.rows.2024-05-06.0.1-2-3".to_owned()).is_ok());
        for text in [
            "/tmp/outside-the-lake",
            ".staged/../x",
            ".staged/a/b",
            ".staged/",
            "staged/x",
            ".staged/a\nb",
        ] {
            assert!(StagedPath::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(Stem::try_from("20240506T000000Z-a-b".to_owned()).is_ok());
        for text in ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "a\nb", ".x"] {
            assert!(Stem::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
