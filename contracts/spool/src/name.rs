//! The names in a spool path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of an experiment or of a datatype: `^[a-z][a-z0-9]*$`
/// (M-Lab's uniform names), at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The name of a file in the spool: `[A-Za-z0-9:._-]`, 1 to 255 bytes, no
/// leading dot and no `..`. These are the characters that both of M-Lab's
/// uploaders take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// A name that breaks the rules, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a valid {what}: {rule}")]
pub struct NameError {
    name: String,
    what: &'static str,
    rule: &'static str,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let good = text.len() <= 64
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                name: text.chars().take(80).collect(),
                what: "experiment or datatype name",
                rule: "a lower-case letter, then lower-case letters and digits, at most 64 in all",
            })
        }
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let broken = |rule| {
            Err(NameError {
                name: text.chars().take(300).collect(),
                what: "spool file name",
                rule,
            })
        };
        if text.is_empty() || text.len() > 255 {
            return broken("1 to 255 bytes");
        }
        if text.starts_with('.') {
            return broken("no leading dot");
        }
        if text.contains("..") {
            return broken("no two dots in a row");
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'_' | b'-');
        if !text.bytes().all(allowed) {
            return broken("only A-Z a-z 0-9 : . _ -");
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text_newtype {
    ($type:ty) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

text_newtype!(Name);
text_newtype!(FileName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_names() {
        for good in ["ndt", "ndt7", "a", "scamper2"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "", "7ndt", "Ndt", "n-dt", "n_dt", "ndt/", "ndt ", "ñ", &long,
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn file_names() {
        let long = "a".repeat(255);
        for good in [
            "x.json",
            "ndt7-download-20200318T000643.982584404Z.u_1_0A.json.gz",
            "a:b",
            &long,
        ] {
            assert_eq!(good.parse::<FileName>().unwrap().as_str(), good);
        }
        let longer = "a".repeat(256);
        for bad in ["", ".gz", "a..b", "a b", "a/b", "a\nb", "é.json", &longer] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?} was accepted");
        }
    }
}
